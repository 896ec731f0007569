"""The process of a worker: calls come in over a pipe, one after the other, and what they return or
raise goes back. It ends when the pipe does.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from quarl import tools
from quarl.errors import DeviceError


def main() -> None:
    """Serve the pipe whose file descriptor is the last argument."""
    pipe = Connection(int(sys.argv[-1]))
    tools.end_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when work ends
    # standard output is the parent's alone: what an environment prints goes beside, line by line
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    with suppress(EOFError, OSError):  # the parent is gone, and nobody is left to tell
        sys.path[:] = pickle.loads(pipe.recv_bytes())
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(message: bytes) -> bytes:
    """Return what one call returns or raises."""
    try:
        function, call = pickle.loads(message)
        return pickle.dumps(("returned", function(*call)))
    except BaseException as error:  # an environment that leaves, too
        return _raised(error)


def _raised(error: BaseException) -> bytes:
    """Return the error as it goes back, with where it came from."""
    error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        answer = pickle.dumps(("raised", error))
        pickle.loads(answer)
    except Exception:  # one that cannot travel
        found: Any = DeviceError(f"a worker failed: {type(error).__name__}: {error}")
        return pickle.dumps(("raised", found))
    return answer
