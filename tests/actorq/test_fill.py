"""The learner's integers are those of the quantiser: same steps, same rounding, near the floats."""

from __future__ import annotations

import numpy as np
import pytest

from quarl.actorq.block import NetShape, check_digest, label_of
from quarl.actorq.contents import float_reference_of, plain_contract, policy_of
from quarl.actorq.fill import Filler, Ranges
from quarl.actorq.kernel import load_kernel
from quarl.actorq.players import open_player
from quarl.graph.quant_policy import QuantDense
from quarl.quantize.layer_fit import NARROW_BIAS_BOUND
from quarl.quantize.weight_rounding import round_nearest, weight_scales
from tests.conftest import need
from tests.support.nets import random_net, ranges_of

need("ziglang")
SHAPE = NetShape((8, 96, 80, 4), "relu", False)


def test_hidden_weights_are_those_of_nearest_rounding() -> None:
    net = random_net(SHAPE)
    block = Filler(load_kernel(), SHAPE, "int8", centered=False).fill(net.layers, net.ranges, 1, 0)
    policy = policy_of(block, plain_contract(block))
    op, source = policy.nodes[1].op, policy.tensor("layer0")
    assert isinstance(op, QuantDense)
    weights, bias = (values.astype(np.float64) for values in net.layers[1])
    scale = weight_scales(weights, bias, source.scale, NARROW_BIAS_BOUND)
    assert np.array_equal(op.weight_scale, scale)
    assert np.array_equal(op.weights, round_nearest(weights, scale))
    assert np.array_equal(op.bias, np.rint(bias / (np.float64(source.scale) * scale)))


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
@pytest.mark.parametrize("squashed", [True, False])
def test_int8_outputs_stay_near_those_of_the_floats(hidden: str, squashed: bool) -> None:
    shape = NetShape((8, 96, 80, 4), hidden, squashed)  # type: ignore[arg-type]
    net = random_net(shape)
    kernel = load_kernel()
    int8 = Filler(kernel, shape, "int8", centered=False).fill(net.layers, net.ranges, 1, 0)
    fp32 = Filler(kernel, shape, "fp32", centered=False).fill(net.layers, net.ranges, 1, 0)
    exact, made = float_reference_of(fp32)(net.obs), open_player("kernel", int8)(net.obs)
    assert np.abs(made - exact).mean() < 0.05 * np.abs(exact).mean()


def test_a_centred_head_keeps_every_difference_between_actions() -> None:
    net = random_net(SHAPE)
    high = [*net.layers[:-1], (net.layers[-1][0] + np.float32(3), net.layers[-1][1] + 100)]
    ranges = ranges_of(SHAPE, high, net.obs)
    block = Filler(load_kernel(), SHAPE, "fp32", centered=True).fill(high, ranges, 1, 0)
    centred, plain = float_reference_of(block)(net.obs), _outputs(high, net.obs)
    assert np.allclose(np.diff(centred), np.diff(plain), atol=1e-3)
    assert np.allclose(centred.mean(axis=1), 0, atol=1e-3)


def test_a_range_grows_at_once_and_shrinks_slowly() -> None:
    zero, one = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    wide = Ranges.of(np.concatenate([-one, one]), [2.0])
    narrow = Ranges.of(zero, [1.0])
    later = wide.widened(narrow)
    assert (later.high < 1).all()
    assert (later.high > 0.98).all()
    assert later.peaks[0] == pytest.approx(1.98)
    assert (narrow.widened(wide).high == 1).all()


def test_a_feature_that_never_moves_far_from_zero_is_still_held() -> None:
    net = random_net(SHAPE)
    obs = net.obs.copy()
    obs[:, 2] = 1e6
    block = Filler(load_kernel(), SHAPE, "int8", centered=False).fill(
        net.layers, ranges_of(SHAPE, net.layers, obs), 1, 0
    )
    policy_of(block, plain_contract(block))


def test_weights_that_are_not_finite_are_refused() -> None:
    net = random_net(SHAPE)
    net.layers[1][0][3, 3] = np.nan
    with pytest.raises(ValueError, match="layer 1: a weight is NaN or infinite"):
        Filler(load_kernel(), SHAPE, "int8", centered=False).fill(net.layers, net.ranges, 1, 0)


def test_a_block_says_what_it_is_and_holds_its_digest() -> None:
    net = random_net(SHAPE)
    block = Filler(load_kernel(), SHAPE, "int8", centered=False).fill(net.layers, net.ranges, 7, 40)
    label = label_of(block)
    assert (label.precision, label.version, label.learner_step) == ("int8", 7, 40)
    check_digest(block)
    again = Filler(load_kernel(), SHAPE, "int8", centered=False).fill(net.layers, net.ranges, 8, 41)
    assert label_of(again).digest == label.digest  # of the policy, not of when it was sent


def _outputs(layers: object, obs: np.ndarray) -> np.ndarray:
    values = obs
    for index, (weights, bias) in enumerate(layers):  # type: ignore[var-annotated, arg-type]
        values = values @ weights.T + bias
        if index < 2:
            values = np.maximum(values, 0)
    return values


def test_weights_near_the_middle_between_two_integers_round_as_the_quantiser_does() -> None:
    """The kernel multiplies by 1 / step where that is sure, and divides in double where it is
    not.
    """
    rng = np.random.default_rng(0)
    net = random_net(SHAPE)
    weights = net.layers[1][0]
    step = (127.0 / 127 * rng.uniform(0.5, 2.0, len(weights))).astype(np.float32)
    half = rng.integers(-127, 127, weights.shape) + 0.5
    middle = (half * step[:, None].astype(np.float64)).astype(np.float32)
    for nudged in (middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, 0)):
        weights[:] = nudged
        weights[:, 0] = step * 127  # the largest of its row, which decides the step
        filler = Filler(load_kernel(), SHAPE, "int8", centered=False)
        block = filler.fill(net.layers, ranges_of(SHAPE, net.layers, net.obs), 1, 0)
        op = policy_of(block, plain_contract(block)).nodes[1].op
        assert isinstance(op, QuantDense)
        assert np.array_equal(
            op.weights, round_nearest(weights.astype(np.float64), op.weight_scale)
        )
