"""CleanRL checkpoints: equal to the scripts' networks in torch, and refused where a state dict
leaves a doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, prove_import, sample_observations
from tests.conftest import need
from tests.support.bombs import bomb_pickle, torch_file

need("torch")
# ruff: noqa: E402 (the imports below are what is needed)

import torch
from torch import nn

torch.set_num_threads(1)
LOW, HIGH = (-1.0, 0.0), (2.0, 0.25)
BOX = Action("box", 2, LOW, HIGH)


def mlp(
    inputs: int, outputs: int, activation: type[nn.Module], widths: tuple[int, ...] = (64, 64)
) -> nn.Sequential:
    sizes = (inputs, *widths)
    hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


def nature(frames: int = 4, features: int = 64 * 7 * 7) -> list[nn.Module]:
    convolutions = [
        nn.Conv2d(frames, 32, 8, 4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1),
        nn.ReLU(),
    ]
    return [*convolutions, nn.Flatten(), nn.Linear(features, 512), nn.ReLU()]


class Network(nn.Module):
    """A module made of named parts, as the scripts' agents are, and what it gives for an
    observation.
    """

    def __init__(
        self, output: Callable[[Any, Any], Any], **parts: nn.Module | torch.Tensor
    ) -> None:
        super().__init__()
        self.output = output
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for values in self.parameters():
                values.copy_(
                    torch.randn(values.shape, generator=generator)
                    * (1.6 / max(1, values[0].numel()) ** 0.5 if values.ndim > 1 else 0.3)
                )


def span() -> dict[str, torch.Tensor]:
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    return {"action_scale": (high - low) / 2.0, "action_bias": (high + low) / 2.0}


def fully_connected(head: str, **more: nn.Module) -> Network:
    def output(agent: Any, x: Any) -> Any:
        x = torch.relu(agent.fc2(torch.relu(agent.fc1(x))))
        return torch.tanh(getattr(agent, head)(x)) * agent.action_scale + agent.action_bias

    return Network(
        output,
        fc1=nn.Linear(5, 64),
        fc2=nn.Linear(64, 64),
        **{head: nn.Linear(64, 2)},
        **more,
        **span(),
    )


def dqn() -> Network:
    return Network(lambda agent, x: agent.network(x), network=mlp(5, 4, nn.ReLU, (120, 84)))


def ppo() -> Network:
    return Network(
        lambda agent, x: agent.actor(x), actor=mlp(5, 4, nn.Tanh), critic=mlp(5, 1, nn.Tanh)
    )


def ppo_continuous() -> Network:
    return Network(
        lambda agent, x: torch.clip(agent.actor_mean(x), torch.tensor(LOW), torch.tensor(HIGH)),
        actor_mean=mlp(5, 2, nn.Tanh),
        critic=mlp(5, 1, nn.Tanh),
        actor_logstd=torch.zeros(1, 2),
    )


def dqn_atari() -> Network:
    return Network(
        lambda agent, x: agent.network(x / 255.0),
        network=nn.Sequential(*nature(), nn.Linear(512, 4)),
    )


def ppo_atari() -> Network:
    network = nn.Sequential(*nature())
    return Network(
        lambda agent, x: agent.actor(agent.network(x / 255.0)),
        network=network,
        actor=nn.Linear(512, 4),
        critic=nn.Linear(512, 1),
    )


def sac() -> Network:
    return fully_connected("fc_mean", fc_logstd=nn.Linear(64, 2))


def td3() -> Network:
    return fully_connected("fc_mu")


def critic() -> nn.Module:
    return Network(
        lambda agent, x: x, fc1=nn.Linear(7, 64), fc2=nn.Linear(64, 64), fc3=nn.Linear(64, 1)
    )


def saved(value: object, folder: Path, name: str = "agent.cleanrl_model") -> Path:
    torch.save(value, folder / name)
    return folder / name


RAW = ImportOptions(action_space=BOX, no_normalizer=True)
CASES: dict[str, tuple[Callable[[], Network], str, int, ImportOptions]] = {
    "dqn": (dqn, "DQN", 5, ImportOptions()),
    "ppo": (ppo, "PPO", 5, ImportOptions()),
    "ppo_continuous": (ppo_continuous, "PPO", 5, RAW),
    "dqn_atari": (dqn_atari, "DQN", 10, ImportOptions()),
    "ppo_atari": (ppo_atari, "PPO", 10, ImportOptions()),
    "sac": (sac, "SAC", 6, ImportOptions()),
    "td3": (td3, "TD3/DDPG", 6, ImportOptions()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_import_equals_the_scripts_network(case: str, tmp_path: Path) -> None:
    make, algorithm, nodes, options = CASES[case]
    network = make()
    path = saved(network.state_dict(), tmp_path)
    policy = read_policy(path, options)
    assert (policy.algorithm, policy.framework, len(policy.nodes)) == (algorithm, "cleanrl", nodes)
    obs = sample_observations(policy.contract.observation, 64, np.random.default_rng(1))
    with torch.no_grad():
        theirs = network.output(network, torch.from_numpy(obs).float()).numpy()
    if policy.contract.action.kind == "discrete":
        assert np.abs(policy.outputs(obs) - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max())
        assert np.array_equal(policy.act(obs), theirs.argmax(axis=1))
    else:
        assert np.abs(policy.act(obs) - theirs).max() <= 1e-5
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds, proof
    assert proof.largest_output > 0.1


def test_squashed_actors_carry_their_bounds(tmp_path: Path) -> None:
    action = read_policy(saved(sac().state_dict(), tmp_path)).contract.action
    assert (action.low, action.high, action.transform) == (LOW, HIGH, "unscale")


def test_without_stored_bounds_the_environment_gives_them(tmp_path: Path) -> None:
    state = {
        name: values
        for name, values in td3().state_dict().items()
        if not name.startswith("action_")
    }
    path = saved(state, tmp_path)
    with pytest.raises(
        InputError, match=r"bounds of its 2 action values are not in the file: add --env ID"
    ):
        read_policy(path)
    assert read_policy(path, ImportOptions(action_space=BOX)).contract.action == Action(
        "box", 2, LOW, HIGH, "unscale"
    )


def test_the_actor_is_found_beside_its_critics(tmp_path: Path) -> None:
    expected = read_policy(saved(td3().state_dict(), tmp_path))
    parts = (td3().state_dict(), critic().state_dict(), critic().state_dict())
    for value in (
        parts,
        list(parts),
        dict(zip(("actor", "qf1", "qf2"), parts, strict=True)),
        {"model_weights": parts[0], "args": {"seed": 1}},
    ):
        policy = read_policy(saved(value, tmp_path, "parts.pt"))
        assert np.array_equal(policy.outputs(np.ones((1, 5))), expected.outputs(np.ones((1, 5))))
        proof = prove_import(tmp_path / "parts.pt", policy)
        assert isinstance(proof, ImportProof)
        assert proof.holds


@pytest.mark.parametrize(
    ("make", "function", "words"),
    [
        (ppo, "tanh", "actor may be that of CleanRL's PPO, or of any other code"),
        (dqn, "relu", "network may be that of CleanRL's DQN, or of any other code"),
    ],
)
def test_names_that_other_code_has_too_are_asked_about(
    make: Any, function: str, words: str, tmp_path: Path
) -> None:
    """An actor and a critic of anybody's own were taken for CleanRL's: tanh, one of 4."""
    path = saved(make().state_dict(), tmp_path, "model.pt")
    with pytest.raises(InputError, match=words) as caught:
        read_policy(path)
    assert f"--activation {function} --action discrete:4, or call the file" in str(caught.value)
    options = ImportOptions(action_space=Action("discrete", 4), activation=function)
    policy = read_policy(path, options)
    obs = sample_observations(policy.contract.observation, 32, np.random.default_rng(2))
    wanted = make().output(make(), torch.from_numpy(obs)).detach().numpy()
    np.testing.assert_allclose(policy.outputs(obs), wanted, atol=1e-4)  # type: ignore[union-attr]
    path.rename(tmp_path / "model.cleanrl_model")
    assert read_policy(tmp_path / "model.cleanrl_model").contract.action == Action("discrete", 4)


def test_two_policies_in_one_file_are_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 2 policies, one is needed"):
        read_policy(saved({"actor": td3().state_dict(), "target": td3().state_dict()}, tmp_path))


def test_continuous_ppo_needs_a_word_on_its_normaliser(tmp_path: Path) -> None:
    network = ppo_continuous()
    path = saved(network.state_dict(), tmp_path)
    with pytest.raises(
        InputError, match=r"normalises observations and does not save how: add --obs-norm FILE.npz"
    ):
        read_policy(path, ImportOptions(action_space=BOX))
    normalizer = Normalizer((1.0, -2.0, 0.0, 5.0, 100.0), (4.0, 0.5, 1.0, 9.0, 2500.0), 1e-8, 10.0)
    policy = read_policy(path, ImportOptions(action_space=BOX, normalizer=normalizer))
    obs = sample_observations(policy.contract.observation, 64, np.random.default_rng(1))
    with torch.no_grad():
        theirs = network.output(
            network, torch.from_numpy(normalizer.apply(obs).astype(np.float32))
        ).numpy()
    assert np.abs(policy.act(obs) - theirs).max() <= 1e-5


def test_pictures_of_another_size_need_the_environment(tmp_path: Path) -> None:
    network = Network(
        lambda agent, x: agent.network(x / 255.0),
        network=nn.Sequential(*nature(3, 64 * 3 * 2), nn.Linear(512, 4)),
    )  # 52 x 44 pixels
    path = saved(network.state_dict(), tmp_path)
    with pytest.raises(InputError, match=r"its pictures are not 84 x 84 .*--env ID"):
        read_policy(path)
    given = Observation((52, 44, 3), "uint8", "hwc")
    policy = read_policy(path, ImportOptions(observation=given))
    assert policy.contract.observation == given
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds
    with pytest.raises(InputError, match=r"come in: give the environment it was trained on"):
        read_policy(path, ImportOptions(observation=Observation((60, 44, 3), "uint8", "hwc")))
    with pytest.raises(InputError, match="give the environment it was trained on"):
        read_policy(path, ImportOptions(observation=Observation((5,), "float32", "vector")))


def test_an_environment_with_other_observations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the environment it was trained on"):
        read_policy(
            saved(dqn().state_dict(), tmp_path),
            ImportOptions(observation=Observation((4,), "float32", "vector")),
        )
    with pytest.raises(InputError, match=r"discrete with 4 choices, .* discrete with 3 choices"):
        read_policy(
            saved(dqn().state_dict(), tmp_path), ImportOptions(action_space=Action("discrete", 3))
        )


def _state(**parts: nn.Module | torch.Tensor) -> dict[str, Any]:
    return dict(Network(lambda agent, x: x, **parts).state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _state(network=mlp(5, 8, nn.ReLU), atoms=torch.zeros(2)), "is C51"),
        (
            lambda: _state(
                network=nn.Sequential(*nature()),
                lstm=nn.LSTM(512, 8),
                actor=nn.Linear(8, 4),
                critic=nn.Linear(8, 1),
            ),
            "a recurrent policy",
        ),
        (
            lambda: _state(network=mlp(5, 4, nn.ReLU, (8, 8, 8))),
            "network has 4 layers, CleanRL's have 3",
        ),
        (lambda: _state(policy=nn.Linear(2, 2)), "no CleanRL script has the modules policy"),
        (
            lambda: _state(
                network=nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 4))
            ),
            "network.1 is not a Linear layer",
        ),
        (
            lambda: _state(
                network=nn.Sequential(
                    nn.Conv2d(4, 8, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4)
                )
            ),
            "CleanRL's Nature CNN at 0, 2, 4, 7, 9",
        ),
        (
            lambda: _state(
                network=nn.Sequential(nn.Conv2d(4, 32, 5, 4), *nature()[1:], nn.Linear(512, 4))
            ),
            "network.0 has a 5x5 kernel where the Nature CNN has 8x8",
        ),
        (
            lambda: _state(fc1=nn.Conv2d(1, 1, 1), fc2=nn.Linear(2, 2), fc_mu=nn.Linear(2, 2)),
            "fc1 is not a Linear layer",
        ),
    ],
)
def test_other_networks_are_refused_by_name(
    make: Callable[[], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        read_policy(saved(make(), tmp_path), ImportOptions(action_space=BOX))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "holds a list of 2"),
        ({"epoch": 3}, "a dict with 'epoch'"),
        (torch.zeros(3), "holds a single tensor"),
        ({}, "nothing in it"),
    ],
)
def test_a_file_without_a_state_dict_is_described(
    value: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"{message}.*torch\.save\(agent\.state_dict\(\), FILE\)"):
        read_policy(saved(value, tmp_path))


def test_a_whole_agent_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UntrustedFileError, match="save the state dict"):
        read_policy(saved(mlp(5, 4, nn.ReLU), tmp_path))


def test_a_pickle_bomb_does_not_run(tmp_path: Path) -> None:
    bomb = bomb_pickle(tmp_path / "ran")
    for name, data in (("zip.pt", torch_file(bomb)), ("bare.pt", bomb)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(
            InputError, match=r"nothing was run|can run code when read, so quarl does not read it"
        ):
            read_policy(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_file_of_torch_before_1_6_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(dqn().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(
        InputError, match=r"an old torch file .*torch\.save\(agent\.state_dict\(\), FILE\)"
    ):
        read_policy(tmp_path / "old.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = dqn().state_dict()
    state["network.2.bias"][3] = torch.nan
    with pytest.raises(InputError, match=r"network.2: 1 of 84 bias are NaN or infinite"):
        read_policy(saved(state, tmp_path))


def test_buffers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = sac().state_dict()
    state["action_scale"] = torch.ones(3)
    with pytest.raises(
        InputError, match=r"action_scale \(3,\) and action_bias \(2,\) do not fit 2 actions"
    ):
        read_policy(saved(state, tmp_path))
