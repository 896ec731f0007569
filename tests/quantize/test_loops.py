"""Recurrent policies in integers: every backend equal over an episode, and a state that holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl.emitters import emit_onnx, emit_tflite
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import (
    next_integers,
    real_outputs,
    start_integers,
    step_results,
)
from quarl.graph.rows import split_rows
from quarl.quantize.ladder import quantize_on_rung
from quarl.quantize.loops import STATE_BITS
from quarl.runtimes.host import LitertRuntime, NumpyRuntime, OnnxRuntime
from tests.support.recurrent_policies import (
    Kind,
    calibration_of,
    carried_rows,
    recurrent_policy,
    wandering,
)

CELLS: tuple[tuple[Kind, dict[str, int]], ...] = (
    ("LSTM", {}),
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {}),
    ("RNN", {}),
)


def episode_integers(quantized: QuantPolicy, obs: np.ndarray) -> np.ndarray:
    """Return one step's integers for each observation, the state carried in integers."""
    state, rows = start_integers(quantized)[None], []
    for row in obs:
        rows.append(np.concatenate([quantized.observation.quantize(row[None]), state], axis=1))
        state = next_integers(quantized, step_results(quantized, rows[-1]))
    return np.concatenate(rows).astype(quantized.input_dtype)


def quantized_pair(
    kind: Kind, attributes: dict[str, int], folder: Path, rung: int
) -> tuple[Policy, QuantPolicy]:
    policy = recurrent_policy(kind, folder, **attributes)
    return policy, quantize_on_rung(policy, calibration_of(policy), rung)


@pytest.mark.parametrize(("kind", "attributes"), CELLS)
@pytest.mark.parametrize("rung", [1, 4])
def test_every_backend_gives_the_same_integers_over_an_episode(
    kind: Kind, attributes: dict[str, int], rung: int, tmp_path: Path
) -> None:
    _, quantized = quantized_pair(kind, attributes, tmp_path, rung)
    integers = episode_integers(quantized, wandering(300, 77))
    expected = NumpyRuntime(quantized).run(integers)
    for runtime in (LitertRuntime(emit_tflite(quantized)), OnnxRuntime(emit_onnx(quantized))):
        np.testing.assert_array_equal(runtime.run(integers), expected)


@pytest.mark.parametrize(("kind", "attributes"), CELLS)
def test_the_actions_stay_close_over_500_steps(
    kind: Kind, attributes: dict[str, int], tmp_path: Path
) -> None:
    policy, quantized = quantized_pair(kind, attributes, tmp_path, 3)
    obs = wandering(500, 99)
    wanted = policy.outputs(carried_rows(policy, obs))
    integers = episode_integers(quantized, obs)
    made = real_outputs(quantized, step_results(quantized, integers.astype(np.int32)))
    assert np.abs(made - wanted).mean() < 0.03
    assert np.abs(made - wanted)[-100:].mean() < 0.03


def test_a_state_that_adds_up_is_held_with_many_bits_and_read_with_few(tmp_path: Path) -> None:
    _, quantized = quantized_pair("LSTM", {}, tmp_path, 1)
    held = {state.name: state.tensor for state in quantized.state}
    assert held["c"].qmax == 2 ** (STATE_BITS - 1) - 1
    assert held["h"].is_int8
    sums = [node for node in quantized.nodes if node.name.endswith(".sum")]
    assert all(quantized.tensor(node.inputs[0]).is_int8 for node in sums)


def test_a_policy_without_its_state_stands_at_the_start_of_an_episode(tmp_path: Path) -> None:
    policy = recurrent_policy("GRU", tmp_path)
    obs = wandering(4, 3)
    rows = np.concatenate([obs, np.zeros((4, 6), np.float32)], axis=1)
    np.testing.assert_array_equal(policy.outputs(obs), policy.outputs(rows))
    assert split_rows(policy.contract, rows)[0].shape == obs.shape
