"""Recurrent policies as ONNX files, written operator by operator, and the policies read from them.

ONNX Runtime's own GRU, LSTM and RNN are the independent reference of every test that uses them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.graph.rows import join_rows, start_of
from quarl.importers import ImportOptions, read_policy
from quarl.quantize.calibration import Calibration, calibrate

Kind = Literal["GRU", "LSTM", "RNN"]
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
FEATURES, HIDDEN, ACTIONS = 5, 6, 3


def recurrent_model(
    kind: Kind, seed: int = 0, hidden: int = HIDDEN, layers: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """Return a model of observation and state to action and next state, in torch's layout."""
    rng = np.random.default_rng(seed)
    nodes, constants, states, nexts = [], [], ["h"], ["h_out"]
    states += ["c"] if kind == "LSTM" else []
    nexts += ["c_out"] if kind == "LSTM" else []

    def constant(name: str, values: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    def numbers(name: str, *shape: int, size: float = 0.7) -> str:
        size = 0.3 if kind == "RNN" else size  # larger ones make a plain cell chaotic
        return constant(name, rng.normal(0, size, shape).astype(np.float32))

    zero = constant("zero", np.array([0], np.int64))
    one = constant("one", np.array([1], np.int64))
    nodes.append(helper.make_node("Unsqueeze", ["obs", zero], ["x0"]))
    made: dict[str, list[str]] = {name: [] for name in states}
    for layer in range(layers):
        length, rows = (FEATURES if layer == 0 else hidden), GATES[kind] * hidden
        held = []
        for name in states:
            first, end = (
                constant(f"{name}{layer}{n}", np.array([layer + n], np.int64)) for n in (0, 1)
            )
            nodes.append(helper.make_node("Slice", [name, first, end, zero], [f"{name}_in{layer}"]))
            held.append(f"{name}_in{layer}")
            made[name].append(f"{name}_next{layer}")
        parameters = [
            numbers(f"W{layer}", 1, rows, length),
            numbers(f"R{layer}", 1, rows, hidden),
            numbers(f"B{layer}", 1, 2 * rows, size=0.4),
        ]
        outputs = [f"y{layer}", *(made[name][-1] for name in states)]
        nodes.append(
            helper.make_node(
                kind,
                [f"x{layer}", *parameters, "", *held],
                outputs,
                hidden_size=hidden,
                **attributes,
            )
        )
        nodes.append(helper.make_node("Squeeze", [f"y{layer}", one], [f"x{layer + 1}"]))
    for name, result in zip(states, nexts, strict=True):
        nodes.append(helper.make_node("Concat", made[name], [result], axis=0))
    nodes.append(helper.make_node("Squeeze", [f"x{layers}", zero], ["row"]))
    head = [numbers("head", ACTIONS, hidden, size=0.5), numbers("head_bias", ACTIONS, size=0.1)]
    nodes.append(helper.make_node("Gemm", ["row", *head], ["actions"], transB=1))
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "policy",
        [
            helper.make_tensor_value_info("obs", real, [1, FEATURES]),
            *(helper.make_tensor_value_info(name, real, [layers, 1, hidden]) for name in states),
        ],
        [
            helper.make_tensor_value_info("actions", real, [1, ACTIONS]),
            *(helper.make_tensor_value_info(name, real, [layers, 1, hidden]) for name in nexts),
        ],
        constants,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="test"
    )


def read_model(model: onnx.ModelProto, folder: Path, action: Action | None = None) -> Policy:
    """Return the policy that is read from the model's file."""
    path = folder / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    bounds = (-2.0,) * ACTIONS, (2.0,) * ACTIONS
    policy = read_policy(
        path, ImportOptions(action_space=action or Action("box", ACTIONS, *bounds))
    )
    assert isinstance(policy, Policy)
    return policy


def recurrent_policy(kind: Kind, folder: Path, seed: int = 0, **model: Any) -> Policy:
    """Return a policy of that cell with random weights."""
    return read_model(recurrent_model(kind, seed, **model), folder)


def run_in_turn(model: onnx.ModelProto, obs: NDArray[Any]) -> NDArray[np.float32]:
    """Return ONNX Runtime's actions [n, count] on one episode of observations [n, features]."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    states = {entry.name: np.zeros(entry.shape, np.float32) for entry in session.get_inputs()[1:]}
    rows = []
    for row in obs:
        action, *made = session.run(None, {"obs": row[None], **states})
        states = dict(zip(states, made, strict=True))
        rows.append(action)
    return np.concatenate(rows)


def wandering(count: int, seed: int) -> NDArray[np.float32]:
    """Return observations [count, features] of one episode, each near the one before."""
    rng, now, rows = np.random.default_rng(seed), np.zeros(FEATURES), []
    for _ in range(count):
        now = 0.95 * now + rng.normal(0, 0.3, FEATURES)
        rows.append(np.clip(now, -2.5, 2.5))
    return np.array(rows, np.float32)


def carried_rows(policy: Policy, obs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of one episode: each observation with the float policy's state."""
    state, rows = start_of(policy.contract)[None], []
    for place in range(len(obs)):
        rows.append(join_rows(obs[place : place + 1], state))
        state = policy.step(rows[-1])[1]
    return np.concatenate(rows)


def calibration_of(policy: Policy, episodes: int = 6, steps: int = 100) -> Calibration:
    """Return rows of some episodes."""
    rows = [carried_rows(policy, wandering(steps, seed)) for seed in range(episodes)]
    return calibrate(np.concatenate(rows), policy.contract)
