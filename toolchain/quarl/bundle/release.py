"""The release: a bundle, read once.

In: the folder an export wrote. Out: a frozen `Release` that every later stage takes. Each file is
read once, hashed once and parsed once, so that nothing that changes on the disk can matter.

    manifest.json   digests of every file, origin, rung, calibration, limits, tools
    contract.json   what goes in and out, hash-bound to the artifacts
    model.tflite    model.onnx      the int8 artifacts
    policy.npz      source.npz      the same integers, and the float policy, as plain numbers;
                                    no source.npz where the policy came as an int8 file
    quantization.json               ranges, clipping and noise of each layer
    example.npz     held-out observations with the outputs and actions they must give
    firmware/       C sources and the interface of what they build, where there is a board
Added by later stages, beside the manifest's files:
    profile.json firmware.BOARD.json device.BOARD.json pi.BOARD.json     profiles
    parity.json verdict.json report.html                                 parity, gate, report
Same input, same bytes: no clocks, no paths, no dictionary order.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from quarl.bundle.example import Example, example_from
from quarl.bundle.manifest import (
    CONTRACT,
    EXAMPLE,
    FIRMWARE_FOLDER,
    MANIFEST,
    POLICY,
    SOURCE,
    Manifest,
    is_stage_file,
    manifest_from,
)
from quarl.bundle.policy_file import policy_from, quant_policy_from
from quarl.bundle.writing import own_files
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.digests import digests
from quarl.files.folder import recover
from quarl.files.html_table import html_table
from quarl.files.open import read_member
from quarl.files.text import shortened
from quarl.graph.contract import Contract
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """A bundle as it lay on the disk when it was opened, or as the export wrote it."""

    folder: Path
    manifest: Manifest
    manifest_sha256: str
    contract: Contract
    source: Policy | None  # None: the policy came as an int8 file
    quantized: QuantPolicy
    example: Example
    files: Mapping[str, bytes]  # by path in the bundle: every file of the manifest that is there
    changed_files: tuple[str, ...]  # what differs from the manifest, one line each

    def __repr__(self) -> str:
        """Return name, rung and folder: arrays are not for the eye."""
        return (
            f"Release({self.manifest.name!r}, rung={self.manifest.rung}, "
            f"board={self.manifest.board!r}, folder={str(self.folder)!r})"
        )

    def _repr_html_(self) -> str:
        """Return the bundle as a table for a notebook."""
        manifest = self.manifest
        rows = [
            ("source", f"{manifest.origin.file}, {manifest.origin.algorithm}"),
            ("rung", str(manifest.rung)),
            ("weights", manifest.weights),
            ("board", manifest.board or "none"),
            ("environment", "none" if manifest.env is None else manifest.env.id),
            *((name, f"{len(data):,} B") for name, data in self.files.items() if "/" not in name),
        ]
        return html_table(f"quarl bundle {manifest.name}", rows)

    def file(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            InputError: the bundle lacks it.
        """
        if name not in self.files:
            raise InputError(f"{self.folder / name}: is missing: export the bundle again")
        return self.files[name]

    @property
    def firmware_files(self) -> dict[str, bytes]:
        """The files below firmware/, by their path there; empty where there is no board."""
        head = f"{FIRMWARE_FOLDER}/"
        return {
            name.removeprefix(head): data
            for name, data in self.files.items()
            if name.startswith(head)
        }

    def stored(self, name: str) -> bytes | None:
        """Return what a later stage stored under a name, None where it stored nothing."""
        if not os.path.lexists(self.folder / name):
            return None
        return read_member(self.folder, name)

    def store(self, name: str, data: bytes) -> Path:
        """Write a stage's result into the bundle, whole or not at all, and return its path."""
        path = self.folder / name
        write_whole(path, data)
        return path


def new_release(
    folder: Path,
    manifest: Manifest,
    policies: tuple[Policy | None, QuantPolicy],
    example: Example,
    files: Mapping[str, bytes],
) -> Release:
    """Return the release that an export is about to write, made of the values it holds.

    Args:
        policies: source and integers.
        files: what the manifest lists, by path.
    """
    source, quantized = policies
    return Release(
        folder=folder,
        manifest=manifest,
        manifest_sha256=hashlib.sha256(manifest.to_json()).hexdigest(),
        contract=quantized.contract,
        source=source,
        quantized=quantized,
        example=example,
        files=files,
        changed_files=(),
    )


def open_bundle(folder: str | Path) -> Release:
    """Return the bundle in a folder, read once.

    A file that differs from its digest, or is missing, is named in `changed_files`; whether that
    matters is the gate's to say.

    Raises:
        InputError: there is not a bundle, one of another format, or a file that cannot be
            understood.
    """
    folder = Path(folder)
    with suppress(OSError):  # a writer was killed between two renames
        if not folder.exists():
            recover(folder.absolute(), own_files)
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise InputError(
            f"{folder}: is not a bundle ({MANIFEST} is missing): write one with quarl export "
            f"SOURCE --out {folder}"
        )
    data = read_member(folder, MANIFEST)
    manifest = manifest_from(data, str(path))
    present = (name for name in manifest.files if os.path.lexists(folder / name))
    files = {name: read_member(folder, name) for name in present}
    for name in (CONTRACT, POLICY, EXAMPLE):
        if name not in files:
            raise InputError(f"{folder / name}: is missing: export the bundle again")
    quantized = quant_policy_from(files[POLICY], str(folder / POLICY))
    return Release(
        folder=folder,
        manifest=manifest,
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        contract=_contract_from(files[CONTRACT], str(folder / CONTRACT)),
        source=policy_from(files[SOURCE], str(folder / SOURCE)) if SOURCE in files else None,
        quantized=quantized,
        example=example_from(files[EXAMPLE], quantized, str(folder / EXAMPLE)),
        files=files,
        changed_files=(*_changes(manifest, files), *_strangers(folder, manifest)),
    )


def _contract_from(data: bytes, where: str) -> Contract:
    try:
        return Contract.from_json(data.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is not UTF-8 text: export the bundle again") from error


def _strangers(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield one line for each thing in the folder that neither the manifest lists nor a later stage
    writes, links and pipes among them.
    """
    listed = {MANIFEST, *manifest.files}
    folders = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISDIR(mode) and name in folders:
            continue
        if not stat.S_ISREG(mode):
            yield f"{shortened(name)}: is not a regular file that quarl wrote"
        elif name not in listed and not is_stage_file(name):
            yield f"{shortened(name)}: is not listed in the manifest"


def _changes(manifest: Manifest, files: Mapping[str, bytes]) -> tuple[str, ...]:
    now = digests(files)
    lines = []
    for name, digest in sorted(manifest.files.items()):
        if name not in now:
            lines.append(f"{name}: is missing")
        elif now[name] != digest:
            lines.append(
                f"{name}: SHA-256 is {now[name][:16]}..., the manifest says {digest[:16]}..."
            )
    return tuple(lines)
