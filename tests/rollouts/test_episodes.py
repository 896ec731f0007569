"""Episodes are the same for any number of lanes, whatever the environment keeps to itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.errors import InputError, ToolMissingError
from quarl.graph.contract import Action, Contract, Normalizer, Observation
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Activation, Conv2D, Dense, Flatten, Policy, linear_chain
from quarl.rollouts.actors import Actor, float64_actor, row_by_row, source_actor
from quarl.rollouts.collect import _equal_shares, collect_observations
from quarl.rollouts.episodes import (
    Episodes,
    Player,
    Watch,
    play_together,
    random_episodes,
    run_beside,
    run_episodes,
)
from quarl.rollouts.vector_env import check_env, open_lanes
from tests.conftest import need

CARTPOLE = EnvSpec("CartPole-v1")
PENDULUM = EnvSpec("Pendulum-v1")


def dense(rng: np.random.Generator, inputs: int, outputs: int) -> Dense:
    return Dense(
        rng.standard_normal((outputs, inputs)).astype(np.float32),
        rng.standard_normal(outputs).astype(np.float32),
    )


def mlp(contract: Contract, hidden: int = 64, seed: int = 0) -> Policy:
    rng = np.random.default_rng(seed)
    first, last = (
        dense(rng, contract.observation.shape[0], hidden),
        dense(rng, hidden, contract.action.count),
    )
    return Policy(
        linear_chain([("first", first), ("tanh", Activation("tanh")), ("last", last)]),
        contract,
        "PPO",
        "test",
        "0" * 64,
    )


def cartpole_contract() -> Contract:
    return Contract(Observation((4,), "float32", "vector"), Action("discrete", 2))


def pendulum_contract() -> Contract:
    normalizer = Normalizer((0.1, -0.2, 0.3), (0.5, 0.5, 9.0), 1e-8, 10.0)
    return Contract(
        Observation((3,), "float32", "vector", normalizer=normalizer),
        Action("box", 1, (-2.0,), (2.0,), "unscale"),
    )


def lean(obs: NDArray[Any]) -> NDArray[Any]:
    """Push the cart to where the pole leans."""
    return np.asarray(obs[:, 2] + 0.5 * obs[:, 3] > 0, np.int64)


def swing(obs: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.clip(2 * obs[:, 2:3], -2, 2), np.float32)


def same(a: Episodes, b: Episodes) -> bool:
    successes = [None if e.successes is None else e.successes.tolist() for e in (a, b)]
    is_same = np.array_equal(a.returns, b.returns) and np.array_equal(a.lengths, b.lengths)
    return is_same and a.seeds == b.seeds and successes[0] == successes[1]


def played_alone(env: EnvSpec, actor: Actor, seed: int) -> tuple[float, int]:
    """The plain loop everybody writes, as an independent reference."""
    made = gymnasium.make(env.id, **env.kwargs)
    obs, _ = made.reset(seed=seed)
    total, length, ended = 0.0, 0, False
    while not ended:
        obs, reward, terminated, truncated, _ = made.step(actor(obs[None])[0])
        total, length, ended = total + float(reward), length + 1, terminated or truncated
    made.close()
    return total, length


@pytest.mark.parametrize(("env", "actor"), [(CARTPOLE, lean), (PENDULUM, swing)])
def test_an_episode_is_the_one_a_plain_loop_plays(env: EnvSpec, actor: Actor) -> None:
    seeds = [5, 17, 3]
    episodes = run_episodes(env, actor, seeds, lanes=2)
    assert [played_alone(env, actor, seed) for seed in seeds] == list(
        zip(episodes.returns, episodes.lengths, strict=True)
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("env", "contract"), [(CARTPOLE, cartpole_contract()), (PENDULUM, pendulum_contract())]
)
@pytest.mark.parametrize("make_actor", [source_actor, float64_actor])
def test_episodes_do_not_depend_on_the_number_of_lanes(
    env: EnvSpec, contract: Contract, make_actor: Callable[[Policy], Actor]
) -> None:
    actor = make_actor(mlp(contract))
    seeds = list(range(11))
    alone = run_episodes(env, actor, seeds, lanes=1)
    assert all(same(alone, run_episodes(env, actor, seeds, lanes=lanes)) for lanes in (2, 7, 64))


def test_episodes_do_not_depend_on_the_order_of_the_seeds() -> None:
    forward, backward = (
        run_episodes(CARTPOLE, lean, [1, 2, 3], lanes=2),
        run_episodes(CARTPOLE, lean, [3, 2, 1], lanes=2),
    )
    assert np.array_equal(forward.returns, backward.returns[::-1])


@pytest.mark.long
def test_an_environment_that_remembers_earlier_episodes_is_made_anew() -> None:
    need("Box2D")
    env = EnvSpec("BipedalWalker-v3", {"max_episode_steps": 200})

    def stride(obs: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.sin(7 * obs[:, :4] + obs[:, 4:8]), np.float32)

    assert same(
        run_episodes(env, stride, range(6), lanes=1), run_episodes(env, stride, range(6), lanes=6)
    )


def test_vectorised_lanes_that_share_a_random_generator_are_not_used() -> None:
    assert type(open_lanes(CARTPOLE, 2)).__name__ == "_SingleLanes"


def test_a_success_is_read_from_the_last_step() -> None:
    episodes = run_episodes(
        EnvSpec("tests.rollouts.test_episodes:CountDown-v0"), lean_nowhere, [2, 3, 4], lanes=2
    )
    assert episodes.successes is not None
    assert episodes.successes.tolist() == [True, False, True]
    assert run_episodes(CARTPOLE, lean, [0]).successes is None


def test_vectorised_lanes_play_the_same_episodes_as_single_ones() -> None:
    vectorised, single = (
        EnvSpec("tests.rollouts.test_episodes:CountDownVector-v0"),
        EnvSpec("tests.rollouts.test_episodes:CountDown-v0"),
    )
    assert type(open_lanes(vectorised, 2)).__name__ == "_VectorLanes"
    seeds = [9, 2, 3, 12, 4, 5, 3]
    reference = run_episodes(single, lean_nowhere, seeds, lanes=3)
    assert all(
        same(reference, run_episodes(vectorised, lean_nowhere, seeds, lanes=lanes))
        for lanes in (1, 3, 64)
    )


@pytest.mark.long
@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_flights_do_not_depend_on_the_number_of_lanes(actions: str) -> None:
    env = EnvSpec("quarl/PointToPoint-v0", {"actions": actions})

    def fly(obs: NDArray[Any]) -> NDArray[Any]:
        drift = np.sin(np.arange(1, 4) * obs[:, :3] + obs[:, 3:6])
        return (
            np.asarray(drift, np.float32)
            if actions == "continuous"
            else np.asarray(12 + 12 * drift[:, 0], np.int64)
        )

    opened = open_lanes(env, 2)
    opened.close()
    assert type(opened).__name__ == "_RestingLanes"
    seeds = list(range(9))
    reference = run_episodes(env, fly, seeds, lanes=9)
    assert reference.successes is not None
    assert all(same(reference, run_episodes(env, fly, seeds, lanes=lanes)) for lanes in (1, 4))
    single = gymnasium.make("quarl/PointToPoint-v0", actions=actions)
    obs, _ = single.reset(seed=seeds[3])
    total, ended = 0.0, False
    while not ended:
        obs, reward, terminated, truncated, _ = single.step(fly(obs[None])[0])
        total, ended = total + float(reward), terminated or truncated
    assert total == reference.returns[3]


@pytest.mark.parametrize("fault", ["shared", "sticky", "deaf"])
def test_vectorised_lanes_with_a_fault_are_not_used(fault: str) -> None:
    env = EnvSpec("tests.rollouts.test_episodes:CountDownVector-v0", {"fault": fault})
    assert type(open_lanes(env, 2)).__name__ == "_SingleLanes"


def test_an_unknown_environment_is_named() -> None:
    with pytest.raises(InputError, match="NoSuchTask-v0: gymnasium knows no such environment"):
        run_episodes(EnvSpec("NoSuchTask-v0"), lean, [0])


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(InputError, match="there is no Python module no_such_module"):
        run_episodes(EnvSpec("no_such_module:Task-v0"), lean, [0])


def test_a_package_an_environment_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "quarl.rollouts.foreign_env._NAMESPACE_MODULES", {"Far": "package_not_here"}
    )
    with pytest.raises(ToolMissingError, match="needs the Python package package_not_here"):
        run_episodes(EnvSpec("Far/Away-v0"), lean, [0])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", "failed in step, seed 3: ValueError: boom"),
        ("nan", "return of seed 3 is nan"),
        ("huge", "return of seed 3 is .*e.100"),
    ],
)
def test_an_environment_that_fails_is_named_with_the_seed(fault: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_episodes(
            EnvSpec("tests.rollouts.test_episodes:CountDown-v0", {"fault": fault}),
            lean_nowhere,
            [3, 3],
        )


@pytest.mark.parametrize("lanes", [1, 2])
def test_an_episode_that_never_ends_is_stopped(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarl.rollouts.episodes.LONGEST_EPISODE_STEPS", 40)
    with pytest.raises(InputError, match="seed 50 goes on after 40 steps"):
        run_episodes(
            EnvSpec("tests.rollouts.test_episodes:CountDown-v0"),
            lean_nowhere,
            [2, 50],
            lanes=lanes,
        )


def test_wrong_arguments_for_an_environment_are_reported() -> None:
    with pytest.raises(InputError, match="CartPole-v1 failed when it is made"):
        run_episodes(EnvSpec("CartPole-v1", {"colour": "red"}), lean, [0])


def test_an_environment_that_fits_the_contract_passes() -> None:
    check_env(CARTPOLE, cartpole_contract())
    check_env(PENDULUM, pendulum_contract())


@pytest.mark.parametrize(
    ("env", "contract", "message"),
    [
        (
            CARTPOLE,
            pendulum_contract(),
            r"CartPole-v1 gives observations Box.*\(4,\).* takes float32 observations of "
            r"shape \(3,\)",
        ),
        (
            PENDULUM,
            Contract(Observation((3,), "float32", "vector"), Action("discrete", 2)),
            "chooses one of 2",
        ),
        (
            PENDULUM,
            Contract(
                Observation((3,), "float32", "vector"), Action("box", 2, (-2.0, -2.0), (2.0, 2.0))
            ),
            "gives 2 real values",
        ),
        (
            PENDULUM,
            Contract(Observation((3,), "float32", "vector"), Action("box", 1, (-1.0,), (1.0,))),
            r"gives values from \[-1.0\] to \[1.0\]",
        ),
        (EnvSpec("FrozenLake-v1"), cartpole_contract(), r"gives observations Box.*\(16,\)"),
    ],
)
def test_an_environment_that_does_not_fit_the_contract_is_refused(
    env: EnvSpec, contract: Contract, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_env(env, contract)


def test_random_play_does_not_depend_on_the_lanes_and_is_bad_at_the_task() -> None:
    few = random_episodes(CARTPOLE, cartpole_contract(), range(30), lanes=4)
    assert same(few, random_episodes(CARTPOLE, cartpole_contract(), range(30), lanes=30))
    assert 12 < few.returns.mean() < 40  # 22 is the known mean
    assert random_episodes(PENDULUM, pendulum_contract(), range(3)).returns.mean() < -300


def test_progress_counts_to_all_episodes() -> None:
    seen: list[tuple[int, int]] = []
    run_episodes(
        CARTPOLE,
        lean_nowhere,
        range(5),
        lanes=2,
        watch=Watch(progress=lambda done, count: seen.append((done, count))),
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (5, 5)


def all_observations(
    env: EnvSpec, actor: Actor, seeds: list[int]
) -> dict[tuple[int, int], NDArray[Any]]:
    met: dict[tuple[int, int], NDArray[Any]] = {}

    def observe(episodes: NDArray[np.int64], steps: NDArray[np.int64], obs: NDArray[Any]) -> None:
        met.update(
            {(int(e), int(s)): row.copy() for e, s, row in zip(episodes, steps, obs, strict=True)}
        )

    run_episodes(env, actor, seeds, watch=Watch(observe))
    return met


@pytest.mark.parametrize("lanes", [1, 3, 64])
def test_observations_cover_every_episode_and_every_extreme(lanes: int) -> None:
    seeds = [4, 8, 15, 16]
    met = np.stack(list(all_observations(CARTPOLE, lean, seeds).values()))
    found = collect_observations(CARTPOLE, lean, seeds, 40, lanes=lanes)
    assert 40 <= len(found.obs) <= 40 + 2 * 4
    assert (np.bincount(found.episode) >= 10).all()
    assert np.array_equal(found.obs.min(axis=0), met.min(axis=0))
    assert np.array_equal(found.obs.max(axis=0), met.max(axis=0))
    reference = collect_observations(CARTPOLE, lean, seeds, 40, lanes=2)
    assert np.array_equal(found.obs, reference.obs)
    assert np.array_equal(found.episode, reference.episode)


def test_observations_reach_from_the_first_step_of_an_episode_to_its_last_part() -> None:
    seeds = [4]
    met = all_observations(PENDULUM, swing, seeds)
    found = collect_observations(PENDULUM, swing, seeds, 8)
    steps = [
        next(step for (_, step), obs in met.items() if np.array_equal(obs, row))
        for row in found.obs
    ]
    assert steps[0] == 0
    assert steps[-1] > 180
    assert max(np.diff(steps)) <= 45


def test_all_observations_are_kept_where_there_are_fewer_than_asked_for() -> None:
    met = all_observations(CARTPOLE, lean_nowhere, [1, 2])
    assert len(collect_observations(CARTPOLE, lean_nowhere, [1, 2], 1000).obs) == len(met)


def test_an_observation_that_is_not_a_number_is_reported_with_its_place() -> None:
    with pytest.raises(InputError, match=r"observation \[1\] is nan at seed 6, step 2"):
        collect_observations(
            EnvSpec("tests.rollouts.test_episodes:CountDown-v0", {"fault": "nan_obs"}),
            lean_nowhere,
            [6],
            10,
        )


@pytest.mark.long
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 200))
def test_shares_are_as_equal_as_the_lengths_allow(lengths: list[int], count: int) -> None:
    shares = _equal_shares(np.array(lengths), count)
    assert sum(shares) == min(count, sum(lengths))
    assert all(0 <= share <= length for share, length in zip(shares, lengths, strict=True))
    cut = [share for share, length in zip(shares, lengths, strict=True) if share < length]
    assert not cut or max(shares) - min(cut) <= 1


@pytest.mark.parametrize("lanes", [1, 7])
@pytest.mark.parametrize(("env", "actor"), [(CARTPOLE, lean), (PENDULUM, swing)])
def test_a_control_beside_the_actor_has_the_episodes_it_plays_alone(
    env: EnvSpec, actor: Actor, lanes: int
) -> None:
    def nudged(obs: NDArray[Any]) -> NDArray[Any]:
        actions = actor(obs)
        late = obs[:, 0] > 0.02  # reached in some episodes, never in others
        return (
            np.where(late, 1 - actions, actions)
            if actions.ndim == 1
            else np.where(late[:, None], -actions, actions)
        )

    seeds = range(20, 32)
    played, own, *_ = run_beside(env, (actor, nudged), seeds, lanes=lanes)
    assert same(played, run_episodes(env, actor, seeds))
    assert same(own, run_episodes(env, nudged, seeds))


@pytest.mark.parametrize("lanes", [1, 5, 64])
def test_players_who_share_the_lanes_play_what_each_plays_alone(lanes: int) -> None:
    seeds, actors = range(7, 16), (lean, swing_of_cartpole, lean)
    told: list[list[tuple[int, int]]] = [[], [], []]

    def hook(turn: int) -> Callable[..., None]:
        def observe(episodes: NDArray[Any], steps: NDArray[Any], obs: NDArray[Any]) -> None:
            assert len(obs) == len(steps)
            told[turn] += zip(episodes.tolist(), steps.tolist(), strict=True)

        return observe

    players = [Player(actor, hook(turn)) for turn, actor in enumerate(actors)]
    together = play_together(CARTPOLE, players, seeds, lanes=lanes)
    beside = run_beside(CARTPOLE, (lean, lean), seeds, lanes=lanes, others=players[1:])
    for turn, actor in enumerate(actors):
        alone = run_episodes(CARTPOLE, actor, seeds)
        assert same(together[turn], alone)
        assert turn == 0 or same(beside.others[turn - 1], alone)
        steps = [(e, s) for e, length in enumerate(alone.lengths) for s in range(length)]
        assert sorted(told[turn]) == sorted(steps * (1 if turn == 0 else 2))


def swing_of_cartpole(obs: NDArray[Any]) -> NDArray[Any]:
    return (obs[:, 3] > 0).astype(np.int64)


def test_a_control_that_agrees_plays_only_the_first_episodes() -> None:
    steps: list[int] = []
    played, own, *_ = run_beside(
        CARTPOLE,
        (lean, lean),
        range(10),
        lanes=10,
        watch=Watch(observe=lambda episodes, at, obs: steps.append(len(at))),
    )
    assert same(played, own)
    assert sum(steps) == played.lengths.sum()
    asked: list[int] = []

    def counted(obs: NDArray[Any]) -> NDArray[Any]:
        asked.append(len(obs))
        return lean(obs)

    run_beside(CARTPOLE, (lean, counted), range(10), lanes=10)
    assert sum(asked) == played.lengths.sum() + played.lengths[:2].sum()


def test_a_control_plays_all_episodes_where_the_environment_does_not_repeat_itself() -> None:
    env = EnvSpec("tests.rollouts.test_episodes:CountDown-v0", {"fault": "chance"})
    played, own, *_ = run_beside(env, (lean_nowhere, lean_nowhere), [4, 5, 6, 7])
    assert (played.returns != own.returns).all()


@pytest.mark.parametrize("make_actor", [source_actor, float64_actor])
@pytest.mark.parametrize("hidden", [7, 64, 256])
def test_an_action_does_not_depend_on_the_batch(
    make_actor: Callable[[Policy], Actor], hidden: int
) -> None:
    actor = make_actor(mlp(pendulum_contract(), hidden))
    rng = np.random.default_rng(1)
    obs = rng.standard_normal((300, 3)).astype(np.float32)
    alone = np.concatenate([actor(obs[row : row + 1]) for row in range(300)])
    for size in (2, 16, 33, 128, 300):
        rows = rng.permutation(300)[:size]
        assert np.array_equal(actor(obs[rows]), alone[rows])


def test_the_actor_of_an_image_policy_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    conv = Conv2D(
        rng.standard_normal((8, 3, 3, 2)).astype(np.float32), np.zeros(8, np.float32), (2, 2)
    )
    nodes = linear_chain(
        [
            ("conv", conv),
            ("relu", Activation("relu")),
            ("flat", Flatten()),
            ("last", dense(rng, 8 * 9, 4)),
        ]
    )
    policy = Policy(
        nodes,
        Contract(Observation((2, 8, 8), "uint8", "chw"), Action("discrete", 4)),
        "DQN",
        "test",
        "0" * 64,
    )
    obs = rng.integers(0, 256, (50, 2, 8, 8), np.uint8)
    for actor in (source_actor(policy), float64_actor(policy)):
        assert np.array_equal(actor(obs), row_by_row(actor)(obs))
        assert np.array_equal(actor(obs), policy.act(obs))


def test_the_float64_actor_is_close_to_the_source_and_not_equal() -> None:
    policy = mlp(pendulum_contract())
    obs = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    difference = np.abs(source_actor(policy)(obs) - float64_actor(policy)(obs))
    assert 0 < difference.max() < 1e-4


def lean_nowhere(obs: NDArray[Any]) -> NDArray[Any]:
    return np.zeros(len(obs), np.int64)


class CountDown(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Ends after as many steps as its seed says; even seeds succeed."""

    observation_space = gymnasium.spaces.Box(-1000, 1000, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0  # of all, for the fault "chance"

    def __init__(self, fault: str = "") -> None:
        self._fault = fault

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._seed = self._left = seed or 0
        return self._obs(), {}

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._fault == "raise":
            raise ValueError("boom")
        self._left -= 1
        reward = {"nan": float("nan"), "huge": 1e100}.get(self._fault, 0.1 * self._left + 1)
        if self._fault == "chance":
            CountDown.steps += 1
            reward += CountDown.steps
        return self._obs(), reward, self._left == 0, False, {"success": self._seed % 2 == 0}

    def _obs(self) -> NDArray[np.float32]:
        steps = self._seed - self._left
        return np.array(
            [self._left, np.nan if self._fault == "nan_obs" and steps == 2 else steps], np.float32
        )


class CountDownVector(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """The same, vectorised; `fault` "shared" lets lanes feel one another, "sticky" ignores a
    reset's seed, "deaf" ignores the mask.
    """

    def __init__(
        self,
        num_envs: int,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        fault: str = "",
    ) -> None:
        self.num_envs, self._fault = num_envs, fault
        self.metadata = {"autoreset_mode": autoreset_mode}
        self.single_observation_space, self.single_action_space = (
            CountDown.observation_space,
            CountDown.action_space,
        )
        self.observation_space = gymnasium.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self._seeds, self._left = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        if self._fault == "deaf":
            mask = np.ones(self.num_envs, np.bool_)
        if self._fault != "sticky" or not self._seeds.any():
            self._seeds[mask] = np.array(seed)[mask] + (10 if self._fault else 0)
        self._left[mask] = self._seeds[mask]
        return self._obs(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        assert self._fault or (self._left > 0).all(), (
            "a lane that has ended was stepped without a reset"
        )
        self._left -= 1
        success = {"success": self._seeds % 2 == 0, "_success": np.ones(self.num_envs, np.bool_)}
        return (
            self._obs(),
            0.1 * self._left + 1,
            self._left == 0,
            np.zeros(self.num_envs, np.bool_),
            success,
        )

    def _obs(self) -> NDArray[np.float32]:
        obs = np.stack([self._left, self._seeds - self._left], axis=1).astype(np.float32)
        if self._fault == "shared":
            obs[:, 1] += np.arange(self.num_envs)
        return obs


gymnasium.register("CountDown-v0", "tests.rollouts.test_episodes:CountDown")
gymnasium.register(
    "CountDownVector-v0",
    "tests.rollouts.test_episodes:CountDown",
    vector_entry_point="tests.rollouts.test_episodes:CountDownVector",
)
