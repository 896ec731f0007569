"""A Python in which quarl meets what Windows has: put this folder on PYTHONPATH.

Modules of quarl cannot import what is POSIX only, and see no names of `os` and `signal` that
Windows lacks. Files are opened in binary mode or not at all, folders are never opened, and nothing
that is open is renamed or removed. Other packages see the real system.
"""

from __future__ import annotations

import builtins
import os
import signal
import stat
import types
from typing import Any

POSIX_ONLY = {"fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "syslog", "posix"}
HIDDEN = {
    "os": {
        "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "WNOHANG",
        "fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getpgid", "setsid", "killpg",
        "mkfifo", "sched_getaffinity", "sched_setaffinity", "uname", "chown", "fchmod", "sync",
        "getloadavg", "sysconf", "posix_fallocate", "register_at_fork", "statvfs",
    },
    "signal": {
        "SIGHUP", "SIGQUIT", "SIGKILL", "SIGCHLD", "SIGALRM", "SIGUSR1", "SIGUSR2", "alarm",
        "setitimer", "pthread_sigmask", "sigwait", "sigwaitinfo", "sigtimedwait",
    },
}  # fmt: skip
O_BINARY = 1 << 28  # no flag of this system
OPEN: dict[int, str] = {}  # descriptors that quarl opened, and their paths

_import = builtins.__import__
_open, _close = os.open, os.close


class Less(types.ModuleType):
    """A module without some of its names."""

    def __init__(self, module: types.ModuleType, more: dict[str, Any]) -> None:
        super().__init__(module.__name__)
        self.__dict__["_module"], self.__dict__["_more"] = module, more

    def __getattr__(self, name: str) -> Any:
        if name in HIDDEN[self.__name__]:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}' on Windows")
        if name in self._more:
            return self._more[name]
        return getattr(self._module, name)


def open_as_windows(path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
    assert dir_fd is None, "Windows knows no dir_fd"
    if path == os.devnull:
        return _open(path, flags, mode)
    assert flags & O_BINARY, f"{path}: opened as text, Windows would change line ends"
    if os.path.isdir(path):  # noqa: PTH112
        raise PermissionError(13, "Permission denied", str(path))
    descriptor = _open(path, flags & ~O_BINARY, mode)
    OPEN[descriptor] = os.path.abspath(path)  # noqa: PTH100
    return descriptor


def close(descriptor: int) -> None:
    OPEN.pop(descriptor, None)
    _close(descriptor)


def refuses_open(function: Any) -> Any:
    def call(path: Any, *more: Any, **words: Any) -> Any:
        inside = os.path.abspath(path)  # noqa: PTH100
        for descriptor, name in list(OPEN.items()):
            try:
                _is_open = stat.S_ISREG(os.fstat(descriptor).st_mode)
            except OSError:  # closed through a file object
                OPEN.pop(descriptor, None)
                continue
            if name == inside or name.startswith(inside + os.sep):
                raise PermissionError(13, "another process uses the file", str(path))
        return function(path, *more, **words)

    return call


def import_as_windows(name: str, globals: Any = None, *more: Any, **words: Any) -> Any:  # noqa: A002
    importer = (globals or {}).get("__name__", "")
    if importer.split(".")[0] == "quarl":
        if name in POSIX_ONLY:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        if name in MODULES:
            return MODULES[name]
    return _import(name, globals, *more, **words)


MODULES = {
    "os": Less(
        os,
        {
            "name": "nt",
            "O_BINARY": O_BINARY,
            "O_NOINHERIT": 0,
            "supports_dir_fd": set(),
            "open": open_as_windows,
            "close": close,
        },
    ),
    "signal": Less(signal, {}),
}
for _name in ("replace", "rename", "unlink", "remove"):
    setattr(os, _name, refuses_open(getattr(os, _name)))
signal.Signals.__members__  # noqa: B018, made before it is looked at
builtins.__import__ = import_as_windows
