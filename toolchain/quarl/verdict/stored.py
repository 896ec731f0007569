"""A verdict as verdict.json holds it, read back into the values it was written from.

In: the text of verdict.json. Out: a `Verdict`. What a later quarl added is left out; what is
missing is an error.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from quarl.bundle.manifest import MANIFEST
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.evidence.closed_loop import ClosedLoop
from quarl.evidence.gather import PARITY, stored_evidence
from quarl.files.text import digest_text
from quarl.verdict.formats.verdict_json import read_checks
from quarl.verdict.verdict import Reason, Verdict

VERDICT = "verdict.json"


def read_verdict(text: str, where: str = "verdict.json") -> Verdict:
    """Return the verdict that `quarl gate` wrote.

    Raises:
        InputError: not a verdict, or of another schema version.
    """
    checks = read_checks(text, where)
    try:
        document = json.loads(text)
        loop = document["closed_loop"]
        why = tuple(_value(Reason, reason) for reason in document["why"])
        return Verdict(
            str(document["policy"]),
            checks,
            None if loop is None else _value(ClosedLoop, loop),
            why,
            "warn" if document["not_proven"] == "warn" else "fail",
            document["decisions_only"] is True,
            digest_text(document["manifest_sha256"], "manifest_sha256"),
            str(document["evidence_sha256"]),
            str(document["run"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: is not a verdict ({error!r}): write one with quarl gate BUNDLE"
        ) from error


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


def _value(kind: Any, value: Any) -> Any:
    """Return a plain value as the type a field declares: dataclasses from tables, tuples from
    lists.
    """
    if value is None:
        return None
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(
            **{
                field.name: _value(hints[field.name], value[field.name])
                for field in fields(kind)
                if field.name in value
            }
        )
    members = get_args(kind)
    if get_origin(kind) is tuple:
        return tuple(_value(members[0], item) for item in value)
    nested = next((member for member in members if is_dataclass(member)), None)
    return value if nested is None else _value(nested, value)
