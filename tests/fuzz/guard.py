"""What a reader of data must never do: start a program, open a connection, load code by name, write
outside its folder. Watched by Python's audit events, in this process, while it is armed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NEVER = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "socket.connect",
    "socket.bind", "pickle.find_class", "shutil.rmtree", "webbrowser.open", "urllib.Request",
}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_state: dict[str, Any] = {"folder": None, "seen": [], "hooked": False, "spawns": ()}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    folder = _state["folder"]
    if folder is None:
        return
    if event in NEVER:
        _state["seen"].append(f"{event} {arguments!r:.200}")
    elif event == "subprocess.Popen":
        words = " ".join(map(str, arguments[1] or ()))
        if not any(allowed in words for allowed in _state["spawns"]):
            _state["seen"].append(f"{event} {words:.200}")
    elif event == "open" and isinstance(arguments[0], str | bytes):
        _check_open(os.fsdecode(arguments[0]), arguments[1], arguments[2], folder)


def _check_open(path: str, mode: Any, flags: Any, folder: str) -> None:
    writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
        not isinstance(mode, str) and isinstance(flags, int) and flags & _WRITES
    )
    if writes and path != os.devnull and not str(Path.cwd() / path).startswith(folder):
        _state["seen"].append(f"open for writing {path:.200}")


@contextmanager
def watched(folder: Path, spawns: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Give the list that forbidden events are written to while the block runs.

    Args:
        folder: where files may be written; absolute.
        spawns: parts of command lines that may be started.
    """
    if not _state["hooked"]:
        sys.addaudithook(_hook)
        _state["hooked"] = True
    seen: list[str] = []
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # of a module's first import
    _state.update(folder=f"{folder}{os.sep}", seen=seen, spawns=spawns)
    try:
        yield seen
    finally:
        _state["folder"] = None
        sys.dont_write_bytecode = writes
