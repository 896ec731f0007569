"""The bundle: the folder an export writes, complete or not at all, and what later stages add to it.

    manifest.json   digests of every file, origin, rung, calibration, tools; says whether anything was changed since the export
    contract.json   what goes in and out, hash-bound to the artifacts
    model.tflite    model.onnx      the int8 artifacts
    policy.npz      source.npz      the same integers, and the float policy, as plain numbers: parity needs nothing but the bundle;
                                    no source.npz where the policy came as an int8 file
    quantization.json               ranges, clipping and noise of each layer, and what each part does to the decisions
    example.npz     held-out observations with the outputs and actions they must give
    profile.json firmware.json device.json pi.json                      added by profile: this host, a board emulated, a board, a Pi
    parity.json verdict.json                                            added by parity and gate
    report.html     all of it for people
Same input, same bytes: no clocks, no paths, no dictionary order. Format: toolchain/docs/formats.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import quarl
from quarl.bundle.policy_file import read_policy_file, read_quant_policy_file
from quarl.errors import InputError
from quarl.files.atomic import scratch_prefix, write_whole
from quarl.files.folder import recover, replace_folder
from quarl.files.open import digest_of, is_inside, open_member, read_member
from quarl.files.text import digest_text
from quarl.graph.contract import Contract
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy

FORMAT = 1
MANIFEST = "manifest.json"
SOURCE, QUANTIZATION = "source.npz", "quantization.json"
PROFILE, FIRMWARE, DEVICE_PROFILE, PI = "profile.json", "firmware.json", "device.json", "pi.json"
PARITY, VERDICT, REPORT_PAGE = "parity.json", "verdict.json", "report.html"
STAGE_FILES = {PROFILE, FIRMWARE, DEVICE_PROFILE, PI, PARITY, VERDICT, REPORT_PAGE}
ARITHMETIC_PACKAGES = ("ai-edge-litert", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the policy came from."""

    file: str  # name only, no path
    sha256: str
    algorithm: str
    framework: str
    recipe: str | None  # name of the shipped policy


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle is made of."""

    name: str
    origin: Origin
    contract_sha256: str
    rung: int | None  # None: the policy came as an int8 file
    ladder: tuple[Mapping[str, Any], ...]  # what was measured on each rung that was tried
    calibration: Mapping[str, Any] | None  # None: likewise
    env: Mapping[str, Any] | None  # id and kwargs of the environment it plays in
    limits: Mapping[str, Any] | None  # what the gate asks
    board: str | None
    tools: Mapping[str, str]
    files: Mapping[str, str]  # SHA-256 by file name
    weights: str = "int8"  # or which layers have int4 ones

    def to_json(self) -> str:
        """Return canonical JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk."""

    folder: Path
    manifest: Manifest

    @property
    def contract(self) -> Contract:
        """The contract."""
        return Contract.from_json(self.read("contract.json").decode())

    @property
    def has_source(self) -> bool:
        """Whether there is a full-precision policy to compare with; there is none where the policy
        came as an int8 file.
        """
        return SOURCE in self.manifest.files

    def source(self) -> Policy | None:
        """Return the float policy, None where there never was one."""
        return read_policy_file(self.folder / SOURCE) if self.has_source else None

    def quantized(self) -> QuantPolicy:
        """Return the integers."""
        return read_quant_policy_file(self.folder / "policy.npz")

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            InputError: the bundle has no such file.
        """
        return read_member(self.folder, name)

    def changed_files(self) -> tuple[str, ...]:
        """Return what differs from the manifest: 'NAME: is missing' or 'NAME: SHA-256 is ..., the
        manifest says ...'.
        """
        found = []
        for name, digest in sorted(self.manifest.files.items()):
            if not os.path.lexists(self.folder / name):
                found.append(f"{name}: is missing")
                continue
            now = _digest(self.folder, name)
            if now != digest:
                found.append(
                    f"{name}: SHA-256 is {now[:16]}..., the manifest says {digest[:16]}..."
                )
        return tuple(found)

    def add(self, name: str, text: str) -> Path:
        """Write a stage's result into the bundle, whole or not at all, and return its path."""
        path = self.folder / name
        write_whole(path, text.encode())
        return path


