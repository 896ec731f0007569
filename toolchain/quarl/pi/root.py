"""The emulated Pi's files: a Debian for arm64 with Python, and the packages of a Pi, made without
running anything foreign.

In: a cache folder. Out: an `EmulatedRoot`, built once and kept under a name made of all that went
in. `mmdebstrap --variant=extract` unpacks Debian's packages, pip unpacks wheels for aarch64;
qemu-user runs them in place, without root, chroot or binfmt_misc.
Runtimes read the core's identity from /proc/cpuinfo, and crash on the host's: each core has a root
of links with its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quarl import tools
from quarl.boards.core import CpuInfo
from quarl.boards.cores import LINUX_CORES
from quarl.errors import DeviceError, ToolMissingError
from quarl.pi.wheels import LOCKS, WheelSet, lock_file, unpack_wheels

RECIPE = 2  # raise it when what is built changes
EMULATOR = "qemu-aarch64"
NEEDED = {EMULATOR: "qemu-user", "mmdebstrap": "mmdebstrap"}  # program -> Debian package
SUITE = "bookworm"
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
PYTHON, GLIBC = "3.11", (2, 36)  # of that suite
CPU_COUNT = 4
BUILD_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class EmulatedRoot:
    """A built root."""

    folder: Path

    def site(self, wheels: WheelSet = "litert") -> Path:
        """Return the folder of the Pi's packages, those of one set."""
        return self.folder / f"site-{wheels}"

    def of_core(self, core: str) -> Path:
        """Return the root prefix that says it is that core."""
        return self.folder / core

    def python_argv(self, core: str, script: Path) -> list[str]:
        """Return the argv that runs a script in the Pi's Python: nothing of the host's Python is
        visible to it.
        """
        python = self.of_core(core) / "usr" / "bin" / f"python{PYTHON}"
        return [*self.program_argv(core, python, ["-I", "-S", str(script)])]

    def program_argv(self, core: str, program: Path, arguments: Sequence[str]) -> list[str]:
        """Return the argv that runs an aarch64 program on a core."""
        return [EMULATOR, "-cpu", core, "-L", str(self.of_core(core)), str(program), *arguments]


def root_folder(cache_dir: Path) -> Path:
    """Return where the root of this recipe lies, built or not."""
    locks = [lock_file(wheels).read_text(encoding="utf-8") for wheels in LOCKS]
    parts = [str(RECIPE), SUITE, *PACKAGES, *locks, *map(cpuinfo, _pi_cores().values())]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return cache_dir / "pi-emulator" / digest[:16]


def find_root(cache_dir: Path) -> EmulatedRoot | None:
    """Return the root if it has been built."""
    folder = root_folder(cache_dir)
    return EmulatedRoot(folder) if folder.is_dir() else None


def open_root(cache_dir: Path) -> EmulatedRoot:
    """Return the root.

    Raises:
        ToolMissingError: it has not been built, or there is no emulator; says how to get it.
    """
    root = find_root(cache_dir)
    if root is None or shutil.which(EMULATOR) is None:
        raise ToolMissingError(
            "the emulated Pi is not installed: quarl doctor --install pi-emulator"
        )
    return root


def build_root(cache_dir: Path) -> EmulatedRoot:
    """Return the root, built if it is not there: under a temporary name, renamed when complete. Two
    builders wait for one another.

    Raises:
        ToolMissingError: a program is missing; names the package that brings it.
        DeviceError: Debian's packages or the wheels cannot be fetched; carries the program's own
            words.
    """
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing:
        raise ToolMissingError(
            f"the emulated Pi needs {' and '.join(missing)}: apt-get install "
            f"--no-install-recommends {' '.join(missing)}"
        )
    folder = root_folder(cache_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(folder.parent):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as scratch:
                made = Path(scratch) / "made"
                _extract_debian(made / "debian")
                for wheels in LOCKS:
                    unpack_wheels(made / f"site-{wheels}", PYTHON, GLIBC, wheels)
                for name, core in _pi_cores().items():
                    _write_core(made / name, core)
                made.rename(folder)
    return EmulatedRoot(folder)


def _pi_cores() -> dict[str, CpuInfo]:
    return {name: core.cpuinfo for name, core in LINUX_CORES.items() if core.cpuinfo is not None}


def cpuinfo(core: CpuInfo) -> str:
    """Return /proc/cpuinfo of a Pi with that core."""
    block = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {core.features}\nCPU implementer\t: 0x41\nCPU "
        "architecture: 8\n"
        f"CPU variant\t: {core.variant}\nCPU part\t: {core.part}\nCPU revision\t: {core.revision}\n"
    )
    return "".join(f"processor\t: {number}\n{block}\n" for number in range(CPU_COUNT))


def mirror_of(targets: str) -> str | None:
    """Return the address this machine's apt takes the suite from, None where it has none, out of
    `apt-get indextargets`.
    """
    for line in targets.splitlines():
        codename, component, address = line.split(maxsplit=2)
        if (codename, component) == (SUITE, "main"):
            return address
    return None


def _extract_debian(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    mirror = None
    if shutil.which("apt-get") is not None:
        listed = tools.run(
            [
                "apt-get",
                "indextargets",
                "--format",
                "$(CODENAME) $(COMPONENT) $(REPO_URI)",
                "Created-By: Packages",
                "Origin: Debian",
            ],
            timeout=BUILD_TIMEOUT_S,
        )
        mirror = mirror_of(listed.stdout.decode(errors="replace"))
    argv = [
        "mmdebstrap",
        "--quiet",
        "--architectures=arm64",
        "--variant=extract",
        "--format=directory",
        f"--include={','.join(PACKAGES)}",
    ]
    argv += [SUITE, str(target), *([] if mirror is None else [f"deb {mirror} {SUITE} main"])]
    done = tools.run(argv, timeout=BUILD_TIMEOUT_S)
    if done.returncode:
        raise DeviceError(
            f"mmdebstrap could not unpack Debian {SUITE} for arm64: "
            f"{done.stderr.decode(errors='replace').strip()[-800:]}"
        )


def _write_core(root: Path, core: CpuInfo) -> None:
    """Write a root prefix: links to Debian's folders, and the files that say which machine it
    is.
    """
    cpus = root / "sys" / "devices" / "system" / "cpu"
    cpus.mkdir(parents=True)
    (root / "proc").mkdir()
    for name in ("usr", "lib", "bin", "sbin"):
        (root / name).symlink_to(Path("..") / "debian" / name)
    (root / "proc" / "cpuinfo").write_text(cpuinfo(core))
    for name in ("possible", "present", "online"):
        (cpus / name).write_text(f"0-{CPU_COUNT - 1}\n")


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    import fcntl  # the emulated Pi is for Linux; Windows has no such module

    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
