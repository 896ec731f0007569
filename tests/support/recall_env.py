"""A task that only a policy with a memory can do, and two policies that do it.

The first observation of an episode shows a cue, +1 or -1; all later ones show noise. Each step that
repeats the cue is worth 1.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import onnx
from gymnasium.envs.registration import register
from numpy.typing import NDArray
from onnx import helper, numpy_helper

STEPS = 100
FEATURES, HIDDEN = 3, 4  # cue, whether it is shown, noise


class Recall(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Repeat what was seen first."""

    observation_space = gymnasium.spaces.Box(-2.0, 2.0, (FEATURES,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._cue, self._step = int(self.np_random.integers(2)), 0
        return self._observe(), {}

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self._observe(), float(action == self._cue), self._step == STEPS, False, {}

    def _observe(self) -> NDArray[np.float32]:
        is_shown = self._step == 0
        cue = 2.0 * self._cue - 1.0 if is_shown else 0.0
        noise = self.np_random.uniform(-1, 1)
        return np.array([cue, float(is_shown), noise], np.float32)


register("Recall-v0", entry_point="tests.support.recall_env:Recall")


def recall_policy(kind: str) -> bytes:
    """Return the ONNX file of a GRU or an LSTM that writes the cue once and holds it."""
    gates = 3 if kind == "GRU" else 4
    weights = np.zeros((gates, HIDDEN, FEATURES), np.float32)
    bias = np.zeros((2, gates, HIDDEN), np.float32)
    hold = 0 if kind == "GRU" else 2  # z of a GRU, f of an LSTM: open but where the cue is shown
    weights[hold, :, 1], bias[0, hold] = -20.0, 10.0
    weights[-1, :, 0] = np.linspace(0.8, 2.0, HIDDEN) * np.array([1, -1, 1, -1])  # the new value
    weights[-1, :, 2] = 0.3
    if kind == "LSTM":
        weights[0, :, 1], bias[0, 0] = 20.0, -10.0
        bias[0, 1] = 2.0
    numbers = {
        "W": weights.reshape(1, gates * HIDDEN, FEATURES),
        "R": np.zeros((1, gates * HIDDEN, HIDDEN), np.float32),
        "B": bias.reshape(1, -1),
        "head": np.array([[-1, 1, -1, 1], [1, -1, 1, -1]], np.float32) * 1.5,
        "head_bias": np.zeros(2, np.float32),
        "first": np.array([0], np.int64),
        "both": np.array([0, 1], np.int64),
    }
    states = ["h"] if kind == "GRU" else ["h", "c"]
    nodes = [
        helper.make_node("Unsqueeze", ["obs", "first"], ["x"]),
        helper.make_node(
            kind,
            ["x", "W", "R", "B", "", *states],
            ["y", *(f"{name}_out" for name in states)],
            hidden_size=HIDDEN,
        ),
        helper.make_node("Squeeze", ["y", "both"], ["row"]),
        helper.make_node("Gemm", ["row", "head", "head_bias"], ["logits"], transB=1),
    ]
    real = onnx.TensorProto.FLOAT
    shape = [1, 1, HIDDEN]
    graph = helper.make_graph(
        nodes,
        "recall",
        [
            helper.make_tensor_value_info("obs", real, [1, FEATURES]),
            *(helper.make_tensor_value_info(name, real, shape) for name in states),
        ],
        [
            helper.make_tensor_value_info("logits", real, [1, 2]),
            *(helper.make_tensor_value_info(f"{name}_out", real, shape) for name in states),
        ],
        [numpy_helper.from_array(values, name) for name, values in numbers.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
