"""The cores quarl builds for, one file each: the folder is the list.

A new core is one new file here with a value `CORE`. It needs new kernels only where no family fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from quarl.boards.core import Core, LinuxCore


def _members() -> tuple[Core | LinuxCore, ...]:
    names = sorted(module.name for module in iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}").CORE for name in names)


_MEMBERS = _members()
CORES: Mapping[str, Core] = {core.name: core for core in _MEMBERS if isinstance(core, Core)}
LINUX_CORES: Mapping[str, LinuxCore] = {
    core.name: core for core in _MEMBERS if isinstance(core, LinuxCore)
}
