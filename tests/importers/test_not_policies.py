"""Networks that look like a policy of plain observations and are none: recurrent ones in single
steps, critics, value networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quarl.errors import InputError, QuarlError
from quarl.graph.contract import Action
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from quarl.resources import models_dir
from tests.conftest import need
from tests.importers.test_onnx import node, numbers
from tests.support.recurrent_policies import recurrent_model

CONSTANTS = {
    "w": numbers(5, 6),
    "u": numbers(6, 6),
    "a": numbers(6, 3),
    "one": numbers(6, 1),
    "g": numbers(3, 6),
}
CHOICE = ImportOptions(action_space=Action("discrete", 3))
ELMAN = [
    node("MatMul", ["obs", "w"], "seen"),
    node("MatMul", ["memory", "u"], "kept"),
    node("Add", ["seen", "kept"], "sum"),
    node("Tanh", ["sum"], "next"),
    node("MatMul", ["next", "a"], "y"),
]


def save(
    path: Path, nodes: list[Any], inputs: dict[str, int], outputs: dict[str, int | None]
) -> Path:
    used = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", n]) for k, n in inputs.items()],
        [
            helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", n] if n else None)
            for k, n in outputs.items()
        ],
        [numpy_helper.from_array(v, k) for k, v in CONSTANTS.items() if k in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", ["h_out", "next_state", "45"])
def test_a_state_that_comes_back_is_no_part_of_the_observation(name: str, tmp_path: Path) -> None:
    """A GRUCell of torch, which ONNX writes in single steps, was read as 5 + 6 observations."""
    nodes = [*ELMAN, node("Identity", ["next"], name)]
    inputs = {"obs": 5, "memory": 6}
    path = save(tmp_path / "policy.onnx", nodes, inputs, {"y": 3, name: 6})
    with pytest.raises(QuarlError, match=rf"memory \[6\] comes back as {name}: it is") as caught:
        read_policy(path, CHOICE)
    assert "export it with torch.nn.GRU or torch.nn.LSTM" in str(caught.value)
    assert "export the policy without the output" in str(caught.value)
    if name != "45":
        path = save(tmp_path / "policy.onnx", nodes, inputs, {"y": 3, name: None})
        with pytest.raises(QuarlError, match=f"memory .* comes back as {name}"):
            read_policy(path, CHOICE)
    alone = save(tmp_path / "policy.onnx", ELMAN, inputs, {"y": 3})
    assert read_policy(alone, CHOICE).contract.observation.shape == (11,)
    alone.write_bytes(recurrent_model("GRU").SerializeToString())  # as torch.nn.GRU is exported
    assert read_policy(alone, CHOICE).contract.state


def test_a_spread_as_long_as_a_goal_is_no_state(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["obs", "w"], "seen"),
        node("MatMul", ["goal", "g"], "aim"),
        node("Add", ["seen", "aim"], "sum"),
        node("MatMul", ["sum", "a"], "mean"),
        node("Neg", ["mean"], "log_std"),
    ]
    path = save(tmp_path / "policy.onnx", nodes, {"obs": 5, "goal": 3}, {"mean": 3, "log_std": 3})
    assert read_policy(path, CHOICE).contract.observation.shape == (8,)


def test_a_critic_is_not_taken_for_the_policy(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["obs", "w"], "seen"),
        node("MatMul", ["action", "g"], "done"),
        node("Add", ["seen", "done"], "sum"),
        node("MatMul", ["sum", "one"], "q"),
    ]
    box = ImportOptions(action_space=Action("box", 1, (-1.0,), (1.0,)))
    path = save(tmp_path / "critic.onnx", nodes, {"obs": 5, "action": 3}, {"q": 1})
    with pytest.raises(InputError, match="as a critic does: export the actor") as caught:
        read_policy(path, box)
    assert "export it with another name, such as last_action" in str(caught.value)
    nodes[1] = node("MatMul", ["last_action", "g"], "done")
    path = save(tmp_path / "policy.onnx", nodes, {"obs": 5, "last_action": 3}, {"q": 1})
    assert read_policy(path, box).contract.observation.shape == (8,)


def test_an_only_output_that_is_named_as_a_value_is_asked_about(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["obs", "w"], "seen"), node("MatMul", ["seen", "one"], "value")]
    path = save(tmp_path / "policy.onnx", nodes, {"obs": 5}, {"value": 1})
    action = Action("box", 1, (-1.0,), (1.0,))
    with pytest.raises(InputError, match=r"is a value by its name.*say --output value"):
        read_policy(path, ImportOptions(action_space=action))
    policy = read_policy(path, ImportOptions(action_space=action, output="value"))
    obs = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    wanted = obs @ CONSTANTS["w"] @ CONSTANTS["one"]
    np.testing.assert_allclose(policy.outputs(obs), wanted, atol=1e-5)  # type: ignore[union-attr]


def test_values_of_several_actions_are_a_policy(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["obs", "w"], "seen"), node("MatMul", ["seen", "a"], "values")]
    path = save(tmp_path / "policy.onnx", nodes, {"obs": 5}, {"values": 3})
    assert read_policy(path, CHOICE).contract.action.count == 3
    shipped = models_dir() / "nav_dqn_small" / "policy.keras"
    options = ImportOptions(no_normalizer=True, action_space=Action("discrete", 25))
    assert read_policy(shipped, options).contract.action.count == 25


@pytest.mark.parametrize("kind", ["script", pytest.param("export", marks=pytest.mark.slow)])
def test_a_program_whose_state_comes_back_is_refused(kind: str, tmp_path: Path) -> None:
    need("torch")
    import torch
    from torch import nn

    class Elman(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.kept = nn.Linear(5, 6), nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, obs: Any, memory: Any) -> Any:
            after = torch.tanh(self.seen(obs) + self.kept(memory))
            return self.head(after), after

    example = torch.zeros(1, 5), torch.zeros(1, 6)
    if kind == "script":
        path = tmp_path / "policy.pt"
        torch.jit.save(torch.jit.trace(Elman(), example), path)
    else:
        path = tmp_path / "policy.pt2"
        torch.export.save(torch.export.export(Elman(), example), path)
    with pytest.raises(QuarlError, match=r"memory \[6\] comes back as"):
        read_policy(path, CHOICE)


@pytest.mark.slow
def test_a_goal_as_long_as_the_action_is_no_state_of_an_exported_graph(tmp_path: Path) -> None:
    need("torch")
    import torch
    from torch import nn

    class Goal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))

        def forward(self, obs: Any, goal: Any) -> Any:
            return self.net(torch.cat([obs, goal], dim=1))

    path = tmp_path / "policy.pt2"
    example = torch.zeros(1, 5), torch.zeros(1, 3)  # the batch of one is in the file
    torch.export.save(torch.export.export(Goal(), example), path)
    policy = read_policy(path, CHOICE)
    proof = prove_import(path, policy, trust=True)  # type: ignore[arg-type]
    assert isinstance(proof, ImportProof), proof
    assert proof.holds
