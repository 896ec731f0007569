"""Single decisions judged: how often and by how much source and int8 act differently on held-out
observations.

In: an agreement and limits. Out: checks. Beside paired episodes they tell where to look. Where
there is no environment they are all there is, and the defaults below hold for what the limits do
not say: "decisions only".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from quarl.bundle.limits import Limits
from quarl.evidence.agreement import BoxAgreement, DiscreteAgreement, WorstDecision
from quarl.evidence.drift import StateDrift
from quarl.verdict.checks import SOFTER_INT8, Question, judged, missing, reported
from quarl.verdict.verdict import Check, Outcome

# without an environment: toolchain/docs/gate.md says how these were chosen
LEAST_WEIGHTED_AGREEMENT = 0.98
MOST_ACTION_ERROR = 0.01
MOST_WORST_ERROR = 0.1
LEAST_DECISIONS = 200
MOST_CLIPPED = 1.0  # percent of the held-out observation values, outside the calibrated ranges
MORE_VARIED = "Calibrate on more varied observations: whole episodes of every situation"

_EQUAL_ACTIONS = Question("action_agreement", "agreement", "at least")
_WEIGHTED = Question("weighted_agreement", "agreement", "at least")
_ACTION_ERROR = Question("action_error", "agreement", unit="of range")
_WORST_ERROR = Question("worst_action_error", "agreement", unit="of range")
_WORST_DECISION = Question("worst_decision", "agreement")
_DECISIONS = Question("decisions", "agreement", "at least", "observations")
_DRIFT = Question("state_drift", "agreement", unit="of range")
_LOOK_HERE = f"The return decides, this tells where to look. {SOFTER_INT8}"


def drift_checks(drift: StateDrift | None) -> Iterator[Check]:
    """Yield what is known of a recurrent policy's state; it has no limit: the return decides."""
    if drift is not None:
        yield reported(
            _DRIFT,
            drift.late,
            f"after {drift.steps:,} steps on the same observations the state of int8 is off by "
            f"{drift.late:.2%} of its range on average, in the first steps by {drift.early:.2%}, "
            f"at most by {drift.largest:.2%}",
        )


def agreement_checks(
    agreement: DiscreteAgreement | BoxAgreement | None, limits: Limits
) -> Iterator[Check]:
    """Yield the checks of decisions beside those of episodes."""
    match agreement:
        case DiscreteAgreement():
            yield _equality_of_actions(agreement, limits.min_agreement)
            yield from _weighted(agreement, limits)
            for key in ("max_action_error", "max_worst_action_error"):
                if getattr(limits, key) is not None:
                    yield _misplaced(key.removeprefix("max_"), key, "discrete")
        case BoxAgreement():
            yield _error_of_actions(agreement, limits.max_action_error)
            yield from _worst(agreement, limits)
            for key, question in (
                ("min_agreement", _EQUAL_ACTIONS),
                ("min_weighted_agreement", _WEIGHTED),
            ):
                if getattr(limits, key) is not None:
                    yield _misplaced(question.name, key, "box")
        case None:
            detail = "actions were not compared"
            yield missing(_EQUAL_ACTIONS, limits.min_agreement, detail, "Run quarl parity")


def decisions_only(
    agreement: DiscreteAgreement | BoxAgreement | None,
    limits: Limits,
    worst: Sequence[WorstDecision] = (),
) -> Iterator[Check]:
    """Yield the checks of decisions where no environment can be played, with limits that have
    defaults.

    Args:
        worst: the decisions that lose most, the worst first.
    """
    wanted = limits
    if isinstance(agreement, DiscreteAgreement) and limits.min_weighted_agreement is None:
        wanted = replace(limits, min_weighted_agreement=LEAST_WEIGHTED_AGREEMENT)
    if isinstance(agreement, BoxAgreement):
        mean, largest = limits.max_action_error, limits.max_worst_action_error
        wanted = replace(
            limits,
            max_action_error=MOST_ACTION_ERROR if mean is None else mean,
            max_worst_action_error=MOST_WORST_ERROR if largest is None else largest,
        )
    yield from agreement_checks(agreement, wanted)
    if isinstance(agreement, DiscreteAgreement) and worst:
        yield _worst_decision(worst[0])
    if agreement is not None:
        count = agreement.observations
        check = judged(
            _DECISIONS,
            float(count),
            float(LEAST_DECISIONS),
            f"source and int8 decided on {count:,} held-out observations; no episode was played",
            f"Give more observations with --calibration ({5 * LEAST_DECISIONS:,}, of which one in "
            "five is held out), or an environment with --env ID",
        )
        too_few = check.outcome is Outcome.FAIL
        yield replace(check, outcome=Outcome.NOT_PROVEN) if too_few else check


