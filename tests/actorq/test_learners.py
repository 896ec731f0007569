"""The learners: what they compute, and that a restored one goes on with the same numbers."""

from __future__ import annotations

import io

import numpy as np
import pytest

from quarl.actorq.settings import Settings, settings_of
from quarl.errors import InputError
from quarl.graph.contract import Action, Contract, Observation
from tests.conftest import need
from tests.support.actorq import SMALL, recipe_of

need("torch")
import torch  # noqa: E402

from quarl.actorq.learners import LARGEST_SUM, new_learner  # noqa: E402
from quarl.actorq.networks import project  # noqa: E402
from quarl.actorq.replay import Batch  # noqa: E402
from quarl.actorq.transitions import row_type  # noqa: E402

VECTOR = Observation((3,), "float32", "vector")
CONTRACTS = {
    "DQN": Contract(VECTOR, Action("discrete", 2)),
    "D4PG": Contract(VECTOR, Action("box", 2, (-2.0, -1.0), (2.0, 1.0), "unscale")),
}


def _settings(algorithm: str) -> Settings:
    return settings_of(recipe_of(SMALL, algorithm=algorithm))


def _batch(algorithm: str, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    rows = np.zeros(32, row_type(CONTRACTS[algorithm]))
    for name in ("obs", "next_obs", "reward"):
        rows[name] = rng.normal(size=rows[name].shape)
    if algorithm == "DQN":
        rows["action"] = rng.integers(0, 2, 32)
    else:
        rows["action"] = rng.uniform(-1, 1, rows["action"].shape)
    rows["discount"] = 0.9
    return Batch(rows, np.arange(32), np.ones(32, np.float32))


def test_a_projected_distribution_keeps_its_mass_and_its_mean() -> None:
    values = torch.linspace(-10, 10, 21)
    chances = torch.rand(64, 21, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    reward, discount = torch.linspace(-3, 3, 64), torch.full((64,), 0.5)
    made = project(values, chances, reward, discount)
    assert torch.allclose(made.sum(dim=1), torch.ones(64), atol=1e-5)
    wanted = reward + discount * (chances * values).sum(dim=1)
    assert torch.allclose((made * values).sum(dim=1), wanted, atol=1e-4)


def test_a_value_between_two_atoms_is_shared_by_its_distance() -> None:
    values = torch.tensor([0.0, 1.0, 2.0])
    chances = torch.tensor([[1.0, 0.0, 0.0]])
    made = project(values, chances, torch.tensor([0.25]), torch.tensor([0.0]))
    assert torch.allclose(made, torch.tensor([[0.75, 0.25, 0.0]]))
    beyond = project(values, chances, torch.tensor([9.0]), torch.tensor([0.0]))
    assert torch.allclose(beyond, torch.tensor([[0.0, 0.0, 1.0]]))


@pytest.mark.parametrize("algorithm", ["DQN", "D4PG"])
def test_errors_fall_on_a_batch_that_is_learned_again_and_again(algorithm: str) -> None:
    learner = new_learner(_settings(algorithm), CONTRACTS[algorithm], seed=0)
    batch = _batch(algorithm)
    batch.rows["discount"] = 0.0
    first = np.abs(learner.learn(batch)).mean()
    for _ in range(200):
        last = np.abs(learner.learn(batch)).mean()
    assert last < 0.8 * first
    assert learner.steps == 201


@pytest.mark.parametrize("algorithm", ["DQN", "D4PG"])
def test_a_restored_learner_learns_the_same_numbers(algorithm: str) -> None:
    one, two = (new_learner(_settings(algorithm), CONTRACTS[algorithm], seed=s) for s in (0, 1))
    for seed in range(120):  # past a copy into the target
        one.learn(_batch(algorithm, seed))
    file = io.BytesIO()
    torch.save(one.state(), file)
    file.seek(0)
    two.restore(torch.load(file, weights_only=True))
    for seed in range(5):
        assert np.array_equal(
            one.learn(_batch(algorithm, seed)), two.learn(_batch(algorithm, seed))
        )
    for (a, b), (c, d) in zip(one.policy.layers(), two.policy.layers(), strict=True):
        assert np.array_equal(a, c)
        assert np.array_equal(b, d)


def test_an_action_moves_towards_what_the_critic_values() -> None:
    learner = new_learner(_settings("D4PG"), CONTRACTS["D4PG"], seed=0)
    for seed in range(600):
        batch = _batch("D4PG", seed)
        batch.rows["reward"] = 10 * batch.rows["action"][:, 0]
        batch.rows["discount"] = 0.0
        learner.learn(batch)
    obs = torch.from_numpy(np.ascontiguousarray(_batch("D4PG", 9).rows["obs"]))
    assert float(learner.policy(obs)[:, 0].mean()) > 0.3


def test_a_policy_finds_its_way_back_from_the_flat_ends_of_tanh() -> None:
    learner = new_learner(_settings("D4PG"), CONTRACTS["D4PG"], seed=0)
    with torch.no_grad():
        learner.policy.linears[-1].bias.fill_(12.0)  # tanh is 1 there, and its gradient 0
    obs = torch.from_numpy(np.ascontiguousarray(_batch("D4PG", 9).rows["obs"]))
    assert float(learner.policy(obs).min()) == 1.0
    for seed in range(600):
        batch = _batch("D4PG", seed)
        batch.rows["reward"] = -10 * batch.rows["action"][:, 0]
        batch.rows["discount"] = 0.0
        learner.learn(batch)
    assert float(learner.policy(obs)[:, 0].mean()) < -0.3
    assert float(learner.policy.sums(obs).abs().max()) < 2 * LARGEST_SUM


@pytest.mark.parametrize(("algorithm", "other"), [("DQN", "D4PG"), ("D4PG", "DQN")])
def test_spaces_that_do_not_fit_are_refused(algorithm: str, other: str) -> None:
    with pytest.raises(InputError, match=f"{algorithm} needs .* use {other}"):
        new_learner(_settings(algorithm), CONTRACTS[other], seed=0)
