"""A verdict as verdict.json holds it, read back into the values it was written from.

In: the text of verdict.json. Out: a `Verdict`, through the decoder that all documents go through.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from quarl.bundle.limits import NotProven
from quarl.bundle.manifest import MANIFEST
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.evidence.closed_loop import ClosedLoop
from quarl.evidence.gather import PARITY, stored_evidence
from quarl.files.documents import Digest, Name, read_json, value_of
from quarl.verdict.formats.verdict_json import DERIVED, DOCUMENT, checks_of
from quarl.verdict.verdict import Reason, Verdict

VERDICT = "verdict.json"


def read_verdict(text: str, where: str = "verdict.json") -> Verdict:
    """Return the verdict that `quarl gate` wrote.

    Raises:
        InputError: not a verdict, or of another schema version.
    """
    document = read_json(text.encode("utf-8", "replace"), where, DOCUMENT)
    checks = checks_of(document, where)
    rest = {field.name: document.get(field.name) for field in fields(_Rest)}
    loop = rest["closed_loop"]
    if isinstance(loop, dict):
        rest["closed_loop"] = {key: loop[key] for key in loop if key not in DERIVED}
    found = value_of(_Rest, rest, where, DOCUMENT)
    return Verdict(
        found.policy,
        checks,
        found.closed_loop,
        found.why,
        found.not_proven,
        found.decisions_only,
        found.manifest_sha256,
        found.evidence_sha256,
        found.run,
    )


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a verdict says beside its checks."""

    policy: Name
    closed_loop: ClosedLoop | None
    why: tuple[Reason, ...]
    not_proven: NotProven
    decisions_only: bool
    manifest_sha256: Digest
    evidence_sha256: Digest | Literal[""]
    run: str


def verdict_on(release: Release) -> Verdict | None:
    """Return the verdict that lies in a bundle; None where it was not judged.

    Raises:
        InputError: as `read_verdict`; or it was given on another manifest or other evidence.
    """
    data, path = release.stored(VERDICT), release.folder / VERDICT
    if data is None:
        return None
    verdict = read_verdict(data.decode("utf-8", errors="replace"), str(path))
    evidence, _ = stored_evidence(release)
    judged = {
        MANIFEST: (verdict.manifest_sha256, release.manifest_sha256),
        PARITY: (verdict.evidence_sha256, evidence.sha256),
    }
    others = [name for name, (then, now) in judged.items() if then != now]
    if others:
        raise InputError(
            f"{path}: was given on another {' and another '.join(others)} than lies in the bundle: "
            f"run quarl gate {release.folder}"
        )
    return verdict
