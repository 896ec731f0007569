"""The ladder: named sets of what the quantiser does, from what everybody does to what keeps the hardest policies.

`auto` climbs from the bottom and stops at the first rung on which the policy still plays: what a rung costs is paid only where the
measured return asks for it. Gains and costs of each rung: toolchain/docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quarl.calibrate import Calibration
from quarl.errors import InputError
from quarl.integer import integer_outputs, real_outputs
from quarl.policy import Activation, Policy
from quarl.quant_policy import QuantPolicy
from quarl.quantize import QuantSettings, quantize

EQUALIZE_POWERS = (0.0, 0.5)  # full equalisation (1.0) ruins the next layer's weights
WIDE_BITS = 12
IMAGES = 64  # that a decision error is measured on; convolutions in NumPy take their time


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder; it does all that the rungs below it do."""

    number: int
    name: str
    adds: str  # what it does on top of the rung below, for people
    settings: QuantSettings


_PLAIN = QuantSettings()
_LOSSLESS = replace(_PLAIN, center_head=True, feature_scales=True)
_FITTED = replace(_LOSSLESS, bias_correction=True, data_rounding=True)
_WIDE_HEAD = replace(_FITTED, wide_head=True)
_WIDE_INPUT = replace(_WIDE_HEAD, input_bits=WIDE_BITS)
_WIDE_HIDDEN = replace(_WIDE_INPUT, hidden_bits=WIDE_BITS)

LADDER: tuple[Rung, ...] = (
    Rung(0, "plain", "rounding to the nearest, one scale per tensor, as the standard converters do", _PLAIN),
    Rung(1, "lossless", "centred argmax head, one scale per observation feature", _LOSSLESS),
    Rung(2, "fitted", "biases fitted to the calibration; rounding fitted and hidden units equalised where it helps", _FITTED),
    Rung(3, "wide head", "the last layer's int32 accumulators decide", _WIDE_HEAD),
    Rung(4, "wide input", f"observations of up to {WIDE_BITS} bits", _WIDE_INPUT),
    Rung(5, "wide activations", f"hidden activations of up to {WIDE_BITS} bits", _WIDE_HIDDEN),
)
DEFAULT_RUNG = 3  # without an environment to play in: as small and fast as int8 gets, and no output step


def rung_numbered(number: int) -> Rung:
    """Return the rung.

    Raises:
        InputError: there is no such rung.
    """
    if not 0 <= number < len(LADDER):
        raise InputError(f"rung {number}: the ladder has rungs 0 to {len(LADDER) - 1}")
    return LADDER[number]


def quantize_on_rung(policy: Policy, calibration: Calibration, number: int) -> QuantPolicy:
    """Return the policy quantised as the rung says; from the second on with the rounding (fitted to the data or to the
    nearest) and the equalisation that decide best on the calibration.

    Raises:
        QuantizationError: a limit of the arithmetic would be broken.
    """
    settings = rung_numbered(number).settings
    if not settings.data_rounding or policy.contract.observation.is_image:
        return quantize(policy, calibration, settings, number)
    has_relu = any(isinstance(node.op, Activation) and node.op.function == "relu" for node in policy.nodes)
    candidates = [
        quantize(policy, calibration, replace(settings, data_rounding=is_fitted, equalize_power=power), number)
        for is_fitted in (True, False)
        for power in (EQUALIZE_POWERS if has_relu else EQUALIZE_POWERS[:1])
    ]
    return min(candidates, key=lambda candidate: decision_error(policy, candidate, calibration))


def decision_error(policy: Policy, quantized: QuantPolicy, calibration: Calibration) -> float:
    """Return how much worse the quantised decisions are on the calibration observations, on average.

    Discrete: the source's value of its best action minus that of the action chosen, in the source's output units.
    Box: the mean absolute difference of the actions, in environment units.
    """
    obs = calibration.obs
    if policy.contract.observation.is_image:
        obs = obs[:: max(1, len(obs) // IMAGES)]
    source = policy.outputs(obs)
    made = real_outputs(quantized, integer_outputs(quantized, obs))
    action = policy.contract.action
    if action.kind == "discrete":
        chosen = made.argmax(axis=1)
        return float((source.max(axis=1) - source[np.arange(len(source)), chosen]).mean())
    return float(np.abs(action.decode(source) - action.decode(made)).mean())
