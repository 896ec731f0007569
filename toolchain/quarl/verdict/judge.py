"""The gate: evidence and limits in, verdict out. Nothing is measured here. Missing evidence
proves nothing, and is never a silent pass.

Each check shows what was found beside what is allowed and how the figure was made;
toolchain/docs/gate.md says how each limit was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from quarl.bundle.limits import Limits
from quarl.evidence.evidence import (
    BackendEquality,
    CalibratedOn,
    Consistency,
    Evidence,
    ExampleReplay,
    ImportProof,
)
from quarl.profiles.figure import Figure
from quarl.verdict.checks import Question, answered, judged, missing, reported
from quarl.verdict.closed_loop_checks import (
    closed_loop_checks,
    closed_loop_of,
    own_checks,
    robustness_checks,
)
from quarl.verdict.decision_checks import (
    MORE_VARIED,
    MOST_CLIPPED,
    agreement_checks,
    decisions_only,
    drift_checks,
)
from quarl.verdict.refusal import tries_checks
from quarl.verdict.verdict import Check, Outcome, Verdict

_LOWER = "or a lower rung where there is one"
_TOO_LARGE = f"Use a narrower policy, another board (quarl boards), {_LOWER}"
_TOO_SLOW = f"Use a narrower policy, a faster board, a lower control rate, {_LOWER}"


def judge(evidence: Evidence, limits: Limits, *, policy: str, can_play: bool = True) -> Verdict:
    """Return the verdict on a release; `policy` names it.

    Args:
        can_play: whether the bundle names an environment. Where it does not, and no episodes were
            played in another, single decisions are judged instead.
    """
    by_decisions = evidence.has_source and evidence.paired is None and not can_play
    checks = [_import_check(evidence.import_proof, limits)]
    checks += [_backend_check(name, evidence.backends) for name in limits.backends]
    checks += _example_checks(evidence.example)
    checks += _consistency_checks(evidence.consistency)
    checks += _calibration_checks(evidence, limits, by_decisions=by_decisions)
    loop = None
    if by_decisions:
        checks += decisions_only(evidence.agreement, limits, evidence.worst)
    elif evidence.has_source:
        checks += agreement_checks(evidence.agreement, limits)
        loop, unusable = closed_loop_of(evidence.paired, limits)
        checks += [unusable] if unusable is not None else []
        checks += list(closed_loop_checks(loop, limits, evidence.plan)) if loop is not None else []
        share = evidence.attempt.error_share
        own = replace(limits, alpha=share * limits.alpha)
        checks += list(robustness_checks(evidence.paired, evidence.robustness, own))
        checks += list(tries_checks(evidence.attempt, evidence.refused, limits))
    else:
        checks += own_checks(evidence.own, limits)
    checks += drift_checks(evidence.drift)
    checks += _budget_checks(limits, evidence.figures)
    return Verdict(
        policy, tuple(checks), loop, not_proven=limits.not_proven, decisions_only=by_decisions
    )


def _import_check(proof: ImportProof | None, limits: Limits) -> Check:
    question, limit = Question("import_error", "import"), limits.max_import_error
    if proof is None:
        detail = "the import was not compared with its framework"
        return missing(question, limit, detail, "Run quarl parity")
    if proof.max_abs_error is None:
        detail = f"not proven here: {proof.reason}"
        advice = f"Install {proof.framework} and import again, or set require_import_proof = false"
        outcome = Outcome.NOT_PROVEN if limits.require_import_proof else Outcome.REPORTED
        return answered(question, outcome, (None, limit), detail, advice)
    detail = (
        f"largest difference to {proof.framework} over {proof.observations:,} "
        f"observations: {proof.max_abs_error:.3g}"
    )
    advice = (
        "The graph was not read as the framework computes it: check layout, normaliser "
        "and --env, and report it"
    )
    return judged(question, proof.max_abs_error, limit, detail, advice)


def _backend_check(backend: str, results: Sequence[BackendEquality]) -> Check:
    question = Question(f"equality_{backend}", "equality", unit="outputs")
    result = next((result for result in results if result.backend == backend), None)
    if result is None or result.outputs == 0:
        detail = f"{backend} was not compared with the integer reference"
        return missing(question, 0, detail, "Run quarl parity")
    detail = (
        f"{result.differing:,} of {result.outputs:,} integers of {backend} "
        f"{result.version} differ from the reference"
    )
    if result.first is not None:
        first = result.first
        detail += (
            f"; first at observation {first.observation}, output {first.output}: "
            f"{first.found:.9g}, the reference says {first.expected:.9g}"
        )
    advice = (
        f"The file was changed after the export, or {backend} {result.version} computes "
        "differently: export again"
    )
    return judged(question, result.differing, 0, detail, advice)


def _example_checks(example: ExampleReplay | None) -> list[Check]:
    outputs = Question("example_outputs", "example", unit="outputs")
    if example is None or example.observations == 0:
        detail = "the bundle's example was not replayed"
        return [missing(outputs, 0, detail, "Run quarl parity")]
    files = Question("files_unchanged", "example", unit="files")
    differences = (
        f"{example.differing_outputs:,} outputs and {example.differing_actions:,} actions"
        f" differ over {example.observations:,} observations"
    )
    changes = "; ".join(example.changed_files) or "every file is the one the manifest lists"
    return [
        judged(
            outputs,
            example.differing_outputs,
            0,
            differences,
            "The integers are not those of the export: export again",
        ),
        judged(
            files,
            len(example.changed_files),
            0,
            changes,
            "Something wrote into the bundle after the export: export again",
        ),
    ]


def _consistency_checks(consistency: Consistency | None) -> Iterator[Check]:
    """Yield whether the files speak of one policy, and the evidence of these files."""
    parts = (
        (
            "files_consistent",
            None if consistency is None else consistency.files,
            "contract, source, rung and example are the same in every file",
            "Files of different exports lie in one bundle, or somebody edited it: export again",
        ),
        (
            "evidence_consistent",
            None if consistency is None else consistency.evidence,
            "environment, seeds and decisions of the evidence are the bundle's",
            "The evidence was edited or is of something else: run quarl parity again",
        ),
    )
    for name, contradictions, fine, advice in parts:
        question = Question(name, "example", unit="conflicts")
        if contradictions is None:
            yield missing(question, 0, "was not looked at", "Run quarl gate BUNDLE")
        else:
            detail = "; ".join(contradictions) or fine
            yield judged(question, len(contradictions), 0, detail, advice)


def _calibration_checks(
    evidence: Evidence, limits: Limits, *, by_decisions: bool
) -> Iterator[Check]:
    """Yield whether the ranges come from enough episodes, and how much of what was met in play, or
    held out where nothing is played, lies outside them.
    """
    calibration, clipped = evidence.calibration, evidence.clipped
    if calibration is not None:
        yield _coverage_check(calibration, limits.min_calibration_episodes)
    if clipped is not None:
        worst = (
            f", {clipped.worst_share:.2%} of {clipped.worst_feature} alone"
            if clipped.outside
            else ""
        )
        met = "held out" if by_decisions else "met in play"
        detail = (
            f"{clipped.outside:,} of {clipped.values:,} observation values {met} "
            f"lie outside the calibrated ranges{worst}"
        )
        question = Question("clipped_inputs", "calibration", unit="%")
        most = MOST_CLIPPED if by_decisions else None
        share = 100 * clipped.outside / clipped.values
        yield judged(question, share, most, detail, MORE_VARIED)


def _coverage_check(calibration: CalibratedOn, least: int) -> Check:
    question = Question("calibration_episodes", "calibration", "at least", "episodes")
    count = calibration.episodes
    origin = f"from {count:,} episodes" if count else "from an unknown number of episodes"
    detail = f"ranges were taken from {calibration.observations:,} observations {origin}"
    advice = (
        f"Calibrate on more episodes: ranges {origin} seldom cover what the policy "
        "meets (omit --calibration)"
    )
    if not count:
        return answered(question, Outcome.REPORTED, (None, float(least)), detail, advice)
    return judged(question, float(count), float(least), detail, advice)


def _budget_checks(limits: Limits, figures: Sequence[Figure]) -> Iterator[Check]:
    """Yield one check for each budget, then one for each figure that has none, which a baseline
    may be compared by.
    """
    known = {figure.name: figure for figure in figures}
    for name, limit in sorted(limits.budgets.items()):
        if name in known:
            yield _budget_check(known[name], limit)
        else:
            detail = (
                f"the profile has no figure {name}; it has: {', '.join(sorted(known)) or 'none'}"
            )
            advice = "Run quarl profile, or correct the name in [gate.budgets]"
            yield missing(Question(f"budget_{name}", "budget"), limit, detail, advice)
    for figure in figures:
        if figure.name not in limits.budgets:
            detail = f"{_amount(figure.value, figure.unit)} {figure.kind}{_at(figure)}"
            check = reported(_budget_question(figure), figure.value, detail)
            yield replace(check, noise=figure.noise, where=figure.where)


def _budget_question(figure: Figure) -> Question:
    return Question(f"budget_{figure.name}", "budget", unit=figure.unit, kind=figure.kind)


def _budget_check(figure: Figure, limit: float) -> Check:
    left = limit - figure.value
    stands = (
        f"{_amount(left, figure.unit)} to spare"
        if left >= 0
        else f"{_amount(-left, figure.unit)} over the limit"
    )
    detail = (
        f"{_amount(figure.value, figure.unit)} {figure.kind}{_at(figure)} of "
        f"{_amount(limit, figure.unit)}: {stands}"
    )
    advice = _TOO_SLOW if figure.unit == "us" else _TOO_LARGE
    check = judged(_budget_question(figure), figure.value, limit, detail, advice)
    return replace(check, noise=figure.noise, where=figure.where)


def _amount(value: float, unit: str) -> str:
    return (
        f"{value:,.6g} {unit}".rstrip() if value != int(value) else f"{value:,.0f} {unit}".rstrip()
    )


def _at(figure: Figure) -> str:
    return f" on {figure.where}" if figure.where else ""
