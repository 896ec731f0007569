"""A picture among several inputs of an ONNX file: where it lies in the vector, and what its bytes
mean.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, helper, numpy_helper

from quarl.errors import InputError
from quarl.graph.contract import Action, Observation
from quarl.graph.picture import NamedPart, Picture
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from quarl.sources.spaces import observation_from

CHOICE = Action("discrete", 3)
VIEW, STATE = (3, 6, 5), 4
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return RNG.normal(0, 0.3, shape).astype(np.float32)


CONSTANTS = {
    "w": numbers(2, 3, 3, 3),
    "gemm": numbers(2 * 4 * 3 + STATE, 3),
    "bias": numbers(3),
    "c255": np.array(255, np.float32),
}


def save(path: Path, nodes: list[Any], inputs: dict[str, tuple[int, ...]]) -> Path:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "policy",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(v, k) for k, v in CONSTANTS.items() if k in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def beside(path: Path, *, divides: bool = False) -> Path:
    """Write a policy with the inputs state and view, which is convolved."""
    pixels = [helper.make_node("Div", ["view", "c255"], ["pixels"])] if divides else []
    nodes = [
        *pixels,
        helper.make_node("Conv", ["pixels" if divides else "view", "w"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Flatten", ["relu"], ["flat"]),
        helper.make_node("Concat", ["flat", "state"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "gemm", "bias"], ["y"]),
    ]
    return save(path, nodes, {"state": (STATE,), "view": VIEW})


def views(count: int) -> tuple[Any, Any]:
    """Return pictures [n, height, width, channels] of bytes, and vectors."""
    view = RNG.integers(0, 256, (count, 6, 5, 3)).astype(np.float32)
    return view, numbers(count, STATE)


def given(path: Path, view: Any, state: Any) -> Any:
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"view": view.transpose(0, 3, 1, 2), "state": state})[0]


def read(path: Path, observation: Observation | None = None) -> Policy:
    policy = read_policy(path, ImportOptions(action_space=CHOICE, observation=observation))
    assert isinstance(policy, Policy)
    return policy


def test_the_inputs_follow_the_keys_of_the_stated_dict(tmp_path: Path) -> None:
    path = beside(tmp_path / "policy.onnx", divides=True)
    view, state = views(20)
    rows = [state, view.reshape(20, -1)]
    wanted = given(path, view, state)
    np.testing.assert_allclose(read(path).outputs(np.concatenate(rows, 1)), wanted, atol=1e-5)
    parts = NamedPart("view", 90), NamedPart("state", STATE)
    pictures = (Picture(0, 6, 5, 3),)
    stated = Observation((94,), "float32", "vector", pictures=pictures, parts=parts)
    policy = read(path, stated)
    np.testing.assert_allclose(policy.outputs(np.concatenate(rows[::-1], 1)), wanted, atol=1e-5)
    assert policy.contract.observation == stated
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds


@pytest.mark.parametrize("text", ["image:6x5x3+vector:4", "vector:3+image:6x5x3+vector:1"])
def test_a_stated_order_that_is_not_the_files_is_refused(text: str, tmp_path: Path) -> None:
    path = beside(tmp_path / "policy.onnx", divides=True)
    with pytest.raises(InputError, match=r"in the file's order, say --observation") as caught:
        read(path, observation_from(text, "--observation"))
    advice = re.search(r"--observation (\S+),", str(caught.value))
    assert advice is not None
    assert read(path, observation_from(advice[1], "--observation")).contract.observation.parts == (
        NamedPart("state", STATE),
        NamedPart("view", 90),
    )


def test_what_becomes_of_the_bytes_of_a_picture_is_asked_where_nobody_says_it(
    tmp_path: Path,
) -> None:
    path = beside(tmp_path / "policy.onnx")
    with pytest.raises(InputError, match="does not say how pixels become them") as caught:
        read(path)
    advice = re.search(r"--observation (\S+),", str(caught.value))
    assert advice is not None
    policy = read(path, observation_from(advice[1], "--observation"))
    view, state = views(20)
    wanted = given(path, view / np.float32(255), state)
    rows = np.concatenate([state, view.reshape(20, -1)], axis=1)
    np.testing.assert_allclose(policy.outputs(rows), wanted, atol=1e-5)
    assert "pixels: divided by 255 before the network, which takes floats" in policy.contract.stated


def test_a_picture_that_two_branches_divide_is_given_as_bytes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Div", ["view", "c255"], ["left"]),
        helper.make_node("Div", ["view", "c255"], ["right"]),
        helper.make_node("Conv", ["left", "w"], ["one"]),
        helper.make_node("Conv", ["right", "w"], ["other"]),
        helper.make_node("Relu", ["one"], ["seen"]),
        helper.make_node("Add", ["seen", "other"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2"], ["y"]),
    ]
    CONSTANTS["w2"] = numbers(2, 3)
    path = save(tmp_path / "policy.onnx", nodes, {"view": VIEW})
    view = views(20)[0].astype(np.uint8).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(path)
    wanted = session.run(None, {"view": view.astype(np.float32)})[0]
    np.testing.assert_allclose(read(path).outputs(view), wanted, atol=1e-5)


def test_a_picture_that_is_only_flattened_has_its_shortest_side_as_channels(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Div", ["view", "c255"], ["pixels"]),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "all"], ["y"]),
    ]
    CONSTANTS["all"] = numbers(90, 3)
    for shape, layout in (((6, 5, 3), "hwc"), ((3, 6, 5), "chw")):
        path = save(tmp_path / f"{layout}.onnx", nodes, {"view": shape})
        policy = read(path)
        assert (policy.contract.observation.shape, policy.contract.observation.layout) == (
            shape,
            layout,
        )
        view = RNG.integers(0, 256, (20, *shape)).astype(np.uint8)
        wanted = onnxruntime.InferenceSession(path).run(None, {"view": view.astype(np.float32)})[0]
        np.testing.assert_allclose(policy.outputs(view), wanted, atol=1e-4)


def test_parts_are_stated_one_after_the_other() -> None:
    found = observation_from("vector:2+image:6x5x3+vector:1", "--observation")
    assert (found.shape, found.pictures) == ((93,), (Picture(2, 6, 5, 3),))
    assert [part.count for part in found.parts] == [2, 90, 1]
    assert observation_from("image:3x6x5+vector:1", "--observation").pictures[0].shape == (6, 5, 3)
    assert observation_from("vector:2+vector:3", "--observation").shape == (5,)
    for text in ("vector:2+", "+image:6x5x3", "vector:2+box:3"):
        with pytest.raises(InputError, match="states no observation"):
            observation_from(text, "--observation")
