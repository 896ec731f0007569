"""Widths: what may be asked for, and that every width keeps the one arithmetic on every backend."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.cli.options import widths_from
from quarl.emitters import emit_onnx, emit_tflite
from quarl.errors import InputError, UnsupportedError
from quarl.firmware.lower import lower
from quarl.graph.policy import Add, Concat, Policy
from quarl.graph.quant_policy import (
    QuantDepthwiseConv2D,
    QuantPolicy,
    QuantWeighted,
    stored_bits,
    weight_bits,
)
from quarl.graph.reference import integer_outputs, quantize_observations, real_outputs
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import LADDER, quantize_on_rung
from quarl.quantize.quantizer import quantize, widths_of
from quarl.quantize.weight_rounding import least_error_share
from quarl.quantize.widths import INT8, Widths, largest_weight, widths_named
from quarl.runtimes.host import LitertRuntime, NumpyRuntime, OnnxRuntime
from tests.conftest import need
from tests.support.host_build import filter_outputs
from tests.support.samples import observations
from tests.support.small_policies import cnn, mlp, two_branches

rng = np.random.default_rng


def made(source: Policy, widths: Widths, rung: int = 3) -> QuantPolicy:
    count = 40 if source.contract.observation.is_image else 200
    obs = observations(source, rng(1), count)
    calibration = calibrate(obs, source.contract)
    return quantize(source, calibration, LADDER[rung].settings.with_widths(widths), rung)


def sources() -> dict[str, Policy]:
    return {
        "relu": mlp(rng(0), (6, 20, 20, 4)),
        "tanh": mlp(rng(1), (6, 20, 20, 4), "tanh"),
        "squashed": mlp(rng(2), (6, 20, 20, 2), squash=True),
        "convolution": cnn(rng(3)),
        "added": two_branches(rng(4), Add(), "relu", None),
        "joined": two_branches(rng(4), Concat(), "tanh", "relu"),
    }


@pytest.mark.parametrize("name", ["int2", "int3", "int5-all", "int8"])
def test_a_name_of_weights_comes_back(name: str) -> None:
    assert widths_named(name).name == name


@pytest.mark.parametrize("name", ["int1", "int9", "fp16", "int4-some", "", "4"])
def test_other_weights_are_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(InputError, match=r"--weights .*: must be int2 to int8"):
        widths_named(name)


def test_all_widths_out_of_range_are_named_together() -> None:
    with pytest.raises(InputError, match=r"weights: 9 bits.*activations: 1 bits.*inputs: 2 bits"):
        Widths(weights=9, activations=1, inputs=2)
    with pytest.raises(InputError, match="inputs: 17 bits, allowed are 3 to 16"):
        widths_from("int8", None, 17)


@pytest.mark.parametrize("bits", range(2, 9))
def test_no_weight_is_beyond_its_bits_and_edges_keep_8(bits: int) -> None:
    policy = made(sources()["relu"], Widths(weights=bits))
    ops = [node.op for node in policy.nodes if isinstance(node.op, QuantWeighted)]
    assert [weight_bits(op) for op in ops] == [8, bits, 8]
    assert np.abs(ops[1].weights).max() == largest_weight(bits)
    assert stored_bits(ops[1]) == min(stored for stored in (2, 4, 8) if stored >= bits)
    assert widths_of(policy) == Widths(weights=bits)


@pytest.mark.parametrize("bits", range(2, 9))
def test_hidden_activations_have_no_more_integers_than_their_bits_say(bits: int) -> None:
    for name, source in sources().items():
        policy = made(source, Widths(activations=bits))
        obs = observations(source, rng(5), 30)
        for node in policy.nodes[:-1]:
            assert node.output is not None
            if name == "squashed" and node is policy.nodes[-2]:
                continue  # 12 bits before the table of the action, as on the rung
            assert node.output.qmax - node.output.qmin < 2**bits, (name, node.name)
        assert np.isfinite(real_outputs(policy, integer_outputs(policy, obs))).all()


@pytest.mark.parametrize("bits", range(3, 15))
def test_observations_have_the_bits_that_are_asked_for(bits: int) -> None:
    source = sources()["relu"]
    policy = made(source, Widths(inputs=bits))
    tensor = policy.observation.tensor
    assert tensor.qmax - tensor.qmin == 2**bits - 1
    seen = quantize_observations(policy, 10 * observations(source, rng(5), 50))
    assert (seen.min(), seen.max()) == (tensor.qmin, tensor.qmax)


def test_an_output_of_few_bits_takes_the_place_of_the_wide_head() -> None:
    policy = made(sources()["relu"], Widths(output=5))
    last = policy.nodes[-1].output
    assert last is not None
    assert last.qmax - last.qmin == 2**5 - 1


def test_pixels_keep_their_8_bits() -> None:
    source = sources()["convolution"]
    calibration = calibrate(observations(source, rng(1), 20), source.contract)
    with pytest.raises(
        InputError, match=r"inputs of 4 bits: the policy sees pixels.*omit --inputs"
    ):
        quantize_on_rung(source, calibration, 3, Widths(inputs=4))


def test_depthwise_layers_keep_8_bits() -> None:
    policy = made(sources()["convolution"], widths_named("int2-all"))
    bits = {type(n.op): weight_bits(n.op) for n in policy.nodes if isinstance(n.op, QuantWeighted)}
    assert bits.pop(QuantDepthwiseConv2D) == 8
    assert set(bits.values()) == {2}


def test_weights_that_no_layer_can_have_are_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedError, match=r"--weights int3: .*use int3-all"):
        made(mlp(rng(0), (6, 16, 4)), Widths(weights=3))


def backends_differ(policy: QuantPolicy, obs: Any, folder: Path) -> dict[str, int]:
    """Return how many outputs of each backend differ from the NumPy reference."""
    tensor = policy.observation.tensor
    integers = quantize_observations(policy, obs).astype(np.int8 if tensor.is_int8 else np.int16)
    expected = NumpyRuntime(policy).run(integers)
    answers = {
        "litert": LitertRuntime(emit_tflite(policy)).run(integers),
        "onnxruntime": OnnxRuntime(emit_onnx(policy)).run(integers),
        "c": filter_outputs(lower(policy, "portable"), folder, (), integers),
    }
    return {name: int((answer != expected).sum()) for name, answer in answers.items()}


GRID = [
    Widths(2, 2, 2, 3),
    Widths(2, 8, 3, 5),
    Widths(3, 8, 8, 12),
    Widths(4, 4, 4, 16),
    Widths(5, 5, 6, 7, 6),
    Widths(6, 6, 7, None, 3),
    Widths(7, 7, 12, 10),
    Widths(2, 8, 16, 16),
]


@pytest.mark.every(2)
@pytest.mark.parametrize("widths", GRID, ids=lambda w: w.sentence().replace(" ", "_"))
def test_every_width_is_exact_on_every_backend(widths: Widths, tmp_path: Path) -> None:
    need("gcc")
    for name, source in sources().items():
        is_image = source.contract.observation.is_image
        used = replace(widths, inputs=None) if is_image else widths
        if name in ("added", "joined", "convolution"):  # without inner layers
            used = replace(used, edges=widths.weights)
        policy = made(source, used)
        obs = observations(source, rng(7), 20 if is_image else 200)
        differing = backends_differ(policy, obs, tmp_path / name)
        assert differing == {"litert": 0, "onnxruntime": 0, "c": 0}, name


@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_a_clipped_range_never_rounds_worse_than_the_full_one(seed: int, bits: int) -> None:
    weights = rng(seed).standard_t(3, (5, 30))
    most = largest_weight(bits)

    def error(share: Any) -> Any:
        step = (np.abs(weights).max(axis=1) * share / most)[:, None]
        return np.square(np.clip(np.rint(weights / step), -most, most) * step - weights).sum(axis=1)

    share = least_error_share(weights, most)
    assert ((share > 0) & (share <= 1)).all()
    assert (error(share) <= error(np.ones(5)) * (1 + 1e-9)).all()


def test_fewer_bits_never_decide_better_by_much() -> None:
    source = mlp(rng(5), (8, 64, 64, 64, 4))
    obs = observations(source, rng(6), 400)
    exact = source.outputs(obs)
    errors = []
    for bits in range(8, 1, -1):
        policy = made(source, Widths(weights=bits))
        real = real_outputs(policy, integer_outputs(policy, obs))
        difference = exact - exact.mean(axis=1, keepdims=True) - real
        errors.append(float(np.square(difference).mean()))
    assert errors[-1] > 4 * errors[0]
    assert all(after > 0.8 * before for before, after in pairwise(errors))


def test_int8_is_what_nothing_asked_for_means() -> None:
    assert Widths() == INT8
    assert LADDER[5].settings.with_widths(INT8) == LADDER[5].settings
