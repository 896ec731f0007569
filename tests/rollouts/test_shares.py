"""Episodes are the same, bit for bit, whoever plays them, and a worker that dies loses none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from quarl.errors import DeviceError, InputError
from quarl.graph.env_spec import EnvSpec
from quarl.pipeline import import_source
from quarl.rollouts import shares
from quarl.rollouts.actors import Actor, source_actor
from quarl.rollouts.collect import collect_observations, observe_episodes
from quarl.rollouts.episodes import (
    Episodes,
    Watch,
    join_episodes,
    random_episodes,
    run_episodes,
)
from quarl.rollouts.robustness import play_disturbed
from quarl.rollouts.shares import Field, play_at_random, play_episodes
from quarl.workers import HERE
from quarl.workers.processes import Processes

SEEDS = range(40, 53)
DEADLY = "tests.rollouts.test_shares:Deadly-v0"


class Deadly(CartPoleEnv):
    """A cart and pole that ends its process on one seed, the first time or always."""

    def __init__(self, seed: int, mark: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._deadly, self._mark = seed, mark

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed == self._deadly and not (self._mark and Path(self._mark).exists()):
            if self._mark:
                Path(self._mark).touch()
            os._exit(9)
        return super().reset(seed=seed, options=options)


if "Deadly-v0" not in gymnasium.registry:
    gymnasium.register("Deadly-v0", Deadly, max_episode_steps=100)  # type: ignore[arg-type]


def lean(obs: Any) -> Any:
    return (obs[:, 2] + obs[:, 3] > 0).astype(np.int64)


def make_lean() -> Actor:
    return lean


def make_still() -> Actor:
    return lambda obs: np.zeros(len(obs), np.int64)


@pytest.fixture(scope="module")
def three() -> Iterator[Processes]:
    workers = Processes(3)
    yield workers
    workers.close()


def same(a: Episodes, b: Episodes) -> bool:
    return (
        a.seeds == b.seeds
        and np.array_equal(a.returns, b.returns)
        and np.array_equal(a.lengths, b.lengths)
        and np.array_equal(a.successes, b.successes)
    )


CARTPOLE, FLIGHT = EnvSpec("CartPole-v1"), EnvSpec("quarl.envs:quarl/PointToPoint-v0")


@pytest.mark.long
def test_three_workers_play_what_one_plays(three: Processes) -> None:
    progress: list[tuple[int, int]] = []
    played = play_episodes(
        Field(CARTPOLE, three), make_lean, SEEDS, lambda *done: progress.append(done)
    )
    assert same(played, run_episodes(CARTPOLE, lean, SEEDS))
    assert progress[-1] == (13, 13)
    assert len(progress) == 3, "a share for each"


def test_a_shipped_policy_in_a_vectorised_environment_too(three: Processes) -> None:
    policy = import_source("nav_ppo").policy
    make = partial(source_actor, policy)  # type: ignore[arg-type]
    assert same(
        play_episodes(Field(FLIGHT, three), make, SEEDS),
        run_episodes(FLIGHT, source_actor(policy), SEEDS),  # type: ignore[arg-type]
    )


def test_random_play_and_disturbances_too(three: Processes) -> None:
    contract = import_source("cartpole_ppo").policy.contract
    assert same(
        play_at_random(Field(CARTPOLE, three), contract, SEEDS),
        random_episodes(CARTPOLE, contract, SEEDS),
    )
    spread = np.array([1.0, 1.0, 0.1, 1.0])
    here, there = (
        play_disturbed(Field(CARTPOLE, workers), make_lean, SEEDS, "noise", spread)
        for workers in (HERE, three)
    )
    assert same(here, there)


@pytest.mark.parametrize("count", [5, 40, 10_000])
def test_observations_are_the_same_ones(three: Processes, count: int) -> None:
    reference = collect_observations(CARTPOLE, lean, SEEDS, count)
    found = observe_episodes(Field(CARTPOLE, three), make_lean, SEEDS, count)
    assert np.array_equal(found.obs, reference.obs)
    assert np.array_equal(found.episode, reference.episode)


@pytest.mark.long
def test_a_worker_that_dies_loses_no_episode(tmp_path: Path) -> None:
    told: list[str] = []
    workers = Processes(2, tell=told.append)
    env = EnvSpec(DEADLY, {"seed": 47, "mark": str(tmp_path / "dead")})
    played = play_episodes(Field(env, workers), make_lean, SEEDS)
    workers.close()
    reference = run_episodes(EnvSpec(DEADLY, {"seed": -1}), lean, SEEDS)
    assert same(played, reference)
    assert len(told) == 1
    assert "ended with exit code 9: its work is done again" in told[0]


def test_an_environment_that_always_ends_its_process_is_said_to(three: Processes) -> None:
    with pytest.raises(DeviceError, match="the environment ends its process"):
        play_episodes(Field(EnvSpec(DEADLY, {"seed": 47}), three), make_lean, SEEDS)


@pytest.mark.long
def test_what_an_environment_raises_is_the_same_message(three: Processes) -> None:
    env = EnvSpec("tests.support.unsteady_env:Unsteady-v0", {"fails_at": 3})
    with pytest.raises(InputError, match="motor fell off"):
        play_episodes(Field(env, three), make_still, SEEDS)


def test_an_environment_of_this_process_alone_is_played_here(three: Processes) -> None:
    gymnasium.register("OnlyHere-v0", lambda **kwargs: CartPoleEnv(), max_episode_steps=50)
    env = EnvSpec("OnlyHere-v0")
    assert same(play_episodes(Field(env, three), make_lean, SEEDS), run_episodes(env, lean, SEEDS))
    scripted = play_episodes(Field(CARTPOLE, three), lambda: lean, SEEDS)
    assert same(scripted, run_episodes(CARTPOLE, lean, SEEDS))


@pytest.mark.long
def test_short_work_starts_no_process_and_long_work_is_handed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed: list[int] = []
    patient = Processes(2, patience_s=1000.0)
    monkeypatch.setattr(patient, "run", lambda function, calls: handed.append(len(calls)) or ())
    assert same(
        play_episodes(Field(CARTPOLE, patient), make_lean, SEEDS),
        run_episodes(CARTPOLE, lean, SEEDS),
    )
    assert not handed
    assert patient.patience_s < 1000.0
    hasty = Processes(2, patience_s=1e-9)
    played = play_episodes(Field(CARTPOLE, hasty), make_lean, SEEDS)
    assert hasty.patience_s == 0.0
    assert len(hasty._idle) == 2
    hasty.close()
    assert same(played, run_episodes(CARTPOLE, lean, SEEDS))


TURNS = (range(40, 46), range(46, 49), range(49, 53))


@pytest.mark.parametrize("patience", [0.0, 1000.0])
def test_turns_are_what_each_of_them_alone_is(patience: float) -> None:
    done: list[tuple[int, int]] = []
    workers = Processes(2, patience)
    part = partial(shares._played, make_lean)
    turns = shares.in_turns(
        Field(CARTPOLE, workers), part, TURNS, lambda *told: done.append(told), each=3
    )
    for seeds, found in zip(TURNS, turns, strict=True):
        assert same(join_episodes(found), run_episodes(CARTPOLE, lean, seeds))
    workers.close()
    assert done == sorted(done)
    assert done[-1][1] == 39, "three units for each of thirteen seeds"


def test_a_worker_who_waits_begins_the_next_turn_and_is_ended_where_nobody_asks_for_it(
    tmp_path: Path,
) -> None:
    workers, part = Processes(2), partial(begun_and_slow, tmp_path)
    turns = shares.in_turns(Field(CARTPOLE, workers), part, [range(2), range(2, 4)])
    assert next(turns) == [[0], [1]]
    assert (tmp_path / "2").exists(), "while the second share of the first turn was waited for"
    turns.close()
    pids = [int((tmp_path / name).read_text()) for name in "12"]
    assert pids[1] != pids[0]
    assert not Path(f"/proc/{pids[1]}").exists()
    workers.close()
    assert not (tmp_path / "3").exists()


def begun_and_slow(folder: Path, field: Field, seeds: Sequence[int], watch: Watch) -> list[int]:
    """Note who does it; the second turn's first share takes for ever, and the first turn's second
    one until that has begun.
    """
    (folder / str(seeds[0])).write_text(str(os.getpid()))
    while seeds[0] == 2 or (seeds[0] == 1 and not (folder / "2").exists()):
        time.sleep(0.01)
    return list(seeds)


def test_an_actor_is_made_once_for_all_shares_of_a_process() -> None:
    first, second = (shares.opened(counted) for _ in range(2))
    assert first is second
    assert _COUNTED == [1]


_COUNTED: list[int] = []


def counted() -> Actor:
    _COUNTED.append(1)
    return lean


@pytest.mark.parametrize(
    ("seeds", "workers", "sizes"),
    [
        (1, 2, [1]),
        (3, 2, [1, 2]),
        (10, 2, [5, 5]),
        (12, 2, [6, 6]),
        (40, 2, [10] * 4),
        (26, 4, [6, 7, 6, 7]),
        (5, 4, [1, 1, 1, 2]),
    ],
)
def test_shares_are_of_nearly_one_size_so_that_no_worker_waits(
    seeds: int, workers: int, sizes: list[int]
) -> None:
    cut = shares._cut(range(seeds), workers)
    assert [len(share) for share in cut] == sizes
    assert [seed for share in cut for seed in share] == list(range(seeds))
