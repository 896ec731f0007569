"""The command line: the only part of quarl that prints and exits."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType

from quarl.errors import QuarlError
from quarl.resources import VERSION
from quarl.tools import ONE_THREAD, in_child

DEFECT = 70  # sysexits.h: an internal software error
SIGNALLED = 128  # plus the signal's number: what a shell reports
_REPORT = (
    "quarl: this is a defect of quarl {version}, not of your files: please report it with the "
    "lines above, the command, and what quarl doctor prints"
)


class Stopped(KeyboardInterrupt):
    """Somebody ended the run with SIGTERM."""


def main() -> None:
    """Run the command line and exit: 0 pass, 1 the gate says no, 2 bad input or usage, 3 a tool is
    missing, 4 a device failed, 70 a defect of quarl itself.

    The verb runs in a child process, because an environment may end its process whenever it likes:
    0 is left to a verb that came to its own end.
    """
    _use_one_thread()
    _open_standard_streams()
    names_a_verb = bool(sys.argv[1:]) and not sys.argv[1].startswith("-")
    sys.exit(in_child(_run) if names_a_verb else _run())


def _use_one_thread() -> None:
    """Let the library of matrix products use one thread, where the user says nothing else: its
    threads wait for one another wherever other programs run too, and quarl's products are small.
    """
    if not any(name in os.environ for name in ONE_THREAD):
        os.environ.update(ONE_THREAD)


def _run() -> int:
    """Return the exit code of the verb that the arguments name."""
    from quarl.cli.app import Ended, app

    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except Ended as ended:
        return _code_of(ended.reason)
    except SystemExit as error:  # the application's own: a verb's comes as `Ended`
        return error.code if isinstance(error.code, int) else DEFECT
    except BaseException as error:
        return _code_of(error)
    return DEFECT  # the application always exits


def _code_of(error: BaseException) -> int:
    """Say what ended the run, and return its exit code."""
    stopped = _stopped_by(error)
    if stopped is not None:
        print("quarl: stopped; nothing half written was left behind", file=sys.stderr)
        return SIGNALLED + (signal.SIGTERM if isinstance(stopped, Stopped) else signal.SIGINT)
    from quarl.files.text import message_text, terminal_text

    if isinstance(error, QuarlError):
        print(message_text(f"quarl: {error}"), file=sys.stderr)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from quarl.verdict.formats.annotations import command

            print(command("error", "quarl", str(error)), file=sys.stderr)
        return error.exit_code
    lines = "".join(traceback.format_exception(error))
    print(terminal_text(lines), file=sys.stderr, end="")
    print(_REPORT.format(version=VERSION), file=sys.stderr)
    return DEFECT


def _stopped_by(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the Ctrl-C behind an error; cleaning up after one may raise others."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _open_standard_streams() -> None:
    """Open what the caller has closed, so that no file of ours gets the number of a standard
    stream. What cannot be written in the caller's encoding is written as escapes.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
