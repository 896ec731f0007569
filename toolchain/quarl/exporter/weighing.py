"""What may be taken, and what is known of it before anything is played: cost on the target, and the
decision error on held-out observations.

In: a `Choice`: a policy, its calibration, limits, the board. Out: `Candidate`s, one for each way of
the ladder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from quarl.boards.linux import AnyBoard
from quarl.bundle.limits import Limits
from quarl.bundle.policy_file import quant_policy_bytes
from quarl.bundle.rung_result import RungResult
from quarl.emitters import emit_tflite
from quarl.errors import BudgetError, QuantizationError
from quarl.evidence.agreement import Agreement, DiscreteAgreement, compare_outputs
from quarl.exporter.ceilings import differing_share
from quarl.exporter.cost import Cost, CostModel
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import Making, decision_error, makings
from quarl.quantize.widths import INT8, Widths
from quarl.rollouts.actors import artifact_outputs, float_outputs
from quarl.rollouts.shares import Field

DEFAULT_FACTOR = 1.05  # times the cheapest candidate's cost


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What integers are chosen for.

    Attributes:
        held: held-out observations [n, *shape], on which fidelity is measured and which the gate
            will ask. None: the calibration's, which fitted rounding fits best.
        learn: makes integers that were trained, for where no rung holds; None: nothing is trained.
        board: whose cost counts; None: the model's.
        factor: what a candidate may cost, times the cheapest. None: what the board's deadline and
            memory allow, or DEFAULT_FACTOR where the limits have no deadline.
    """

    policy: Policy
    calibration: Calibration
    field: Field
    limits: Limits
    widths: Widths = INT8
    held: NDArray[Any] | None = None
    learn: Callable[[], QuantPolicy] | None = None
    board: AnyBoard | None = None
    factor: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Integers that may be taken, and what is known of them."""

    policy: QuantPolicy | None  # None: not possible, or it cannot fit
    result: RungResult
    is_affordable: bool = True  # within what the choice allows


def weigh(choice: Choice) -> list[Candidate]:
    """Return every candidate of the ladder with its decision error and its cost; nothing is
    played. Integers that two ways make are one candidate, the first.
    """
    examiner = Examiner(choice)
    model = CostModel(choice.board, examiner.obs)
    made: list[tuple[Candidate, Cost | None]] = []
    known: set[bytes] = set()
    for making in makings(choice.policy, choice.calibration, choice.widths):
        found = _made(choice, examiner, model, making, known)
        made += [] if found is None else [found]
    costs = [cost for _, cost in made if cost is not None]
    if not costs:
        return [candidate for candidate, _ in made]
    cheapest = min(costs, key=lambda cost: cost.instructions)
    return [_priced(candidate, cost, cheapest, choice) for candidate, cost in made]


def _made(
    choice: Choice, examiner: Examiner, model: CostModel, making: Making, known: set[bytes]
) -> tuple[Candidate, Cost | None] | None:
    """Return the candidate and its cost; None where its integers are known already, to which they
    are added.
    """
    empty = RungResult(making.rung, making.name, 0, 0.0)
    try:
        policy = making.make()
        integers = quant_policy_bytes(replace(policy, rung=0))  # whichever rung made them
        if integers in known:
            return None
        cost = model.of(policy)
        known.add(integers)
    except BudgetError as error:
        return Candidate(None, replace(empty, missed=(f"does not fit: {error}",))), None
    except QuantizationError as error:
        return Candidate(None, replace(empty, missed=(f"not possible: {error}",))), None
    return Candidate(policy, examiner.examine(policy, making.name)), cost


def _priced(candidate: Candidate, cost: Cost | None, cheapest: Cost, choice: Choice) -> Candidate:
    """Return the candidate with its cost, and whether it may be taken at once."""
    if cost is None:
        return candidate
    ratio = cost.ratio(cheapest)
    result = replace(
        candidate.result,
        instructions=cost.instructions,
        flash_bytes=cost.flash_bytes,
        cost=ratio,
        counted=cost.kind,
    )
    over = _over_budget(cost.figures, choice.limits)
    if over:
        return Candidate(None, replace(result, missed=(over,)), is_affordable=False)
    has_deadline = cost.kind == "emulated" and "firmware_latency_us" in choice.limits.budgets
    factor = math.inf if choice.factor is None and has_deadline else choice.factor
    affordable = ratio <= (DEFAULT_FACTOR if factor is None else factor) + 1e-9
    return Candidate(candidate.policy, result, is_affordable=affordable)


def _over_budget(figures: Mapping[str, float], limits: Limits) -> str:
    for name, most in limits.budgets.items():
        if name in figures and figures[name] > most:
            return f"{name} {figures[name]:,.0f}, allowed {most:,.0f}"
    return ""


class Examiner:
    """Asks candidates for their decisions on the held-out observations."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.obs = choice.calibration.obs if choice.held is None else choice.held
        self._wanted = float_outputs(choice.policy)(self.obs)

    def examine(self, made: QuantPolicy, name: str) -> RungResult:
        """Return what the decisions of integers are found to be."""
        choice = self._choice
        outputs = (
            artifact_outputs(made, emit_tflite(made))(self.obs)  # the same integers, much quicker
            if made.contract.observation.is_image
            else real_outputs(made, integer_outputs(made, self.obs))
        )
        agreement = compare_outputs(choice.policy, made, self._wanted, outputs)
        assert made.rung is not None, "the ladder's, or trained"
        return RungResult(
            made.rung,
            name,
            made.parameter_bytes,
            decision_error(choice.policy, made, choice.calibration),
            missed=decisions_missed(agreement, choice.limits),
            differing=differing_share(agreement),
        )


def decisions_missed(agreement: Agreement, limits: Limits) -> tuple[str, ...]:
    """Return what the limits ask of single decisions and the agreement does not hold; none or one
    line.
    """
    if isinstance(agreement, DiscreteAgreement):
        least = limits.min_agreement
        return (
            (f"{agreement.agreement:.2%} of the actions agree, asked {least:.2%}",)
            if least and agreement.agreement < least
            else ()
        )
    most, share = limits.max_action_error, agreement.mean_share
    is_missed = most is not None and share is not None and share > most
    return (
        (f"actions are off by {share:.2%} of the range, allowed {most:.2%}",) if is_missed else ()
    )
