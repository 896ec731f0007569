"""Do the parts of a release speak of the same thing: what can be told without any key.

In: a `Release`, stored evidence, the decisions compared anew. Out: contradictions, one line each. A
bundle that quarl wrote has none; whoever writes every file to fit has none either, which is what a
signature is for (toolchain/docs/security.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quarl.bundle.manifest import (
    ARTIFACTS,
    CONTRACT,
    EXAMPLE,
    INT8_FILE,
    MANIFEST,
    POLICY,
    QUANTIZATION,
    SOURCE,
    Manifest,
)
from quarl.bundle.release import Release
from quarl.emitters import artifact_metadata
from quarl.errors import InputError
from quarl.evidence.agreement import Agreement, DiscreteAgreement
from quarl.evidence.evidence import Consistency, Evidence
from quarl.files.text import shortened
from quarl.quantize.error_report import QuantReport, looked_at
from quarl.rollouts.episodes import Episodes
from quarl.stats.seeds import parity_seed
from quarl.stats.tries import error_share

# float sums differ between machines in the last bits, which turns over a tie now and then
MOST_SHARE = 0.01
MOST_RATIO = 0.05


def consistency_of(
    release: Release, evidence: Evidence, agreement: Agreement | None
) -> Consistency:
    """Return what contradicts what in a bundle and in the evidence gathered on it.

    Args:
        agreement: of source and integers, compared now; None: there is no source.
    """
    return Consistency(
        tuple(_file_contradictions(release)),
        tuple(_evidence_contradictions(release, evidence, agreement)),
    )


def _file_contradictions(release: Release) -> Iterator[str]:
    manifest, source = release.manifest, release.source
    said = {file: artifact_metadata(file, release.file(file)) for file, _ in ARTIFACTS.values()}
    contracts = {
        MANIFEST: manifest.contract_sha256,
        CONTRACT: release.contract.digest,
        POLICY: release.quantized.contract.digest,
        **({} if source is None else {SOURCE: source.contract.digest}),
        **{file: entries.get("quarl.contract_sha256", "") for file, entries in said.items()},
    }
    sources = {
        MANIFEST: manifest.origin.sha256,
        POLICY: release.quantized.source_sha256,
        **({} if source is None else {SOURCE: source.source_sha256}),
        **{file: entries.get("quarl.source_sha256", "") for file, entries in said.items()},
    }
    rungs = {
        MANIFEST: _rung(manifest.rung),
        POLICY: _rung(release.quantized.rung),
        **{file: entries.get("quarl.rung", "none") for file, entries in said.items()},
    }
    yield from _unequal("contract", contracts)
    yield from _unequal("source digest", sources)
    yield from _unequal("rung", rungs)
    yield from _attempt_contradictions(manifest)
    yield from _source_contradictions(release)
    yield from _example_contradictions(release)


def _rung(rung: int | None) -> str:
    return "none" if rung is None else str(rung)


def _attempt_contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield one line where the tries of the ladder are not those of one ship."""
    last = manifest.attempt
    attempts = [*(one.attempt for one in manifest.refused), last]
    numbers = [attempt.number for attempt in attempts if attempt is not None]
    shares = [attempt.error_share for attempt in attempts if attempt is not None]
    is_only = numbers == [1] and shares == [1.0]
    wanted = list(range(1, len(attempts) + 1))
    if last.refused or (not is_only and (numbers, shares) != (wanted, [*map(error_share, wanted)])):
        yield (
            f"{MANIFEST} tells of tries {numbers} with {shares} of the error: the tries of one "
            "ship count from 1, and each uses half of what the one before it uses"
        )


