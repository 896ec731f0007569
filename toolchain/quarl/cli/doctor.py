"""The doctor: what of quarl's needs is installed, what gives the rest, and how it is installed."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from quarl import tools
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.files.tables import did_you_mean

INSTALL_TIMEOUT_S = 3600.0
PI_EMULATOR = "pi-emulator"
EXTRAS = ("sb3", "tf", "atari", "firmware", "probe", "video")

PACKAGES: tuple[
    tuple[str, str, str, str], ...
] = (  # distribution, module, what it is for, the extra that gives it
    ("numpy", "numpy", "the integer reference", ""),
    ("ai-edge-litert", "ai_edge_litert", "runs .tflite", ""),
    ("onnxruntime", "onnxruntime", "runs .onnx", ""),
    ("onnx", "onnx", "writes .onnx", ""),
    ("gymnasium", "gymnasium", "plays episodes", ""),
    ("scipy", "scipy", "the gate's statistics", ""),
    ("h5py", "h5py", "reads .keras and .h5", ""),
    ("torch", "torch", "proves torch imports, trains", "sb3"),
    ("stable-baselines3", "stable_baselines3", "proves Stable-Baselines3 imports, trains", "sb3"),
    ("sb3-contrib", "sb3_contrib", "proves sb3-contrib imports, trains", "sb3"),
    ("tensorflow-cpu", "tensorflow", "reads SavedModels, proves Keras imports", "tf"),
    ("ale-py", "ale_py", "Atari environments", "atari"),
    ("ziglang", "ziglang", "compiles firmware", "firmware"),
    ("unicorn", "unicorn", "runs firmware, counts its instructions", "firmware"),
    ("capstone", "capstone", "reads instructions for the cycle estimate", "firmware"),
    ("pyelftools", "elftools", "reads firmware images", "firmware"),
    ("pyserial", "serial", "talks to a board", "firmware"),
    ("pyocd", "pyocd", "flashes a board", "probe"),
    ("pillow", "PIL", "writes films of episodes", "video"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing quarl may need."""

    name: str
    purpose: str
    version: str  # empty where it is missing
    remedy: str  # how to get it, where it is missing


def examine() -> tuple[Finding, ...]:
    """Return what is there and what is not; nothing is imported."""
    python = Finding(
        "python",
        f"{sys.implementation.name} on {platform.system()} {platform.machine()}",
        platform.python_version(),
        "",
    )
    packages = (_package(*package) for package in PACKAGES)
    return (python, *packages, *_emulators(), _pi_emulator())


def install_command(extra: str, requirements: tuple[str, ...]) -> list[str]:
    """Return the argv that installs an extra's packages into this Python.

    Args:
        requirements: quarl's own, as its metadata lists them.
    Raises:
        InputError: there is no such extra.
    """
    marker = f'extra == "{extra}"'
    wanted = [
        line.partition(";")[0].strip() for line in requirements if marker in line.replace("'", '"')
    ]
    if extra not in EXTRAS or not wanted:
        known = (*EXTRAS, PI_EMULATOR)
        raise InputError(
            f"--install {extra}: must be one of {', '.join(known)}{did_you_mean(extra, known)}"
        )
    return [sys.executable, "-m", "pip", "install", *wanted]


def install(extra: str) -> tuple[Finding, ...]:
    """Install what an extra names, its packages or the emulated Pi, and return what is there then.

    Raises:
        InputError: there is no such extra.
        ToolMissingError: this Python has no pip.
        DeviceError: pip failed; its last words are in the message.
    """
    if extra == PI_EMULATOR:
        from quarl.pi.root import build_root
        from quarl.resources import default_cache_dir

        build_root(default_cache_dir())
        return examine()
    argv = install_command(extra, tuple(requires("quarl") or ()))
    if importlib.util.find_spec("pip") is None:
        packages = " ".join(f"'{package}'" for package in argv[4:])
        raise ToolMissingError(
            f"this Python has no pip of its own: python3 -m pip --python {sys.executable} "
            f"install {packages}"
        )
    done = tools.run(argv, timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        raise DeviceError(
            f"pip could not install {extra}: {done.stderr.decode(errors='replace').strip()[-800:]}"
        )
    importlib.invalidate_caches()
    return examine()


def _emulators() -> Iterator[Finding]:
    """Yield QEMU's emulators of microcontroller cores, each with the cores that only it has."""
    from quarl.boards.cores import CORES
    from quarl.links.machine import package_of

    emulations = {name: core.emulation for name, core in CORES.items()}
    for emulator in sorted({emulation.machine.emulator for emulation in emulations.values()}):
        alone = [
            name
            for name, emulation in emulations.items()
            if emulation.machine.emulator == emulator and not emulation.unicorn
        ]
        found = shutil.which(emulator) or ""
        remedy = "" if found else f"apt-get install {package_of(emulator)}"
        yield Finding(emulator, f"runs firmware for {', '.join(alone)}", found, remedy)


def _pi_emulator() -> Finding:
    from quarl.pi.root import EMULATOR, find_root
    from quarl.resources import default_cache_dir

    root = find_root(default_cache_dir())
    found = root.folder.name if root is not None and shutil.which(EMULATOR) is not None else ""
    remedy = (
        ""
        if found
        else f"apt-get install qemu-user mmdebstrap, then quarl doctor --install {PI_EMULATOR}"
    )
    return Finding(PI_EMULATOR, "runs a policy on an emulated Raspberry Pi", found, remedy)


def _package(distribution: str, module: str, purpose: str, extra: str) -> Finding:
    try:
        found = version(distribution) if importlib.util.find_spec(module) is not None else ""
    except PackageNotFoundError:
        found = "?"
    remedy = "" if found else f"pip install 'quarl[{extra}]'" if extra else "pip install quarl"
    return Finding(distribution, purpose, found, remedy)
