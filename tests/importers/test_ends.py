"""How networks end: several choices, bounds that do not fit, and no bounds at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from quarl.errors import InputError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from quarl.sources.spaces import action_from
from tests.importers.test_onnx import node, numbers, save

CONSTANTS = {
    "w": numbers(5, 8),
    "a": numbers(8, 3),
    "b": numbers(8, 2),
    "two": np.array(2, np.float32),
    "one": np.array(1, np.float32),
    "minus": np.array(-1, np.float32),
    "huge": np.array(1e8, np.float32),
    "split": np.array([3, 2], np.int64),
    "three": np.array([3.0], np.float32),
}
OBS = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


def branches(path: Path) -> Path:
    """Write what ML-Agents exports for two discrete branches with masks."""
    nodes = [
        node("MatMul", ["obs_0", "w"], "h"),
        helper.make_node("Split", ["action_masks", "split"], ["mask_a", "mask_b"], axis=1),
    ]
    for name in "ab":
        nodes += [
            node("MatMul", ["h", name], f"logits_{name}"),
            node("Mul", [f"logits_{name}", f"mask_{name}"], f"kept_{name}"),
            node("Sub", ["one", f"mask_{name}"], f"not_{name}"),
            node("Mul", [f"not_{name}", "huge"], f"cost_{name}"),
            node("Sub", [f"kept_{name}", f"cost_{name}"], f"masked_{name}"),
            node("Softmax", [f"masked_{name}"], f"p_{name}", axis=1),
            node("ArgMax", [f"p_{name}"], f"best_{name}", axis=1, keepdims=1),
            node("Multinomial", [f"p_{name}"], f"drawn_{name}"),
        ]
    ends = ("version_number", "discrete_actions", "deterministic_discrete_actions")
    nodes += [
        node("Identity", ["three"], ends[0]),
        node("Concat", ["drawn_a", "drawn_b"], ends[1], axis=1),
        node("Concat", ["best_a", "best_b"], ends[2], axis=1),
    ]
    used = {name for one in nodes for name in one.input}
    shapes = {"obs_0": 5, "action_masks": 5}
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", n]) for k, n in shapes.items()],
        [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in zip(
                ends, (TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64), strict=True
            )
        ],
        [numpy_helper.from_array(v, k) for k, v in CONSTANTS.items() if k in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("told", [None, "multidiscrete:3,2"])
def test_several_indices_together_are_several_choices(told: str | None, tmp_path: Path) -> None:
    path = branches(tmp_path / "policy.onnx")
    action = None if told is None else action_from(told, "--action")
    policy = read_policy(path, ImportOptions(action_space=action))
    assert isinstance(policy, Policy)
    assert policy.contract.action == Action("multi_discrete", 5, counts=(3, 2))
    session = onnxruntime.InferenceSession(path)
    fed = {"obs_0": OBS, "action_masks": np.ones((len(OBS), 5), np.float32)}
    wanted = session.run(["deterministic_discrete_actions"], fed)[0]
    np.testing.assert_array_equal(policy.act(OBS), wanted)
    assert len(np.unique(wanted)) > 2
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds


@pytest.mark.parametrize("told", ["multidiscrete:2,3", "discrete:5", "box:5"])
def test_choices_that_the_file_does_not_have_are_refused(told: str, tmp_path: Path) -> None:
    path = branches(tmp_path / "policy.onnx")
    options = ImportOptions(action_space=action_from(told, "--action"))
    with pytest.raises(InputError, match="ends in argmax over 3, 2 of them"):
        read_policy(path, options)


ENDS = {
    "tanh": [node("Tanh", ["h"], "y")],
    "clip": [node("Clip", ["h", "minus", "one"], "y")],
    "twice": [node("Tanh", ["h"], "t"), node("Mul", ["t", "two"], "y")],
}


def ending(name: str, folder: Path) -> Path:
    nodes = [node("MatMul", ["x", "w"], "g"), node("MatMul", ["g", "b"], "h"), *ENDS[name]]
    used = {name for one in nodes for name in one.input}
    kept = {key: value for key, value in CONSTANTS.items() if key in used}
    return save(folder / "policy.onnx", nodes, kept, ["n", 5], opset=17)


@pytest.mark.parametrize("name", list(ENDS))
def test_without_bounds_the_end_stays_as_the_file_has_it(name: str, tmp_path: Path) -> None:
    path = ending(name, tmp_path)
    action = action_from("box:2", "--action")
    policy = read_policy(path, ImportOptions(action_space=action))
    assert (policy.contract.action.transform, policy.contract.action.high) == (
        "clip",
        (math.inf, math.inf),
    )
    wanted: Any = onnxruntime.InferenceSession(path).run(None, {"x": OBS})[0]
    assert isinstance(policy, Policy)
    np.testing.assert_allclose(policy.act(OBS), wanted, atol=1e-5)


def test_bounds_that_the_file_reaches_beyond_are_said(tmp_path: Path) -> None:
    path = ending("twice", tmp_path)
    wanted: Any = onnxruntime.InferenceSession(path).run(None, {"x": OBS})[0]
    line = "actions: the network reaches -2 to 2, the stated bounds cut that off"
    for bound, is_said in ((1.0, True), (2.0, False), (3.0, False)):
        action = Action("box", 2, (-bound,) * 2, (bound,) * 2)
        policy = read_policy(path, ImportOptions(action_space=action))
        assert isinstance(policy, Policy)
        np.testing.assert_allclose(policy.act(OBS), np.clip(wanted, -bound, bound), atol=1e-5)
        assert (line in policy.contract.stated) == is_said


@pytest.mark.parametrize("name", ["action_masks", "avail_actions", "legal_moves", "valid_actions"])
def test_masks_of_other_names_are_fixed_too(name: str, tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], "g"),
        node("MatMul", ["g", "a"], "h"),
        node("Sub", [name, "one"], "no"),
        node("Mul", ["no", "huge"], "cost"),
        node("Add", ["h", "cost"], "y"),
    ]
    kept = {key: CONSTANTS[key] for key in ("w", "a", "one", "huge")}
    path = save(tmp_path / "policy.onnx", nodes, kept, ["n", 5], opset=17)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]))
    onnx.save(model, path)
    policy = read_policy(path, ImportOptions(action_space=Action("discrete", 3)))
    assert policy.contract.observation.shape == (5,)
    assert f"input {name}: fixed at 1, every action is allowed" in policy.contract.stated


def test_outputs_of_which_the_file_takes_the_largest_are_no_values(tmp_path: Path) -> None:
    """The Q-values beside their own argmax were taken for real actions where a box was stated."""
    nodes = [
        node("MatMul", ["x", "w"], "g"),
        node("MatMul", ["g", "a"], "q_values"),
        node("ArgMax", ["q_values"], "action", axis=1, keepdims=0),
    ]
    kept = {key: CONSTANTS[key] for key in ("w", "a")}
    path = save(tmp_path / "policy.onnx", nodes, kept, ["n", 5], ("action", "q_values"), opset=17)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    assert read_policy(path, ImportOptions()).contract.action == Action("discrete", 3)
    box = Action("box", 3, (-1.0,) * 3, (1.0,) * 3)
    with pytest.raises(InputError, match="none of its outputs"):
        read_policy(path, ImportOptions(action_space=box))
