"""The manifest of a bundle: where the policy came from, what it was made of, and a digest of every
file.

In: bytes of manifest.json. Out: a frozen `Manifest`, every field typed and checked.
Format: toolchain/docs/formats.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import PurePosixPath

from quarl.bundle.limits import Limits, limits_from_table
from quarl.bundle.rung_result import ONLY_TRY, Attempt, Ceiling, RungResult
from quarl.errors import InputError
from quarl.files.atomic import SCRATCH
from quarl.files.documents import Digest, Document, Name, decode, encode
from quarl.graph.env_spec import EnvSpec, as_made, as_stored
from quarl.quantize.calibration import Coverage
from quarl.resources import VERSION

FORMAT = 2
ARITHMETIC = 1  # the rule of decision 0001; evidence for another rule speaks for other numbers
ARITHMETIC_PACKAGES = ("ai-edge-litert", "onnx", "onnxruntime", "numpy")
MOST_FILES = 1_000
DOCUMENT = Document(
    "a manifest", FORMAT, "export the bundle again: quarl export SOURCE --out BUNDLE"
)

MANIFEST, CONTRACT, POLICY = "manifest.json", "contract.json", "policy.npz"
SOURCE, QUANTIZATION, EXAMPLE = "source.npz", "quantization.json", "example.npz"
FIRMWARE_FOLDER = "firmware"
HALF_FOLDER = "fp16"  # the float policy with float16 parameters
PACKAGES_FOLDER = "packages"  # a folder for each build system
ATTESTATION, SBOM = "attestation.intoto.jsonl", "sbom.cdx.json"  # of quarl sign
INT8_FILE = "int8 .tflite"  # origin.framework of a policy that came as integers, without a source
BOARD = "board.json"  # what the firmware was written for
ARTIFACTS = {
    "litert": ("model.tflite", "ai-edge-litert"),
    "onnxruntime": ("model.onnx", "onnxruntime"),
}
"""By backend: the file it runs, and the package it comes from."""

_STAGE_NAMES = (
    r"(profile|parity|verdict)\.json|report\.html|(firmware|device|pi)\.[a-z0-9_]+\.json"
    rf"|README\.md|{re.escape(ATTESTATION)}|{re.escape(SBOM)}"
)
_STAGE_FILE = re.compile(rf"{_STAGE_NAMES}|{re.escape(SCRATCH)}[0-9a-f]{{16}}-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the policy came from."""

    file: Name  # without its path
    sha256: Digest
    algorithm: Name
    framework: Name
    recipe: Name | None  # name of the shipped policy

    @property
    def made_by(self) -> str:
        """The algorithm and its framework, for people."""
        return made_by(self.algorithm, self.framework)


def made_by(algorithm: str, framework: str) -> str:
    """Return who made a policy, for people; an "unknown" algorithm is one that no file names."""
    if algorithm == "unknown":
        return f"{framework}, algorithm not stated"
    return f"{algorithm} by {framework}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle is made of."""

    name: Name
    origin: Origin
    contract_sha256: Digest
    rung: int | None  # None: the policy came as an int8 file
    ladder: tuple[RungResult, ...]  # what was measured on each rung that was tried
    calibration: Coverage | None  # None: the policy came as an int8 file
    env: EnvSpec | None  # where it plays
    limits: Limits  # what the gate asks
    board: Name | None
    tools: Mapping[str, str]
    files: Mapping[str, Digest]  # SHA-256 by path in the bundle
    ceilings: tuple[Ceiling, ...] = ()  # of observations of some widths; () for pixels
    weights: Name = "int8"  # or which layers have int4 ones
    arithmetic: int = ARITHMETIC

    @property
    def attempt(self) -> Attempt:
        """Which try of a ship the integers are; the only one where no candidate was refused."""
        own = (result.attempt for result in self.ladder if result.taken)
        return next((attempt for attempt in own if attempt is not None), ONLY_TRY)

    @property
    def refused(self) -> tuple[RungResult, ...]:
        """The candidates that the gate refused before, in the order of their tries."""
        known = [(one.attempt.number, one) for one in self.ladder if one.attempt and not one.taken]
        return tuple(one for _, one in sorted(known, key=lambda pair: pair[0]))

    def to_json(self) -> bytes:
        """Return canonical JSON."""
        return encode(replace(self, env=as_stored(self.env)), DOCUMENT)


def manifest_from(data: bytes, where: str) -> Manifest:
    """Return the manifest in the bytes of manifest.json.

    Raises:
        InputError: it is not a manifest, of another format, or says what cannot be.
    """
    manifest = decode(Manifest, data, where, DOCUMENT)
    manifest = replace(manifest, env=as_made(manifest.env))
    limits_from_table(manifest.limits.to_table(), where)
    if manifest.arithmetic != ARITHMETIC:
        raise InputError(
            f"{where}: follows arithmetic {manifest.arithmetic}, this quarl computes "
            f"{ARITHMETIC}: {DOCUMENT.remedy}"
        )
    if len(manifest.files) > MOST_FILES:
        raise InputError(f"{where}: lists {len(manifest.files):,} files, at most {MOST_FILES:,}")
    for name in manifest.files:
        if not is_inside(name):
            raise InputError(
                f"{where}: lists {name!r}, which lies outside the bundle: do not trust it"
            )
    return manifest


def is_inside(name: str) -> bool:
    """Whether a path names a file inside the bundle: relative, no `..`, nothing unprintable."""
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name and str(path) == name
    return plain and not path.is_absolute() and not {"..", "."} & set(path.parts)


def tool_versions() -> dict[str, str]:
    """Return the versions of quarl and of the packages whose arithmetic the artifacts rely on."""
    return {"quarl": VERSION, **{name: version(name) for name in ARITHMETIC_PACKAGES}}


def is_stage_file(name: str) -> bool:
    """Whether a name is of a file that a stage after the export writes, finished or not."""
    return _STAGE_FILE.fullmatch(name) is not None
