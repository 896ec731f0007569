"""The baseline: the verdict on a release that was accepted, kept for later ones to be held against.

In: a bundle with a passing verdict. Out: one JSON file beside the bundle, or wherever the user
says, written whole or not at all.
Format: toolchain/docs/gate.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.documents import Digest, Document, Line, Name, decode, encode, read_json, value_of
from quarl.files.open import read_file
from quarl.verdict.formats.verdict_json import checks_of, verdict_table
from quarl.verdict.verdict import Check, Outcome, Verdict

DOCUMENT = Document("a baseline", 1, "write one with quarl baseline set BUNDLE")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A baseline as its file holds it."""

    rung: int | None
    board: Name | None
    source_sha256: Digest
    tools: Mapping[Line, Line]
    verdict: dict[str, Any]  # as `verdict_table` makes it


@dataclass(frozen=True, slots=True)
class Baseline:
    """An accepted release."""

    policy: str
    rung: int | None
    board: str | None
    source_sha256: str  # of the file the policy came from
    tools: Mapping[str, str]
    checks: tuple[Check, ...]


def baseline_path(release: Release) -> Path:
    """Return where the baseline of a bundle lies unless the user says otherwise: beside the bundle,
    so that a new export keeps it.
    """
    folder = release.folder.absolute()
    return folder.with_name(f"{folder.name}.baseline.json")


def set_baseline(release: Release, verdict: Verdict, path: Path) -> Path:
    """Write the baseline and return its path.

    Raises:
        InputError: the verdict does not pass, or the file cannot be written.
    """
    if verdict.answer is not Outcome.PASS:
        standing = ", ".join(check.name for check in (*verdict.failed, *verdict.unproven))
        raise InputError(
            f"{release.folder}: does not pass ({standing}), so it cannot be a baseline: see quarl "
            f"gate {release.folder}"
        )
    manifest = release.manifest
    stored = _Stored(
        manifest.rung,
        manifest.board,
        manifest.origin.sha256,
        manifest.tools,
        verdict_table(verdict),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encode(stored, DOCUMENT))
    return path


def find_baseline(release: Release, path: Path | None = None) -> Baseline | None:
    """Return the baseline in `path`, or the one beside the bundle; None where none was set.

    Raises:
        InputError: as `read_baseline`.
    """
    beside = baseline_path(release)
    if path is None and not beside.is_file():
        return None
    return read_baseline(path or beside)


def read_baseline(path: Path) -> Baseline:
    """Return the baseline in a file, or the one that a bare verdict.json makes.

    Raises:
        InputError: no such file, neither of the two, or of another format.
    """
    data, where = read_file(path), str(path)
    document = read_json(data, where, DOCUMENT)
    if "verdict" not in document:
        policy = value_of(Name, document.get("policy"), where, DOCUMENT)
        return Baseline(policy, None, None, "", {}, checks_of(document, where))
    stored = decode(_Stored, data, where, DOCUMENT)
    return Baseline(
        value_of(Name, stored.verdict.get("policy"), where, DOCUMENT),
        stored.rung,
        stored.board,
        stored.source_sha256,
        stored.tools,
        checks_of(stored.verdict, where),
    )
