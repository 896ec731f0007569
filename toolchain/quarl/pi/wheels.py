"""The packages a Pi gets: locked by hash beside this file, in the versions of this host, downloaded
by pip for another machine.

In: a Python version and the C library's. Out: wheel files in a folder, or unpacked into one.
    Nothing of them runs here.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from quarl import tools
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.files.tables import did_you_mean

PIP_TIMEOUT_S = 1800.0
WheelSet = Literal["litert", "tflite-runtime"]
LOCKS: dict[WheelSet, str] = {"litert": "wheels.txt", "tflite-runtime": "wheels_tflite_runtime.txt"}
"""LiteRT and ONNX Runtime with the host's NumPy; tflite-runtime needs an older NumPy, and so an
environment of its own.
"""
OLDEST_GLIBC = 17


def lock_file(wheels: WheelSet) -> Path:
    """Return the lock: versions and hashes, as pip reads them."""
    return Path(__file__).parent / LOCKS[wheels]


def wheel_set(name: str) -> WheelSet:
    """Return the set of that name.

    Raises:
        InputError: there is none.
    """
    for known in LOCKS:
        if name == known:
            return known
    raise InputError(
        f"--runtime {name}: must be one of {', '.join(LOCKS)}{did_you_mean(name, LOCKS)}"
    )


def platform_options(python: str, glibc: tuple[int, int]) -> list[str]:
    """Return pip's options for wheels of an aarch64 machine; `python` is its version, as "3.11"."""
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for minor in range(glibc[1], OLDEST_GLIBC - 1, -1):
        options += ["--platform", f"manylinux_2_{minor}_aarch64"]
    return [*options, "--platform", "manylinux2014_aarch64"]


def unpack_wheels(
    target: Path, python: str, glibc: tuple[int, int], wheels: WheelSet = "litert"
) -> None:
    """Unpack the locked wheels into a folder; errors as `download_wheels`."""
    _pip(
        ["install", "--target", str(target), *_locked(wheels), *platform_options(python, glibc)],
        "unpack the packages of a Pi",
    )


def download_wheels(
    target: Path, python: str, glibc: tuple[int, int], wheels: WheelSet
) -> tuple[Path, ...]:
    """Return the locked wheels, downloaded into a folder.

    Raises:
        ToolMissingError: this Python has no pip.
        DeviceError: pip cannot get them, or not for that Python; carries its own words.
    """
    _pip(
        ["download", "--dest", str(target), *_locked(wheels), *platform_options(python, glibc)],
        f"download the packages of a Pi with Python {python}",
    )
    return tuple(sorted(target.glob("*.whl")))


def _locked(wheels: WheelSet) -> list[str]:
    return ["--require-hashes", "--no-deps", "-r", str(lock_file(wheels))]


def _pip(arguments: Sequence[str], what: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ToolMissingError(
            f"this Python has no pip of its own, which must {what}: python3 -m pip --python "
            f"{sys.executable} install pip"
        )
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = tools.run(argv, timeout=PIP_TIMEOUT_S)
    if done.returncode:
        raise DeviceError(
            f"pip could not {what}: {done.stderr.decode(errors='replace').strip()[-800:]}"
        )
