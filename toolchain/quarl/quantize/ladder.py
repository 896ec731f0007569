"""The ladder: named sets of what the quantiser does, from what everybody does to what keeps the
hardest policies.

`auto` takes the most faithful rung that costs the device no more than is allowed, and proves it by
play (`quarl.exporter.choose_rung`). Gains and costs of each rung: toolchain/docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.contract import Action
from quarl.graph.policy import Activation, Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.quantize.bit_widths import hidden_stages
from quarl.quantize.calibration import Calibration
from quarl.quantize.quantizer import Quantizer
from quarl.quantize.settings import QuantSettings
from quarl.quantize.thinning import thinned
from quarl.quantize.transforms import units_of
from quarl.quantize.widths import INT8, Widths

EQUALIZE_POWERS = (0.0, 0.5)  # full equalisation (1.0) ruins the next layer's weights
WIDE_BITS = 12
MOST_WIDE_PARTS = 3  # last layers whose activations are tried wide while others are not
INNER_BITS = (8, 10)  # of those others
MIDDLE_BITS = (10, 11)  # of all: up to there the sums of most layers need no second part
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
_FITTED = replace(_LOSSLESS, bias_correction=True, data_rounding=True, refit=True)
_WIDE_HEAD = replace(_FITTED, wide_head=True)
_WIDE_INPUT = replace(_WIDE_HEAD, input_bits=WIDE_BITS)
_WIDE_HIDDEN = replace(_WIDE_INPUT, hidden_bits=WIDE_BITS)

LADDER: tuple[Rung, ...] = (
    Rung(
        0,
        "plain",
        "rounding to the nearest, one scale per tensor, as the standard converters do",
        _PLAIN,
    ),
    Rung(
        1,
        "lossless",
        "centred argmax head, one scale per observation feature where it helps",
        _LOSSLESS,
    ),
    Rung(
        2,
        "fitted",
        "biases fitted to the calibration; weights and rounding fitted and hidden units "
        "equalised where it helps",
        _FITTED,
    ),
    Rung(3, "wide head", "the last layer's int32 accumulators decide", _WIDE_HEAD),
    Rung(4, "wide input", f"observations of up to {WIDE_BITS} bits", _WIDE_INPUT),
    Rung(5, "wide activations", f"hidden activations of up to {WIDE_BITS} bits", _WIDE_HIDDEN),
)
# without an environment to play in: as small and fast as int8 gets, and no output step
TRAINED_RUNG = len(LADDER)  # integers that were trained, which no rung of the ladder makes
DEFAULT_RUNG = 3


def rung_numbered(number: int) -> Rung:
    """Return the rung.

    Raises:
        InputError: there is no such rung.
    """
    if not 0 <= number < len(LADDER):
        raise InputError(f"rung {number}: the ladder has rungs 0 to {len(LADDER) - 1}")
    return LADDER[number]


def rung_name(number: int) -> str:
    """Return what a rung is called, that of trained integers included."""
    return "trained" if number == TRAINED_RUNG else rung_numbered(number).name


def quantize_on_rung(
    policy: Policy, calibration: Calibration, number: int, widths: Widths = INT8
) -> QuantPolicy:
    """Return the policy quantised as the rung says, in the variant that decides best on the
    calibration; images have one variant only.

    Args:
        widths: what is asked for; it stands above what the rung says.
    Raises:
        InputError: a width of the observation is asked for, and it is pixels.
        QuantizationError: a limit of the arithmetic would be broken.
    """
    calibration = thinned(policy, calibration)
    return _best(policy, calibration, Quantizer(policy, calibration), number, widths)[0]


def _best(
    policy: Policy, calibration: Calibration, quantizer: Quantizer, number: int, widths: Widths
) -> tuple[QuantPolicy, QuantSettings]:
    """Return the rung in the variant that decides best on the calibration, and that variant."""
    check_inputs(policy, widths)
    settings = rung_numbered(number).settings.with_widths(widths)
    if policy.contract.observation.has_pixels:
        return quantizer.quantize(settings, number), settings
    ways = variants(policy, settings)
    made = {}
    for way in sorted(ways, key=lambda way: (way.feature_scales, way.equalize_power)):
        made[way] = quantizer.quantize(way, number)  # those that fold alike one after the other
    best = min(ways, key=lambda way: decision_error(policy, made[way], calibration))
    return made[best], best


@dataclass(frozen=True, slots=True)
class Making:
    """A way to make integers of a policy; errors as `quantize_on_rung`."""

    rung: int
    name: str
    make: Callable[[], QuantPolicy]


def makings(policy: Policy, calibration: Calibration, widths: Widths = INT8) -> tuple[Making, ...]:
    """Return every rung of the ladder; between the last two those of fewer bits: some of the hidden
    activations wide, or all of them a little; above them all those with finer weights.
    """
    calibration = thinned(policy, calibration)
    quantizer = Quantizer(policy, calibration)
    best = cache(partial(_best, policy, calibration, quantizer, widths=widths))
    ways = [Making(rung.number, rung.name, partial(_first, best, rung.number)) for rung in LADDER]
    if widths.activations is not None:
        return tuple(ways)
    top, stages = len(LADDER) - 1, len(hidden_stages(units_of(policy)))

    def changed(**changes: Any) -> QuantPolicy:
        return quantizer.quantize(replace(best(top)[1], **changes), top)

    most = 1 if policy.contract.observation.has_pixels else MOST_WIDE_PARTS
    others = {f", others of {bits} bits" if bits > 8 else "": bits for bits in INNER_BITS}
    parts = [
        Making(
            top,
            f"last {count} of {stages} activations wide{said}",
            partial(changed, hidden_bits=WIDE_BITS, wide_layers=count, inner_bits=bits),
        )
        for count in range(1, min(most, stages - 1) + 1)
        for said, bits in others.items()
    ]
    middle = [
        Making(top, f"activations of {bits} bits", partial(changed, hidden_bits=bits))
        for bits in MIDDLE_BITS
    ]
    finer = [
        Making(
            top,
            f"weights of {widths.edges + 1} bits in the {which}",
            partial(changed, input_copies=copies, head_copies=2),
        )
        for copies, which in ((1, "last layer"), (2, "first and last"))
        if _gaps_decide(policy)
    ]
    return (*ways[:top], *parts, *middle, *ways[top:], *finer)


def _gaps_decide(policy: Policy) -> bool:
    """Whether small differences of large outputs decide, and reading twice costs little: a choice
    by numbers, without memory.
    """
    contract = policy.contract
    return contract.action.is_choice and not contract.observation.has_pixels and not contract.state


def _first(best: Callable[[int], tuple[QuantPolicy, QuantSettings]], number: int) -> QuantPolicy:
    return best(number)[0]


def check_inputs(policy: Policy, widths: Widths) -> None:
    """Check that the width of observations can be asked of the policy.

    Raises:
        InputError: it sees pixels, whose width is 8.
    """
    if policy.contract.observation.is_image and widths.inputs not in (None, 8):
        raise InputError(
            f"inputs of {widths.inputs} bits: the policy sees pixels, which have 8: omit --inputs"
        )


def variants(policy: Policy, settings: QuantSettings) -> list[QuantSettings]:
    """Return the settings with each step that helps some policies and hurts others taken and left,
    as far as the policy can tell.

    Scales per feature may hurt where a normaliser has evened the features out; fitted weights,
    fitted rounding and equalised units may fit the calibration alone.
    """
    is_normalized = policy.contract.observation.normalizer is not None
    has_relu = any(
        isinstance(node.op, Activation) and node.op.function == "relu" for node in policy.nodes
    )
    scales = (
        (True, False) if settings.feature_scales and is_normalized else (settings.feature_scales,)
    )
    fits = (
        ((True, True), (True, False), (False, False))
        if settings.data_rounding
        else ((False, False),)
    )
    powers = EQUALIZE_POWERS if settings.data_rounding and has_relu else (0.0,)
    return [
        replace(settings, feature_scales=s, data_rounding=r, refit=f, equalize_power=p)
        for s in scales
        for r, f in fits
        for p in powers
    ]


def decision_error(policy: Policy, quantized: QuantPolicy, calibration: Calibration) -> float:
    """Return how much worse the quantised decisions are on the calibration observations, on
    average, to four digits: the last ones differ between processors and numbers of threads.

    Discrete: the source's value of its best action minus that of the action chosen, in the source's
        output units.
    Box: the mean absolute difference of the actions, in environment units.
    """
    obs, wanted = _wanted(policy, calibration)
    made = real_outputs(quantized, integer_outputs(quantized, obs))
    return float(f"{decision_loss(policy.contract.action, wanted, made):.4g}")


@lru_cache(maxsize=2)  # every candidate is held against the same: as found, and thinned
def _wanted(policy: Policy, calibration: Calibration) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return observations of the calibration and the source's outputs for them."""
    obs = calibration.obs
    if policy.contract.observation.has_pixels:
        obs = obs[:: max(1, len(obs) // IMAGES)]
    return obs, policy.outputs(obs)


def decision_loss(action: Action, source: NDArray[Any], made: NDArray[Any]) -> float:
    """Return the mean loss of the decisions that outputs `made` [n, count] mean, against those of
    `source`; units as `decision_error`.
    """
    if action.is_choice:
        return float(action.losses(source, made).mean())
    return float(np.abs(action.decode(source) - action.decode(made)).mean())
