"""The gate: evidence and limits in, verdict out. Nothing is measured here, and missing evidence is
a failed check, never a silent pass.

Each check shows what was found beside what is allowed and how the figure was made;
toolchain/docs/gate.md says how each limit was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from quarl.bundle.limits import Limits
from quarl.evidence.agreement import BoxAgreement, DiscreteAgreement
from quarl.evidence.evidence import BackendEquality, Evidence, ExampleReplay, ImportProof
from quarl.profiles.figure import Figure
from quarl.verdict.checks import SOFTER_INT8, at_most, missing, reported
from quarl.verdict.closed_loop_checks import (
    closed_loop_checks,
    closed_loop_of,
    own_checks,
    robustness_checks,
)
from quarl.verdict.verdict import Check, Verdict

_TOO_LARGE = "Use a narrower policy, a lower rung or another board (quarl boards)"
_TOO_SLOW = "Use a lower rung, a narrower policy, a faster board or a lower control rate"


def judge(evidence: Evidence, limits: Limits, *, policy: str) -> Verdict:
    """Return the verdict on a release; `policy` names it."""
    checks = [_import_check(evidence.import_proof, limits)]
    checks += [_backend_check(name, evidence.backends) for name in limits.backends]
    checks += _example_checks(evidence.example)
    checks += _calibration_checks(evidence, limits)
    loop = None
    if evidence.has_source:
        checks += _agreement_checks(evidence.agreement, limits)
        loop, unusable = closed_loop_of(evidence.paired, limits)
        checks += [unusable] if unusable is not None else []
        checks += list(closed_loop_checks(loop, limits)) if loop is not None else []
        checks += list(robustness_checks(evidence.paired, evidence.robustness, limits))
    else:
        checks += own_checks(evidence.own, limits)
    checks += _budget_checks(limits, evidence.figures)
    return Verdict(policy, tuple(checks), loop)


def _import_check(proof: ImportProof | None, limits: Limits) -> Check:
    name, allowed = "import_error", limits.max_import_error
    if proof is None:
        return missing(
            name,
            "import",
            allowed,
            "at most",
            "",
            "the import was not compared with its framework",
            "Run quarl parity",
        )
    if proof.max_abs_error is None:
        passed = False if limits.require_import_proof else None
        detail = f"not proven here: {proof.reason}"
        advice = f"Install {proof.framework} and import again, or set require_import_proof = false"
        return Check(
            name,
            "import",
            passed,
            None,
            allowed,
            "at most",
            "",
            "exact",
            detail,
            advice if passed is False else "",
        )
    passed = proof.max_abs_error <= allowed
    detail = (
        f"largest difference to {proof.framework} over {proof.observations:,} "
        f"observations: {proof.max_abs_error:.3g}"
    )
    advice = (
        ""
        if passed
        else "The graph was not read as the framework computes it: check layout, normaliser "
        "and --env, and report it"
    )
    return Check(
        name, "import", passed, proof.max_abs_error, allowed, "at most", "", "exact", detail, advice
    )


def _backend_check(backend: str, results: Sequence[BackendEquality]) -> Check:
    name, unit = f"equality_{backend}", "outputs"
    result = next((result for result in results if result.backend == backend), None)
    if result is None or result.outputs == 0:
        return missing(
            name,
            "equality",
            0,
            "at most",
            unit,
            f"{backend} was not compared with the integer reference",
            "Run quarl parity",
        )
    passed = result.differing == 0
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
        ""
        if passed
        else f"The file was changed after the export, or {backend} {result.version} computes "
        "differently: export again"
    )
    return Check(
        name, "equality", passed, result.differing, 0, "at most", unit, "exact", detail, advice
    )


def _example_checks(example: ExampleReplay | None) -> list[Check]:
    if example is None or example.observations == 0:
        return [
            missing(
                "example_outputs",
                "example",
                0,
                "at most",
                "outputs",
                "the bundle's example was not replayed",
                "Run quarl parity",
            )
        ]
    count = len(example.changed_files)
    return [
        at_most(
            "example_outputs",
            "example",
            example.differing_outputs,
            0,
            "outputs",
            "exact",
            f"{example.differing_outputs:,} outputs and {example.differing_actions:,} actions"
            f" differ over {example.observations:,} observations",
            "The integers are not those of the export: export again",
        ),
        at_most(
            "files_unchanged",
            "example",
            count,
            0,
            "files",
            "exact",
            "; ".join(example.changed_files) or "every file is the one the manifest lists",
            "Something wrote into the bundle after the export: export again",
        ),
    ]


def _calibration_checks(evidence: Evidence, limits: Limits) -> Iterator[Check]:
    """Return whether the ranges come from enough episodes, and how much of what was met in play
    lies outside them.
    """
    used, clipped = evidence.calibration, evidence.clipped
    if used is not None:
        least = limits.min_calibration_episodes
        passed = None if used.episodes == 0 else used.episodes >= least
        origin = (
            f"from {used.episodes:,} episodes"
            if used.episodes
            else "from an unknown number of episodes"
        )
        advice = (
            f"Calibrate on more episodes: ranges {origin} seldom cover what the policy "
            "meets (omit --calibration)"
        )
        yield Check(
            "calibration_episodes",
            "calibration",
            passed,
            float(used.episodes) if used.episodes else None,
            float(least),
            "at least",
            "episodes",
            "exact",
            f"ranges were taken from {used.observations:,} observations {origin}",
            advice if passed is False else "",
        )
    if clipped is not None:
        worst = (
            f", {clipped.worst_share:.2%} of {clipped.worst_feature} alone"
            if clipped.outside
            else ""
        )
        detail = (
            f"{clipped.outside:,} of {clipped.values:,} observation values met in play "
            f"lie outside the calibrated ranges{worst}"
        )
        yield reported(
            "clipped_inputs",
            "calibration",
            100 * clipped.outside / clipped.values,
            "%",
            "exact",
            detail,
        )


def _agreement_checks(
    agreement: DiscreteAgreement | BoxAgreement | None, limits: Limits
) -> list[Check]:
    wanted = limits.min_agreement is not None, limits.max_action_error is not None
    if isinstance(agreement, DiscreteAgreement):
        detail = (
            f"{agreement.agreement:.2%} of {agreement.observations:,} actions are equal, "
            f"{agreement.weighted_agreement:.2%} weighted by"
            f" what is at stake; {agreement.candidate_tie_rate:.2%} ties (source "
            f"{agreement.source_tie_rate:.2%})"
        )
        least = limits.min_agreement
        passed = None if least is None else agreement.agreement >= least
        advice = (
            f"The return decides, this tells where to look. {SOFTER_INT8}"
            if passed is False
            else ""
        )
        found = agreement.agreement
        checks = [
            Check(
                "action_agreement",
                "agreement",
                passed,
                found,
                least,
                "at least",
                "",
                "exact",
                detail,
                advice,
            )
        ]
        return checks + (
            [_misplaced("action_error", "max_action_error", "discrete")] if wanted[1] else []
        )
    if isinstance(agreement, BoxAgreement):
        most = limits.max_action_error
        worst = (
            f"largest {max(agreement.max_error):.4g} at observation "
            f"{agreement.worst_observation}, value {agreement.worst_value}"
        )
        units = ", ".join(f"{error:.4g}" for error in agreement.mean_error)
        detail = f"mean error per action value in environment units: {units}; {worst}"
        if agreement.mean_share is None and most is not None:
            advice = "Limit the return only, or give the environment finite action bounds"
            no_range = f"the action range is infinite, an error cannot be a share of it; {detail}"
            checks = [
                missing("action_error", "agreement", most, "at most", "of range", no_range, advice)
            ]
        else:
            passed = (
                None
                if most is None or agreement.mean_share is None
                else agreement.mean_share <= most
            )
            advice = (
                f"The return decides, this tells where to look. {SOFTER_INT8}"
                if passed is False
                else ""
            )
            share = agreement.mean_share
            checks = [
                Check(
                    "action_error",
                    "agreement",
                    passed,
                    share,
                    most,
                    "at most",
                    "of range",
                    "exact",
                    detail,
                    advice,
                )
            ]
        return checks + (
            [_misplaced("action_agreement", "min_agreement", "box")] if wanted[0] else []
        )
    return [
        missing(
            "action_agreement",
            "agreement",
            limits.min_agreement,
            "at least",
            "",
            "actions were not compared",
            "Run quarl parity",
        )
    ]


def _budget_checks(limits: Limits, figures: Sequence[Figure]) -> Iterator[Check]:
    """Return one check for each budget, then one for each figure that has none, which a baseline
    may be compared by.
    """
    known = {figure.name: figure for figure in figures}
    for name, allowed in sorted(limits.budgets.items()):
        if name in known:
            yield _budget_check(known[name], allowed)
        else:
            detail = (
                f"the profile has no figure {name}; it has: {', '.join(sorted(known)) or 'none'}"
            )
            advice = "Run quarl profile, or correct the name in [gate.budgets]"
            yield missing(f"budget_{name}", "budget", allowed, "at most", "", detail, advice)
    for figure in figures:
        if figure.name not in limits.budgets:
            detail = f"{_amount(figure.value, figure.unit)} {figure.kind}{_at(figure)}"
            check = reported(
                f"budget_{figure.name}", "budget", figure.value, figure.unit, figure.kind, detail
            )
            yield replace(check, noise=figure.noise, where=figure.where)


def _budget_check(figure: Figure, allowed: float) -> Check:
    left = allowed - figure.value
    stands = (
        f"{_amount(left, figure.unit)} to spare"
        if left >= 0
        else f"{_amount(-left, figure.unit)} over the limit"
    )
    detail = (
        f"{_amount(figure.value, figure.unit)} {figure.kind}{_at(figure)} of "
        f"{_amount(allowed, figure.unit)}: {stands}"
    )
    advice = _TOO_SLOW if figure.unit == "us" else _TOO_LARGE
    check = at_most(
        f"budget_{figure.name}",
        "budget",
        figure.value,
        allowed,
        figure.unit,
        figure.kind,
        detail,
        advice,
    )
    return replace(check, noise=figure.noise, where=figure.where)


def _amount(value: float, unit: str) -> str:
    return (
        f"{value:,.6g} {unit}".rstrip() if value != int(value) else f"{value:,.0f} {unit}".rstrip()
    )


def _at(figure: Figure) -> str:
    return f" on {figure.where}" if figure.where else ""


def _misplaced(name: str, key: str, actions: str) -> Check:
    detail = f"{key} limits something that {actions} actions do not have"
    return missing(name, "agreement", None, "at most", "", detail, f"Remove {key} from [gate]")
