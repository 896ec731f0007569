"""QEMU's plugins of ours, compiled once with the host's C compiler.

In: the plugin's source under firmware_harness. Out: a shared library in the cache, named after its
source's digest.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from quarl.errors import DeviceError, ToolMissingError
from quarl.files.cache import keep, kept_file
from quarl.resources import firmware_dir
from quarl.tools import run

TIMEOUT_S = 300.0


def plugin_library(source_name: str, cache_dir: Path) -> Path:
    """Return a plugin as a shared library, compiled if it is not in the cache; `source_name` is
    relative to firmware_harness.

    Raises:
        ToolMissingError: there is no C compiler for this machine.
        DeviceError: the plugin does not compile.
    """
    source = firmware_dir() / source_name
    library = (
        cache_dir
        / "qemu"
        / f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    )
    if kept_file(library) is not None:
        return library
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ToolMissingError(
            "counting in QEMU needs a C compiler of this machine: apt-get install gcc libc6-dev"
        )
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / "plugin.so"
        done = run(
            [compiler, "-std=gnu11", "-O2", "-shared", "-fPIC", source, "-o", made],
            timeout=TIMEOUT_S,
        )
        if done.returncode != 0:
            raise DeviceError(
                f"{source.name} does not compile: {done.stderr.decode(errors='replace').strip()}"
            )
        keep(library, made.read_bytes())
    return library