def tool_versions() -> dict[str, str]:
    """Return the versions of quarl and of the packages whose arithmetic or format the artifacts
    depend on.
    """
    return {"quarl": quarl.__version__, **{name: version(name) for name in ARITHMETIC_PACKAGES}}


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def check_target(folder: Path) -> None:
    """Check, before any work, that a bundle can be written at `folder`.

    Raises:
        InputError: it is a file, a folder that holds anything but a bundle, or cannot be written.
    """
    try:
        target = _target(folder)
        if target.is_dir():
            own_files(target)
        elif target.exists():
            raise InputError(f"--out {folder}: is a file, a bundle is a folder: name another path")
        parent = target.parent
        while not parent.exists():
            parent = parent.parent
    except OSError as error:
        raise InputError(
            f"--out {folder}: cannot be used ({error.strerror or error}): name another path"
        ) from error
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"--out {folder}: {parent} cannot be written: name a folder of your own")


def own_files(folder: Path) -> tuple[str, ...]:
    """Return the names of a bundle's files, the manifest last; of an empty folder none.

    Raises:
        InputError: a file in it is not one that quarl wrote, or was changed since; names the first.
    """
    if not any(folder.iterdir()):
        return ()
    listed = _listed_files(folder)
    unfinished = tuple(scratch_prefix(name) for name in STAGE_FILES)
    folders = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
    names = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) and name in folders:
            continue
        is_ours = name in {*listed, *STAGE_FILES, MANIFEST} or name.startswith(unfinished)
        if not stat.S_ISREG(mode) or not is_ours:
            raise InputError(_stranger(folder, name, "is not a file that quarl wrote"))
        if name in listed and _digest(folder, name) != listed[name]:
            raise InputError(_stranger(folder, name, "was changed since quarl wrote it"))
        names.append(name)
    return tuple(sorted(names, key=lambda name: name == MANIFEST))


def _listed_files(folder: Path) -> dict[str, str]:
    """Return the digests a manifest of any format lists; a manifest of something else is refused."""
    try:
        document = json.loads(read_member(folder, MANIFEST))
        listed = {str(name): str(digest) for name, digest in document["files"].items()}
        if not listed or type(document["format"]) is not int or not document["origin"]["sha256"]:
            raise KeyError("files")
    except (
        InputError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"--out {folder}: is a folder that holds other files, not a bundle of quarl: name a "
            "new or empty folder"
        ) from error
    return listed


def _digest(folder: Path, name: str) -> str:
    with open_member(folder, name) as file:
        return digest_of(file)


def _stranger(folder: Path, name: str, what: str) -> str:
    return (
        f"--out {folder}: {name} {what}, and a bundle is only replaced where nothing else is "
        "lost: move it away, or name a new folder"
    )


def _target(folder: Path) -> Path:
    """Return the absolute path that is written; a link is resolved once.

    Raises:
        InputError: a link that leads nowhere.
    """
    if folder.is_symlink() and not folder.exists():
        raise InputError(
            f"--out {folder}: is a link to {folder.readlink()}, which does not exist: name a folder"
        )
    return folder.resolve()


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write the bundle whole or not at all; an older bundle there is replaced.

    Raises:
        InputError: as `check_target`; or the disk is full. Nothing half written is left.
    """
    check_target(folder)
    try:
        everything = {**files, MANIFEST: manifest.to_json().encode()}
        replace_folder(_target(folder), everything, own_files)
    except OSError as error:
        raise InputError(
            f"--out {folder}: cannot be written ({error.strerror or error}): free space or "
            "name another place"
        ) from error
    return Bundle(folder, manifest)


def read_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`; its files are not read yet.

    Raises:
        InputError: no bundle there, or one of another format.
    """
    path = folder / MANIFEST
    with contextlib.suppress(OSError):
        if not folder.exists():
            recover(folder.absolute(), own_files)
    if not os.path.lexists(path):
        raise InputError(
            f"{folder}: is no bundle ({MANIFEST} is missing): write one with quarl export "
            f"SOURCE --out {folder}"
        )
    try:
        document = json.loads(read_member(folder, MANIFEST))
        found = document.pop("format")
        if found != FORMAT:
            raise InputError(
                f"{path}: format {found}, this quarl reads format {FORMAT}: export the bundle again"
            )
        origin = Origin(**document.pop("origin"))
        ladder = tuple(document.pop("ladder"))
        manifest = Manifest(origin=origin, ladder=ladder, **document)
        digest_text(origin.sha256, f"{path}: origin.sha256")
        digest_text(manifest.contract_sha256, f"{path}: contract_sha256")
        for name, digest in manifest.files.items():
            digest_text(digest, f"{path}: the digest of {name!r}")
            if not is_inside(name):
                raise InputError(
                    f"{path}: lists {name!r}, which lies outside the bundle: do not trust it"
                )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a manifest ({error}): export the bundle again") from error
    return Bundle(folder, manifest)
