"""Integers that nobody has to choose: of a rung that was named, or trained.

In: a policy and its calibration. Out: the integers, and their error on the calibration. Nothing is
played, and nothing is imported that plays.
"""

from __future__ import annotations

from quarl.bundle.rung_result import RungResult
from quarl.errors import InputError
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import decision_error, quantize_on_rung, rung_name
from quarl.quantize.widths import INT8, Widths


class NothingToChooseError(InputError):
    """The source plays no better than random, so that no rung's return says anything."""


def trained_rung(
    policy: Policy, calibration: Calibration, trained: QuantPolicy
) -> tuple[RungResult, ...]:
    """Return the result of integers that were trained; nothing is played."""
    error = decision_error(policy, trained, calibration)
    assert trained.rung is not None
    name = rung_name(trained.rung)
    return (RungResult(trained.rung, name, trained.parameter_bytes, error, taken=True),)


def fixed_rung(
    policy: Policy, calibration: Calibration, number: int, widths: Widths = INT8
) -> tuple[QuantPolicy, tuple[RungResult, ...]]:
    """Return the policy on the rung, and its error on the calibration; nothing is played."""
    candidate = quantize_on_rung(policy, calibration, number, widths)
    error = decision_error(policy, candidate, calibration)
    size = candidate.parameter_bytes
    return candidate, (RungResult(number, rung_name(number), size, error, taken=True),)