def _equality_of_actions(agreement: DiscreteAgreement, least: float | None) -> Check:
    detail = (
        f"{agreement.agreement:.2%} of {agreement.observations:,} actions are equal, "
        f"{agreement.weighted_agreement:.2%} weighted by"
        f" what is at stake; {agreement.candidate_tie_rate:.2%} ties (source "
        f"{agreement.source_tie_rate:.2%})"
    )
    return judged(_EQUAL_ACTIONS, agreement.agreement, least, detail, _LOOK_HERE)


def _weighted(agreement: DiscreteAgreement, limits: Limits) -> Iterator[Check]:
    least = limits.min_weighted_agreement
    if least is None:
        return
    detail = (
        f"{agreement.weighted_agreement:.2%} of what is at stake in {agreement.observations:,} "
        "decisions is kept: each weighs the gap between the source's best two actions"
    )
    yield judged(_WEIGHTED, agreement.weighted_agreement, least, detail, SOFTER_INT8)


def _error_of_actions(agreement: BoxAgreement, most: float | None) -> Check:
    worst = (
        f"largest {max(agreement.max_error):.4g} at observation "
        f"{agreement.worst_observation}, value {agreement.worst_value}"
    )
    units = ", ".join(f"{error:.4g}" for error in agreement.mean_error)
    detail = (
        f"mean error per action value in environment units: {units}; {worst}{_spanned(agreement)}"
    )
    if agreement.mean_share is not None:
        return judged(_ACTION_ERROR, agreement.mean_share, most, detail, _LOOK_HERE)
    if most is None:
        return reported(_ACTION_ERROR, None, detail)
    detail = (
        f"an action never moves and has no bounds, so its error is a share of nothing; {detail}"
    )
    advice = "Limit the return only, or state finite action bounds"
    return missing(_ACTION_ERROR, most, detail, advice)


def _spanned(agreement: BoxAgreement) -> str:
    if not agreement.is_spanned:
        return ""
    return "; the bounds are infinite: the range is what the source's own actions span here"


def _worst(agreement: BoxAgreement, limits: Limits) -> Iterator[Check]:
    most = limits.max_worst_action_error
    if most is None:
        return
    largest = ", ".join(f"{error:.4g}" for error in agreement.max_error)
    detail = (
        f"largest error per action value in environment units: {largest}; at observation "
        f"{agreement.worst_observation}, value {agreement.worst_value}{_spanned(agreement)}"
    )
    if agreement.max_share is None:
        advice = "State finite action bounds, or judge by episodes (--env ID)"
        yield missing(
            _WORST_ERROR, most, f"an action never moves and has no bounds; {detail}", advice
        )
    else:
        yield judged(_WORST_ERROR, agreement.max_share, most, detail, SOFTER_INT8)


def _worst_decision(decision: WorstDecision) -> Check:
    detail = (
        f"at observation {decision.observation} the source's outputs set "
        f"{decision.at_stake:.4g} between the action it takes and the one int8 takes"
    )
    return reported(_WORST_DECISION, decision.at_stake, detail)


def _misplaced(name: str, key: str, actions: str) -> Check:
    detail = f"{key} limits something that {actions} actions do not have"
    return missing(Question(name, "agreement"), None, detail, f"Remove {key} from [gate]")
