"""What would help: changes of the quantisation, tried and measured, for the advice on a release
that fails.

In: the source, its integers, held-out observations. Out: `Trial`s. Each change is fitted to the
first half of the observations, which are other episodes than the second half it is measured on;
what is released is measured on that second half too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import QuantizationError
from quarl.evidence.evidence import Trial
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.quantize.calibration import MIN_OBSERVATIONS, Calibration
from quarl.quantize.ladder import LADDER, quantize_on_rung
from quarl.quantize.quantizer import widths_of

RECALIBRATED = "calibration on the bundle's held-out observations"


def try_changes(source: Policy, quantized: QuantPolicy, obs: NDArray[Any]) -> tuple[Trial, ...]:
    """Return what the same rung does with another calibration, then what each higher rung does.

    Nothing is tried on images, whose quantisation takes minutes, and on fewer than twice the
    observations a calibration needs.
    """
    half = len(obs) // 2
    if source.contract.observation.is_image or half < MIN_OBSERVATIONS or quantized.rung is None:
        return ()
    return tuple(
        _trials(source, quantized, Calibration(obs[:half], np.zeros(0, np.int32)), obs[half:])
    )


def _trials(
    source: Policy, quantized: QuantPolicy, fitted: Calibration, obs: NDArray[Any]
) -> Iterator[Trial]:
    assert quantized.rung is not None
    unit = "of the actions changed" if source.contract.action.is_choice else "mean action error"
    before = _changed(source, quantized, obs)
    for rung in LADDER[quantized.rung :]:
        try:
            other = quantize_on_rung(source, fitted, rung.number, widths_of(quantized))
        except (
            QuantizationError
        ):  # a limit of the arithmetic: that rung is not possible, so it is not advice
            continue
        change = (
            RECALIBRATED if rung.number == quantized.rung else f"rung {rung.number} ({rung.name})"
        )
        extra = other.parameter_bytes - quantized.parameter_bytes
        yield Trial(
            change, rung.number, len(obs), unit, before, _changed(source, other, obs), extra
        )


def _changed(source: Policy, quantized: QuantPolicy, obs: NDArray[Any]) -> float:
    action = source.contract.action
    wanted, made = (
        action.decode(source.outputs(obs)),
        action.decode(real_outputs(quantized, integer_outputs(quantized, obs))),
    )
    if action.is_choice:
        return float((wanted != made).mean())
    return float(np.abs(wanted.astype(np.float64) - made).mean())
