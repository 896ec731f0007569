"""The price of quantisation before any episode: how often and by how much the int8 policy acts
otherwise on the same observations.

In: outputs or actions of the source and of the candidate on held-out observations. Out: frozen
figures.
Agreement does not decide about a release, because it says little about the return; it tells where
to look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs

CLEAR_STEPS = 2.0
WORST = 5  # decisions that are shown


@dataclass(frozen=True, slots=True)
class DiscreteAgreement:
    """How often both choose the same of n actions; shares are 0..1."""

    observations: int
    agreement: float
    # each observation weighs what the source's gap between its best two actions says is at stake
    weighted_agreement: float
    source_tie_rate: (
        float  # observations on which two actions of the source share the largest output
    )
    candidate_tie_rate: float
    output_step: float  # one step of the candidate's outputs, in the units of the source's outputs
    median_gap_steps: (
        float | None
        # of the source's gap between its best two actions; None: the candidate's outputs have no
        # step
    )
    clear_steps: (
        float  # a gap larger than this is clear: quantisation alone should not turn it over
    )
    clear_observations: int
    clear_agreement: float | None  # among those; None where there are none
    first_difference: int | None  # the first observation on which the actions differ


@dataclass(frozen=True, slots=True)
class BoxAgreement:
    """How far the actions lie apart, per action value; absolute errors are in environment units,
    shares are of high - low, or of what the source's own actions span where a bound is infinite.
    """

    observations: int
    mean_error: tuple[float, ...]
    max_error: tuple[float, ...]
    mean_share: float | None  # mean over all action values; None where a range is nothing
    max_share: float | None
    worst_observation: int  # where the largest error is, relative to the range where that is finite
    worst_value: int  # which action value that is
    is_spanned: bool = False  # whether the range of a value is what the source's actions span


Agreement = DiscreteAgreement | BoxAgreement


@dataclass(frozen=True, slots=True)
class WorstDecision:
    """An observation on which source and candidate act most differently."""

    observation: int
    source: tuple[float, ...]  # the action, in environment units
    candidate: tuple[float, ...]
    # discrete: the source's value of its own action minus that of the candidate's; box: the largest
    # error of a value
    at_stake: float


def compare_decisions(source: Policy, quantized: QuantPolicy, obs: NDArray[Any]) -> Agreement:
    """Return how far the decisions of both lie apart on observations [n, *shape]."""
    return compare_outputs(source, quantized, *_outputs(source, quantized, obs))


def compare_decisions_and_worst(
    source: Policy, quantized: QuantPolicy, obs: NDArray[Any]
) -> tuple[Agreement, tuple[WorstDecision, ...]]:
    """Return how far the decisions of both lie apart on observations [n, *shape], and where they do
    most, worst first.
    """
    wanted, made = _outputs(source, quantized, obs)
    return compare_outputs(source, quantized, wanted, made), worst_decisions(
        source.contract.action, wanted, made
    )


def worst_decisions(
    action: Action,
    source_outputs: NDArray[Any],
    candidate_outputs: NDArray[Any],
    count: int = WORST,
) -> tuple[WorstDecision, ...]:
    """Return the at most `count` observations on which the actions that outputs [n, values] mean
    differ most; none where they never do.
    """
    wanted, made = action.decode(source_outputs), action.decode(candidate_outputs)
    if action.is_choice:
        lost = action.losses(source_outputs, candidate_outputs)
        differs = (wanted != made).reshape(len(wanted), -1).any(axis=1)
    else:
        errors = np.abs(wanted.astype(np.float64) - made)
        lost, differs = errors.max(axis=1), (errors > 0).any(axis=1)
    order = [int(row) for row in np.argsort(-lost, kind="stable") if differs[row]][:count]
    return tuple(
        WorstDecision(
            row,
            tuple(np.atleast_1d(wanted[row]).tolist()),
            tuple(np.atleast_1d(made[row]).tolist()),
            float(lost[row]),
        )
        for row in order
    )


def _outputs(
    source: Policy, quantized: QuantPolicy, obs: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    return source.outputs(obs), real_outputs(quantized, integer_outputs(quantized, obs))


def compare_outputs(
    source: Policy, quantized: QuantPolicy, wanted: NDArray[Any], made: NDArray[Any]
) -> Agreement:
    """Return how far the decisions of both lie apart, from their outputs [n, count]."""
    action = source.contract.action
    if action.is_choice:
        last = quantized.nodes[-1].output
        wanted, made = action.choices(wanted), action.choices(made)
        return compare_choices(wanted, made, output_step=0.0 if last is None else float(last.scale))
    return compare_actions(action.decode(wanted), action.decode(made), action.low, action.high)


def compare_choices(
    source_outputs: NDArray[Any],
    candidate_outputs: NDArray[Any],
    *,
    output_step: float,
    clear_steps: float = CLEAR_STEPS,
) -> DiscreteAgreement:
    """Return the agreement of the actions that outputs [n, actions] mean (the lowest index where
    several are equal).

    Args:
        output_step: what one integer step of the candidate's outputs is worth in units of the
            source's outputs; 0 for a float candidate.
    Raises:
        InputError: the shapes differ or there is nothing to compare.
    """
    _check_shapes(source_outputs, candidate_outputs)
    wanted, found = source_outputs.argmax(axis=1), candidate_outputs.argmax(axis=1)
    same = wanted == found
    gaps = _top_gaps(source_outputs)
    clear = gaps > clear_steps * output_step
    weight = float(gaps.sum())
    return DiscreteAgreement(
        observations=len(same),
        agreement=float(same.mean()),
        weighted_agreement=float((gaps * same).sum() / weight) if weight > 0 else 1.0,
        source_tie_rate=float((gaps == 0).mean()),
        candidate_tie_rate=float((_top_gaps(candidate_outputs) == 0).mean()),
        output_step=output_step,
        median_gap_steps=float(np.median(gaps)) / output_step if output_step > 0 else None,
        clear_steps=clear_steps,
        clear_observations=int(clear.sum()),
        clear_agreement=float(same[clear].mean()) if clear.any() else None,
        first_difference=None if same.all() else int(same.argmin()),
    )


def compare_actions(
    source_actions: NDArray[Any],
    candidate_actions: NDArray[Any],
    low: tuple[float, ...],
    high: tuple[float, ...],
) -> BoxAgreement:
    """Return how far actions [n, values] in environment units lie apart.

    Raises:
        InputError: the shapes differ or there is nothing to compare.
    """
    _check_shapes(source_actions, candidate_actions)
    errors = np.abs(source_actions.astype(np.float64) - candidate_actions.astype(np.float64))
    bounds = np.array(high) - np.array(low)
    ranges = np.where(
        np.isfinite(bounds), bounds, np.ptp(source_actions.astype(np.float64), axis=0)
    )
    is_bounded = bool((ranges > 0).all())
    relative = errors / ranges if is_bounded else errors
    row, value = np.unravel_index(int(relative.argmax()), relative.shape)
    return BoxAgreement(
        observations=len(errors),
        mean_error=tuple(errors.mean(axis=0).tolist()),
        max_error=tuple(errors.max(axis=0).tolist()),
        mean_share=float(relative.mean()) if is_bounded else None,
        max_share=float(relative.max()) if is_bounded else None,
        worst_observation=int(row),
        worst_value=int(value),
        is_spanned=not bool(np.isfinite(bounds).all()),
    )


def _top_gaps(outputs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the gap between the largest and the second largest output [n]; infinity cannot occur,
    one action alone has gap 0.
    """
    if outputs.shape[1] < 2:
        return np.zeros(len(outputs))
    top = np.partition(outputs.astype(np.float64), -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0], np.float64)


def _check_shapes(source: NDArray[Any], candidate: NDArray[Any]) -> None:
    if source.shape != candidate.shape or source.ndim != 2 or len(source) == 0:
        raise InputError(
            f"agreement needs two equal shapes [observations, values], found {source.shape} "
            f"and {candidate.shape}"
        )
