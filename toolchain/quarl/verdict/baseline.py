"""The baseline: the verdict on a release that was accepted, kept for later ones to be held against.

In: a bundle with a passing verdict. Out: one JSON file beside the bundle, or wherever the user
says, written whole or not at all.
Format: toolchain/docs/gate.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.open import read_file
from quarl.verdict.formats.verdict_json import checks_of, verdict_table
from quarl.verdict.verdict import Check, Outcome, Verdict

FORMAT = 1


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
    document = {
        "format": FORMAT,
        "rung": release.manifest.rung,
        "board": release.manifest.board,
        "source_sha256": release.manifest.origin.sha256,
        "tools": dict(release.manifest.tools),
        "verdict": verdict_table(verdict),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        path, (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    )
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
    text = read_file(path).decode(errors="replace")
    try:
        document = json.loads(text)
        if "verdict" not in document:
            return Baseline(
                str(document["policy"]), None, None, "", {}, checks_of(document, str(path))
            )
        if document["format"] != FORMAT:
            raise InputError(
                f"{path}: format {document['format']}, this quarl reads format {FORMAT}: run "
                "quarl baseline set again"
            )
        return _baseline(document, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: is not a baseline ({error!r}): write one with quarl baseline set BUNDLE"
        ) from error


def _baseline(document: Mapping[str, Any], where: str) -> Baseline:
    verdict = document["verdict"]
    return Baseline(
        str(verdict["policy"]),
        document["rung"],
        document["board"],
        str(document["source_sha256"]),
        {str(name): str(release) for name, release in document["tools"].items()},
        checks_of(verdict, where),
    )
