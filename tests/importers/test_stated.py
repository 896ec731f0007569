"""What an ONNX file states beside its graph is read, and said to come from there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from quarl.errors import InputError
from quarl.graph.contract import Action, Observation
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from quarl.sources.spaces import observation_from

JOINTS = "left_hip,right_hip,waist"
INFINITE = float("inf")


def saved(path: Path, metadata: dict[str, str], outputs: tuple[str, ...] = ("actions",)) -> Path:
    """Write a linear network of 4 features and 3 outputs; further outputs are constants."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3), "three": np.array([3.0])}
    nodes = [helper.make_node("Gemm", ["obs", "w", "b"], [outputs[0]], name="head")]
    shapes = [("N", 3)]
    for name in outputs[1:]:
        nodes.append(helper.make_node("Identity", ["three"], [name], name=name))
        shapes.append((1,))  # type: ignore[arg-type]
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["N", 4])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(outputs, shapes, strict=True)
        ],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_joints_in_the_metadata_are_as_many_targets_without_bounds(tmp_path: Path) -> None:
    contract = read_policy(saved(tmp_path / "p.onnx", {"joint_names": JOINTS})).contract
    names = tuple(JOINTS.split(","))
    bounds = (-INFINITE,) * 3, (INFINITE,) * 3
    assert contract.action == Action("box", 3, *bounds, names=names)
    assert "action: the file and the metadata joint_names" in contract.stated


def test_what_the_user_states_wins_and_gets_the_names(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.onnx", {"joint_names": JOINTS})
    given = Action("box", 3, (-1.0,) * 3, (1.0,) * 3)
    options = ImportOptions(action_space=given, action_by="--action box:3:-1..1")
    contract = read_policy(path, options).contract
    assert (contract.action.low, contract.action.names[0]) == ((-1.0,) * 3, "left_hip")
    said = "--action box:3:-1..1 and the metadata joint_names"
    assert any(said in line for line in contract.stated)
    choice = ImportOptions(action_space=Action("discrete", 3))
    assert read_policy(path, choice).contract.action == Action("discrete", 3)


def test_another_number_of_joints_than_outputs_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.onnx", {"joint_names": "a,b"})
    with pytest.raises(InputError, match="3 outputs, the metadata joint_names says a box of 2"):
        read_policy(path)


@pytest.mark.parametrize("text", ["", "a,,b", ","])
def test_metadata_that_names_no_joints_states_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="does not say what its 3 outputs mean"):
        read_policy(saved(tmp_path / "p.onnx", {"joint_names": text, "author": "somebody"}))


def test_continuous_actions_of_ml_agents_are_in_their_range(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.onnx", {}, ("continuous_actions", "version_number"))
    contract = read_policy(path).contract
    assert contract.action == Action("box", 3, (-1.0,) * 3, (1.0,) * 3)
    assert any("ML-Agents' output continuous_actions" in line for line in contract.stated)


def test_the_same_names_without_the_version_state_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.onnx", {}, ("continuous_actions", "other"))
    with pytest.raises(InputError, match="does not say what its 3 outputs mean"):
        read_policy(path)


def two_inputs(path: Path) -> Path:
    """Write a policy of the inputs speed [2] and goal [3], in this order."""
    rng = np.random.default_rng(1)
    weights = {"w": rng.normal(size=(5, 3)), "b": rng.normal(size=3)}
    graph = helper.make_graph(
        [
            helper.make_node("Concat", ["speed", "goal"], ["both"], name="both", axis=1),
            helper.make_node("Gemm", ["both", "w", "b"], ["actions"], name="head"),
        ],
        "policy",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count])
            for name, count in (("speed", 2), ("goal", 3))
        ],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def of_dict(**counts: int) -> Observation:
    """Return what an environment with a Dict of vectors says: its keys are sorted."""
    names = tuple(f"{key}[{n}]" for key in sorted(counts) for n in range(counts[key]))
    return Observation((len(names),), "float32", "vector", names)


def test_inputs_are_in_the_order_of_the_stated_dict(tmp_path: Path) -> None:
    path, choice = two_inputs(tmp_path / "p.onnx"), Action("discrete", 3)
    seen = of_dict(speed=2, goal=3)
    rows = np.random.default_rng(2).normal(size=(20, 5)).astype(np.float32)
    policy = read_policy(path, ImportOptions(action_space=choice, observation=seen))
    assert isinstance(policy, Policy)
    wanted = onnxruntime.InferenceSession(path).run(
        None, {"goal": rows[:, :3], "speed": rows[:, 3:]}
    )[0]
    np.testing.assert_allclose(policy.outputs(rows), wanted, atol=1e-5)
    assert "observation: goal [3], speed [2], one after the other" in policy.contract.stated
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds


@pytest.mark.parametrize("counts", [{"speed": 2, "aim": 3}, {"speed": 3, "goal": 2}])
def test_a_dict_of_other_parts_than_the_files_inputs_is_refused(
    counts: dict[str, int], tmp_path: Path
) -> None:
    options = ImportOptions(action_space=Action("discrete", 3), observation=of_dict(**counts))
    with pytest.raises(InputError, match=r"inputs are speed \[2\], goal \[3\].*input_names"):
        read_policy(two_inputs(tmp_path / "p.onnx"), options)


def test_one_vector_for_several_inputs_is_asked_in_which_order(tmp_path: Path) -> None:
    """An environment of 5 plain features was laid over both inputs in the file's order."""
    path, choice = two_inputs(tmp_path / "p.onnx"), Action("discrete", 3)
    plain = Observation((5,), "float32", "vector")
    with pytest.raises(InputError, match=r"say --observation vector:2\+vector:3, or name an env"):
        read_policy(path, ImportOptions(action_space=choice, observation=plain))
    said = observation_from("vector:2+vector:3", "--observation")
    policy = read_policy(path, ImportOptions(action_space=choice, observation=said))
    assert [part.name for part in policy.contract.observation.parts] == ["speed", "goal"]
    proof = prove_import(path, policy)  # type: ignore[arg-type]
    assert isinstance(proof, ImportProof)
    assert proof.holds
