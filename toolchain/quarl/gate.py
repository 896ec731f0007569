"""The gate: evidence and limits in, verdict out. Nothing is measured here, and missing evidence is a failed check, never a silent pass.

Each check shows what was found beside what is allowed and how the figure was made; toolchain/docs/gate.md says how each limit was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from quarl.agreement import BoxAgreement, DiscreteAgreement
from quarl.closed_loop import ClosedLoop, compare_episodes
from quarl.evidence import BackendEquality, Evidence, ExampleReplay, Figure, ImportProof, OwnEpisodes
from quarl.limits import Limits, failure_of, margin_of
from quarl.noninferiority import FailureTest, MeanTest
from quarl.verdict import Check, Group, Kind, Verdict

MEASURED_NOISE = 0.1  # share by which a measured figure may be worse than its baseline before that means anything
_SOFTER_INT8 = "Use a higher rung (--rung), or calibrate on more and more varied episodes"


def judge(evidence: Evidence, limits: Limits, *, policy: str) -> Verdict:
    """Return the verdict on a release; `policy` names it."""
    checks = [_import_check(evidence.import_proof, limits)]
    checks += [_backend_check(name, evidence.backends) for name in limits.backends]
    checks += _example_checks(evidence.example)
    loop = None
    if evidence.has_source:
        checks += _agreement_checks(evidence.agreement, limits)
        loop, unusable = _closed_loop(evidence, limits)
        checks += [unusable] if unusable is not None else []
        checks += list(_closed_loop_checks(loop, limits)) if loop is not None else []
    else:
        checks += _sourceless_checks(evidence.own, limits)
    checks += [_budget_check(name, allowed, evidence.figures) for name, allowed in sorted(limits.budgets.items())]
    return Verdict(policy, tuple(checks), loop)


def compare_with_baseline(verdict: Verdict, baseline: Sequence[Check]) -> tuple[Check, ...]:
    """Return one check for each check of an earlier, accepted verdict: whether it is still made, still passes and is not worse.

    Exact and emulated figures must not be worse at all, measured and estimated ones by at most 10 %. Tested bounds are judged
    by their own limit only, for they move with the episodes.
    """
    now = {check.name: check for check in verdict.checks}
    return tuple(_regression_check(now.get(before.name), before) for before in baseline if before.passed and before.group != "regression")


def _import_check(proof: ImportProof | None, limits: Limits) -> Check:
    name, allowed = "import_error", limits.max_import_error
    if proof is None:
        return _missing(name, "import", allowed, "at most", "", "the import was not compared with its framework", "Run quarl parity")
    if proof.max_abs_error is None:
        passed = False if limits.require_import_proof else None
        detail = f"not proven here: {proof.reason}"
        advice = f"Install {proof.framework} and import again, or set require_import_proof = false"
        return Check(name, "import", passed, None, allowed, "at most", "", "exact", detail, advice if passed is False else "")
    passed = proof.max_abs_error <= allowed
    detail = f"largest difference to {proof.framework} over {proof.observations:,} observations: {proof.max_abs_error:.3g}"
    advice = "" if passed else "The graph was not read as the framework computes it: check layout, normaliser and --env, and report it"
    return Check(name, "import", passed, proof.max_abs_error, allowed, "at most", "", "exact", detail, advice)


def _backend_check(backend: str, results: Sequence[BackendEquality]) -> Check:
    name, unit = f"equality_{backend}", "outputs"
    result = next((result for result in results if result.backend == backend), None)
    if result is None or result.outputs == 0:
        return _missing(name, "equality", 0, "at most", unit, f"{backend} was not compared with the integer reference", "Run quarl parity")
    passed = result.differing == 0
    detail = f"{result.differing:,} of {result.outputs:,} integers of {backend} {result.version} differ from the reference"
    if result.first is not None:
        first = result.first
        detail += (
            f"; first at observation {first.observation}, output {first.output}: {first.found:.9g}, the reference says {first.expected:.9g}"
        )
    advice = "" if passed else f"The file was changed after the export, or {backend} {result.version} computes otherwise: export again"
    return Check(name, "equality", passed, result.differing, 0, "at most", unit, "exact", detail, advice)


def _example_checks(example: ExampleReplay | None) -> list[Check]:
    if example is None or example.observations == 0:
        return [
            _missing("example_outputs", "example", 0, "at most", "outputs", "the bundle's example was not replayed", "Run quarl parity")
        ]
    count = len(example.changed_files)
    return [
        _at_most(
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
        _at_most(
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


def _agreement_checks(agreement: DiscreteAgreement | BoxAgreement | None, limits: Limits) -> list[Check]:
    wanted = limits.min_agreement is not None, limits.max_action_error is not None
    if isinstance(agreement, DiscreteAgreement):
        detail = (
            f"{agreement.agreement:.2%} of {agreement.observations:,} actions are equal, {agreement.weighted_agreement:.2%} weighted by"
            f" what is at stake; {agreement.candidate_tie_rate:.2%} ties (source {agreement.source_tie_rate:.2%})"
        )
        least = limits.min_agreement
        passed = None if least is None else agreement.agreement >= least
        advice = f"The return decides, this tells where to look. {_SOFTER_INT8}" if passed is False else ""
        found = agreement.agreement
        checks = [Check("action_agreement", "agreement", passed, found, least, "at least", "", "exact", detail, advice)]
        return checks + ([_misplaced("action_error", "max_action_error", "discrete")] if wanted[1] else [])
    if isinstance(agreement, BoxAgreement):
        most = limits.max_action_error
        worst = f"largest {max(agreement.max_error):.4g} at observation {agreement.worst_observation}, value {agreement.worst_value}"
        units = ", ".join(f"{error:.4g}" for error in agreement.mean_error)
        detail = f"mean error per action value in environment units: {units}; {worst}"
        if agreement.mean_share is None and most is not None:
            advice = "Limit the return only, or give the environment finite action bounds"
            no_range = f"the action range is infinite, an error is no share of it; {detail}"
            checks = [_missing("action_error", "agreement", most, "at most", "of range", no_range, advice)]
        else:
            passed = None if most is None or agreement.mean_share is None else agreement.mean_share <= most
            advice = f"The return decides, this tells where to look. {_SOFTER_INT8}" if passed is False else ""
            share = agreement.mean_share
            checks = [Check("action_error", "agreement", passed, share, most, "at most", "of range", "exact", detail, advice)]
        return checks + ([_misplaced("action_agreement", "min_agreement", "box")] if wanted[0] else [])
    return [
        _missing("action_agreement", "agreement", limits.min_agreement, "at least", "", "actions were not compared", "Run quarl parity")
    ]


def _sourceless_checks(own: OwnEpisodes | None, limits: Limits) -> Iterator[Check]:
    """Say what cannot be asked of a policy that came as an int8 file, and what it reaches by itself."""
    reason = "agreement and paired episodes do not apply: the policy came as an int8 file, there is no full-precision source"
    yield Check("source_comparison", "agreement", None, None, None, "at least", "", "exact", reason)
    for key, name in (("min_agreement", "action_agreement"), ("max_action_error", "action_error")):
        if getattr(limits, key) is not None:
            detail = f"{key} asks for what cannot be had: {reason}"
            yield _missing(name, "agreement", None, "at most", "", detail, f"Remove {key} from [gate]")
    if own is not None:
        returns = own.episodes.returns
        detail = f"mean return of the int8 policy over {len(returns)} episodes in {own.env_id}: {returns.mean():.5g} +- {returns.std():.3g}"
        yield Check("int8_return", "closed loop", None, float(returns.mean()), None, "at least", "return", "exact", detail)


def _closed_loop(evidence: Evidence, limits: Limits) -> tuple[ClosedLoop | None, Check | None]:
    """Return the comparison of the episodes, or the check that says why there can be none."""
    margin_unit, paired = "return", evidence.paired
    if paired is None:
        detail = "no paired episodes were played"
        return None, _missing("mean_return", "closed loop", None, "at most", margin_unit, detail, "Run quarl parity BUNDLE --env ID")
    if limits.random_return is None:
        detail = "the mean return of random play is not known, so the margin has no scale"
        return None, _missing("mean_return", "closed loop", None, "at most", margin_unit, detail, "Give random_return in [gate]")
    mean_source = float(paired.source.returns.mean())
    margin = margin_of(limits, mean_source)
    if margin is None:
        detail = f"the source's mean return {mean_source:.4g} is no better than random play ({limits.random_return:.4g})"
        advice = "There is nothing to keep: train the policy, or check normaliser and environment"
        return None, _missing("mean_return", "closed loop", None, "at most", margin_unit, detail, advice)
    failure = failure_of(limits, mean_source)
    return compare_episodes(paired, margin=margin, failure=failure, failure_margin=limits.failure_margin, alpha=limits.alpha), None


def _closed_loop_checks(loop: ClosedLoop, limits: Limits) -> Iterator[Check]:
    yield _mean_check(loop, loop.mean)
    if loop.failures is None:
        detail = f"{loop.env_id} reports no success"
        advice = 'Report info["success"] in the environment, or set failure = "return" with failure_return'
        yield _missing("failure_rate", "closed loop", 100 * limits.failure_margin, "at most", "points", detail, advice)
    else:
        yield _failure_check(loop, loop.failures)
    change, allowed = loop.low_quantile, loop.mean.margin
    yield _at_most(
        "low_quantile",
        "closed loop",
        0.0 - change.upper,  # no negative zero
        allowed,
        "return",
        "tested",
        f"the {change.share:.0%} quantile goes from {change.source:.4g} to {change.candidate:.4g} ({change.difference:+.4g},"
        f" {1 - 2 * limits.alpha:.0%} interval {change.lower:.4g} to {change.upper:.4g}); fails when a loss beyond the margin is certain",
        f"The worst episodes have become worse. {_SOFTER_INT8}",
    )
    control = loop.control_mean
    moved = f"a float64 copy of the source moves the mean return by {control.mean_difference:+.4g}"
    if loop.control_failures is not None:
        moved += f" and the failure rate by {100 * loop.control_failures.rate_difference:+.2f} points"
    chaos = ": more than the margin, so the environment is chaotic at this margin" if loop.is_chaotic else ""
    yield Check("control", "closed loop", None, abs(control.mean_difference), None, "at most", "return", "tested", moved + chaos)


def _mean_check(loop: ClosedLoop, mean: MeanTest) -> Check:
    detail = (
        f"mean return {mean.mean_source:.5g} -> {mean.mean_candidate:.5g} ({mean.mean_difference:+.4g}) over {mean.episodes} paired"
        f" episodes in {loop.env_id}; with {1 - mean.alpha:.0%} confidence the loss is at most {max(0 - mean.lower, 0):.4g}"
        f" (t {0 - mean.t_lower:.4g}, with skew {0 - mean.skew_lower:.4g}, BCa {0 - mean.bootstrap_lower:.4g});"
        f" these episodes can prove a margin of {mean.provable_margin:.4g}"
    )
    advice = ""
    if not mean.passed:
        within = mean.mean_difference >= -mean.margin
        advice = _more_episodes(mean.episodes, mean.episodes_needed) if within else f"The policy has lost return. {_SOFTER_INT8}"
        advice = _chaos(loop) + advice
    return Check("mean_return", "closed loop", mean.passed, 0.0 - mean.lower, mean.margin, "at most", "return", "tested", detail, advice)


def _failure_check(loop: ClosedLoop, test: FailureTest) -> Check:
    meant = "no success" if loop.failure.rule == "success" else f"a return below {loop.failure.below:.5g}"
    detail = (
        f"failed episodes ({meant}): {test.failures_source} -> {test.failures_candidate} of {test.episodes};"
        f" {test.only_candidate} only int8 fails, {test.only_source} only the source fails;"
        f" with {1 - test.alpha:.0%} confidence the rate rises by at most {100 * max(test.upper, 0):.2f} points"
    )
    advice = ""
    if not test.passed:
        within = test.rate_difference <= test.margin
        advice = _more_episodes(test.episodes, test.episodes_needed) if within else f"More episodes fail than before. {_SOFTER_INT8}"
        advice = _chaos(loop) + advice
    return Check(
        "failure_rate", "closed loop", test.passed, 100 * test.upper, 100 * test.margin, "at most", "points", "tested", detail, advice
    )


def _more_episodes(played: int, needed: int | None) -> str:
    if needed is None:
        return "No number of episodes proves this margin: give a larger one"
    if needed > played:
        return f"The loss seen is within the margin but not proven: an equal policy needs about {needed:,} episodes (--episodes {needed})"
    return f"The loss seen is within the margin but not proven. {_SOFTER_INT8}, or play more episodes"


def _chaos(loop: ClosedLoop) -> str:
    if not loop.is_chaotic:
        return ""
    return (
        f"Chaos: the control itself moves by {loop.control_mean.mean_difference:+.4g}, a difference of this size says nothing about int8. "
    )


def _budget_check(name: str, allowed: float, figures: Sequence[Figure]) -> Check:
    figure = next((figure for figure in figures if figure.name == name), None)
    if figure is None:
        known = ", ".join(sorted(figure.name for figure in figures)) or "none"
        detail = f"the profile has no figure {name}; it has: {known}"
        return _missing(
            f"budget_{name}", "budget", allowed, "at most", "", detail, "Run quarl profile, or correct the name in [gate.budgets]"
        )
    detail = f"{figure.value:,.6g} {figure.unit} {figure.kind}, {allowed - figure.value:+,.6g} {figure.unit} to spare"
    advice = "Use a narrower policy, a lower rung or another board"
    return _at_most(f"budget_{name}", "budget", figure.value, allowed, figure.unit, figure.kind, detail, advice)


def _regression_check(now: Check | None, before: Check) -> Check:
    name, relation, unit, kind = f"regression_{before.name}", before.relation, before.unit, before.kind
    if now is None:
        detail = "the baseline made this check, this verdict does not"
        return _missing(name, "regression", before.found, relation, unit, detail, "Gather the same evidence as the baseline")
    if kind == "tested" or before.found is None or now.found is None:
        passed = now.passed is not False
        detail = "passes as in the baseline" if passed else f"passed in the baseline: {before.detail}"
        return Check(name, "regression", passed, now.found, None, relation, unit, kind, detail, "" if passed else now.advice)
    slack = abs(before.found) * MEASURED_NOISE if kind in ("measured", "estimated") else 0.0
    allowed = before.found + slack if relation == "at most" else before.found - slack
    passed = now.found <= allowed if relation == "at most" else now.found >= allowed
    noise = f", {MEASURED_NOISE:.0%} of noise allowed" if slack else ""
    detail = f"{now.found:.6g} {unit} now, {before.found:.6g} {unit} in the baseline{noise}".replace("  ", " ").replace(" ,", ",")
    advice = "" if passed else "Find what made it worse, or accept it: quarl baseline set"
    return Check(name, "regression", passed, now.found, allowed, relation, unit, kind, detail, advice)


def _at_most(name: str, group: Group, found: float, allowed: float, unit: str, kind: Kind, detail: str, advice: str) -> Check:
    passed = found <= allowed
    return Check(name, group, passed, found, allowed, "at most", unit, kind, detail, "" if passed else advice)


def _missing(
    name: str, group: Group, allowed: float | None, relation: Literal["at most", "at least"], unit: str, detail: str, advice: str
) -> Check:
    return Check(name, group, False, None, allowed, relation, unit, "exact", detail, advice)


def _misplaced(name: str, key: str, actions: str) -> Check:
    detail = f"{key} limits something that {actions} actions do not have"
    return _missing(name, "agreement", None, "at most", "", detail, f"Remove {key} from [gate]")
