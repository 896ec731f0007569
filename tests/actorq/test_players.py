"""What an actor plays is what the NumPy reference says, bit for bit, in every build of the
kernels.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.actorq.block import Function, NetShape, Precision
from quarl.actorq.contents import float_layers_of, plain_contract, policy_of
from quarl.actorq.fill import Filler
from quarl.actorq.kernel import load_kernel, runnable_variants
from quarl.actorq.numpy_player import NumpyPlayer
from quarl.actorq.players import KernelPlayer, open_player
from tests.conftest import need
from tests.support.nets import Net, random_net

need("ziglang")
NAMES = [variant.name for variant in runnable_variants()]
SHAPES = {
    "relu": NetShape((4, 64, 64, 2), "relu", False),
    "narrow": NetShape((3, 5, 1), "relu", False),
    "tanh": NetShape((17, 100, 70, 6), "tanh", False),
    "squashed": NetShape((24, 130, 66, 6), "relu", True),
    "squashed tanh": NetShape((67, 96, 21), "tanh", True),
    "one layer": NetShape((9, 3), "relu", False),
}


def _block(net: Net, precision: Precision = "int8") -> NDArray[np.uint8]:
    filler = Filler(load_kernel("portable"), net.shape, precision, centered=False)
    return filler.fill(net.layers, net.ranges, 1, 0)


def _hard(net: Net) -> NDArray[np.float32]:
    """Return observations with all that float32 can hold among them."""
    obs = np.tile(net.obs, (4, 1))
    rng = np.random.default_rng(1)
    obs[256:512] *= rng.choice([0.0, 1e3, -1e30, 1e-30], (256, obs.shape[1])).astype(np.float32)
    places = rng.integers(0, obs.shape[1], 256)
    obs[np.arange(512, 768), places] = rng.choice([np.nan, np.inf, -np.inf], 256)
    return obs


def _play(player: KernelPlayer, obs: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    parts = [player(obs[at : at + rows]).copy() for at in range(0, len(obs), rows)]
    return np.concatenate(parts)


@pytest.mark.every(2)
@pytest.mark.parametrize("variant", NAMES)
@pytest.mark.parametrize("name", SHAPES)
def test_the_kernel_equals_the_reference(name: str, variant: str) -> None:
    net = random_net(SHAPES[name])
    block, obs = _block(net), _hard(net)
    player, reference = KernelPlayer(block, variant), open_player("numpy", block)
    wanted = reference(obs)
    for rows in (1, 3, 8):
        assert np.array_equal(_play(player, obs, rows), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("variant", NAMES)
def test_a_million_outputs_of_a_wide_network_equal_the_reference(variant: str) -> None:
    net = random_net(NetShape((24, 256, 256, 256, 6), "relu", False), count=170_000)
    block = _block(net)
    player, reference = KernelPlayer(block, variant), open_player("numpy", block)
    played = _play(player, net.obs, 8)
    assert played.size >= 1_000_000
    for at in range(0, len(net.obs), 8192):
        assert np.array_equal(played[at : at + 8192], reference(net.obs[at : at + 8192]))


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=2, max_size=5),
    hidden=st.sampled_from(["relu", "tanh"]),
    squashed=st.booleans(),
    gain=st.sampled_from([1e-6, 1e-2, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_network_keeps_every_limit_of_the_arithmetic_and_equals_the_reference(
    lengths: list[int], hidden: Function, squashed: bool, gain: float, seed: int
) -> None:
    net = random_net(NetShape(tuple(lengths), hidden, squashed), seed, gain=gain, count=32)
    block = _block(net)
    policy_of(block, plain_contract(block))  # raises where a limit is broken
    player, reference = KernelPlayer(block), open_player("numpy", block)
    assert np.array_equal(player(net.obs), reference(net.obs))


@pytest.mark.parametrize("variant", NAMES)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_float_kernel_is_as_close_as_float32_sums_allow(
    name: str, precision: Precision, variant: str
) -> None:
    net = random_net(SHAPES[name])
    block = _block(net, precision)
    player, reference = KernelPlayer(block, variant), NumpyPlayer()
    reference.load(block)
    assert np.allclose(_play(player, net.obs, 3), reference(net.obs), rtol=1e-5, atol=1e-5)


def test_a_float_block_gives_back_the_weights_that_went_in() -> None:
    net = random_net(SHAPES["tanh"])
    for precision, tolerance in (("fp32", 0.0), ("fp16", 1e-3)):
        layers = float_layers_of(_block(net, precision))  # type: ignore[arg-type]
        for (weights, bias), (wanted, wanted_bias) in zip(layers, net.layers, strict=True):
            assert np.allclose(weights, wanted, rtol=tolerance, atol=tolerance / 10)
            assert np.array_equal(bias, wanted_bias)
