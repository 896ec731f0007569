"""Brings the runtimes to a Pi that has none: wheels pushed over the link and unpacked there into an
environment of their own, offline.

In: a link, and a folder of wheels or nothing (then pip downloads the locked ones for that Pi's
Python). Out: what the Pi has then.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quarl.errors import DeviceError, InputError
from quarl.links.pi import PiLink, sha256_of
from quarl.links.pi_machine import Machine, machine_from
from quarl.links.ssh import SITES
from quarl.pi.wheels import WheelSet, download_wheels

ROOM = 4  # a wheel takes about three times its size unpacked, and lies there once itself
OLDEST_PYTHON = (3, 10)  # for which the runtimes have wheels


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What was brought."""

    target: str
    wheels: tuple[str, ...]
    runtimes: Mapping[str, str]


def provision(link: PiLink, folder: Path | None = None, wheels: WheelSet = "litert") -> Provisioned:
    """Return what the Pi has after the wheels were unpacked there; an older environment is replaced
    when the new one is whole.

    Args:
        wheels: which runtimes; each set has an environment of its own.
        folder: wheels to bring; None: those locked with this quarl, in the versions of this host.
    Raises:
        InputError: the folder holds no wheels.
        DeviceError: the Pi is not 64-bit Arm, too small, or the link failed; nothing half unpacked
            is left.
    """
    with link, tempfile.TemporaryDirectory(prefix="quarl-wheels-") as scratch:
        link.push({})
        fields = link.ask({"ask": "look"}).fields
        machine = machine_from(fields)
        if (machine.machine, machine.bits) != ("aarch64", 64):
            raise DeviceError(
                f"{link.name}: is {machine.machine}, {machine.bits}-bit Python; the runtimes "
                "need the 64-bit Raspberry Pi OS"
            )
        paths = (
            _given(folder)
            if folder is not None
            else _downloaded(Path(scratch), machine, link.name, wheels)
        )
        files = {path.name: path.read_bytes() for path in paths}
        needed, free = ROOM * sum(map(len, files.values())), int(fields["free_bytes"])
        if needed > free:
            raise DeviceError(
                f"{link.name}: the runtimes need {needed / 2**20:,.0f} MiB, "
                f"{free / 2**20:,.0f} MiB are free: make room there"
            )
        link.push(files)
        listed = [{"file": name, "sha256": sha256_of(data)} for name, data in files.items()]
        request = {
            "ask": "install",
            "runtime": wheels.replace("-", "_"),
            "target": SITES[wheels],
            "wheels": listed,
        }
        answer = link.ask(request).fields
    return Provisioned(str(answer["target"]), tuple(files), dict(answer["runtimes"]))


def _given(folder: Path) -> tuple[Path, ...]:
    wheels = tuple(sorted(folder.glob("*.whl")))
    foreign = [
        path.name
        for path in wheels
        if not path.name.endswith("-none-any.whl") and "aarch64" not in path.name
    ]
    if not wheels or foreign:
        found = f"{', '.join(foreign)}, which are for other machines" if foreign else "no wheels"
        raise InputError(
            f"--wheels {folder}: holds {found}: fill it with wheels for aarch64, or omit --wheels"
        )
    return wheels


def _downloaded(scratch: Path, machine: Machine, name: str, wheels: WheelSet) -> tuple[Path, ...]:
    major, minor = (int(part) for part in machine.python.split(".")[:2])
    if (major, minor) < OLDEST_PYTHON:
        oldest = f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}"
        raise DeviceError(
            f"{name}: has Python {machine.python}; the runtimes need {oldest}: install a "
            "newer system"
        )
    found = re.search(r"(\d+)\.(\d+)", machine.libc)
    glibc = (int(found[1]), int(found[2])) if found else (2, 28)
    return download_wheels(scratch, f"{major}.{minor}", glibc, wheels)