def _unequal(what: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield one line where files do not name the same."""
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{file} {value[:12] or 'says none'}" for file, value in values.items())
        yield f"the files do not name one {what}: {shown}"


def _source_contradictions(release: Release) -> Iterator[str]:
    manifest = release.manifest
    came_as_int8 = manifest.origin.framework == INT8_FILE
    if release.source is None and not came_as_int8:
        yield (
            f"{SOURCE} is not among the manifest's files, and the policy came from "
            f"{shortened(manifest.origin.framework)}, which is not an int8 file"
        )
    if release.source is not None and came_as_int8:
        yield f"{SOURCE} is there, and the manifest says the policy came as an int8 file"
    if came_as_int8 and (manifest.rung is not None or manifest.calibration is not None):
        yield "the policy came as an int8 file, and the manifest says how it was quantised"


def _example_contradictions(release: Release) -> Iterator[str]:
    if release.source is None:
        return
    if QUANTIZATION not in release.files:
        yield f"{QUANTIZATION} is not among the manifest's files"
        return
    try:
        report = QuantReport.from_json(release.files[QUANTIZATION].decode(errors="replace"))
    except InputError as error:
        yield str(error)
        return
    count = looked_at(release.contract, len(release.example.obs))
    if report.observations != count:
        yield (
            f"{EXAMPLE} holds {len(release.example.obs):,} observations, of which {QUANTIZATION} "
            f"would be on {count:,}; it is on {shortened(report.observations)}"
        )


def _evidence_contradictions(
    release: Release, evidence: Evidence, agreement: Agreement | None
) -> Iterator[str]:
    yield from _env_contradictions(release, evidence)
    yield from _seed_contradictions(release, evidence)
    yield from _share_contradictions(release, evidence)
    count = len(release.example.obs)
    compared = {
        backend.backend: backend.observations
        for backend in evidence.backends
        if backend.backend in ARTIFACTS
    }
    if evidence.example is not None:
        compared["the example"] = evidence.example.observations
    for what, observations in compared.items():
        if observations != count:
            yield f"{what} was compared on {observations:,} observations, {EXAMPLE} holds {count:,}"
    if evidence.agreement is not None:
        yield from _other_decisions(evidence.agreement, agreement)


def _env_contradictions(release: Release, evidence: Evidence) -> Iterator[str]:
    names = {evidence.paired.env_id} if evidence.paired is not None else set()
    names |= {evidence.own.env_id} if evidence.own is not None else set()
    played, own = evidence.env, release.manifest.env
    if not names and not evidence.robustness:
        return
    if played is None or any(name != played.id for name in names):
        yield (
            f"episodes were played in {', '.join(sorted(map(shortened, names)))}, the evidence "
            f"says {shortened(None if played is None else played.id)}"
        )
    elif own is not None and played != own:
        yield (
            f"episodes were played in {shortened(played.id)} {shortened(dict(played.kwargs))}, the "
            f"manifest says {shortened(own.id)} {shortened(dict(own.kwargs))}: run quarl parity "
            "without --env"
        )


def _seed_contradictions(release: Release, evidence: Evidence) -> Iterator[str]:
    first = parity_seed(release.manifest.attempt.number)
    played: list[tuple[str, Episodes]] = []
    if evidence.paired is not None:
        played.append(("paired", evidence.paired.source))
    if evidence.own is not None:
        played.append(("own", evidence.own.episodes))
    played += [(f"{part.disturbance} disturbed", part.source) for part in evidence.robustness]
    for what, episodes in played:
        count = len(episodes.seeds)
        if episodes.seeds != tuple(range(first, first + count)):
            twice = count - len(set(episodes.seeds))
            yield (
                f"the seeds of the {what} episodes are not those of the plan, {first:,} and "
                f"the {count - 1:,} after it" + (f": {twice:,} are there twice" if twice else "")
            )


def _share_contradictions(release: Release, evidence: Evidence) -> Iterator[str]:
    """Yield one line where the episodes would err more often than their try may."""
    if evidence.paired is None:
        return
    looks, attempt = evidence.paired.looks, release.manifest.attempt
    spent = sum(look.alpha_share for look in looks) if looks else 1.0
    if spent > attempt.error_share + 1e-9:
        yield (
            f"the looks of the evidence use {spent:.4g} of the error, try {attempt.number} has "
            f"{attempt.error_share:.4g} of it"
        )


def _other_decisions(stored: Agreement, now: Agreement | None) -> Iterator[str]:
    """Yield one line where source and integers do not decide as the evidence says they do."""
    if now is None or type(stored) is not type(now):
        yield "the evidence compares other actions than the bundle's"
        return
    before, after = _in_numbers(stored), _in_numbers(now)
    most = MOST_SHARE if isinstance(now, DiscreteAgreement) else MOST_RATIO * abs(after) + 1e-6
    if stored.observations != now.observations or abs(before - after) > most:
        what = "of the actions are equal" if isinstance(now, DiscreteAgreement) else "mean error"
        yield (
            f"source and int8 do not decide as the evidence says: {after:.4g} {what} over "
            f"{now.observations:,} observations, the evidence says {before:.4g} over "
            f"{stored.observations:,}"
        )


def _in_numbers(agreement: Agreement) -> float:
    if isinstance(agreement, DiscreteAgreement):
        return agreement.agreement
    return sum(agreement.mean_error) / max(1, len(agreement.mean_error))
