"""The store of transitions: rewards of several steps, ended and cut-off episodes, the oldest
forgotten.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl.train.replay import Replay

GAMMA = 0.9


def fill(store: Replay, terminated: list[int], truncated: list[int], steps: int) -> None:
    """Play one lane whose observation and reward are the number of the step; an observation after
    it is one more.
    """
    for step in range(steps):
        ended, cut = np.array([step in terminated]), np.array([step in truncated])
        store.add(
            np.full((1, 1), step, np.float32),
            np.array([step]),
            np.array([float(step)]),
            np.full((1, 1), step + 1.0),
            ended,
            cut,
        )


@pytest.mark.parametrize(
    ("terminated", "truncated", "first", "reward", "discount", "after"),
    [
        ([], [], 2, 2 + GAMMA * 3 + GAMMA**2 * 4, GAMMA**3, 5.0),
        ([2], [], 2, 2.0, 0.0, 3.0),
        ([3], [], 2, 2 + GAMMA * 3, 0.0, 4.0),
        ([4], [], 2, 2 + GAMMA * 3 + GAMMA**2 * 4, 0.0, 5.0),
        ([], [3], 2, 2 + GAMMA * 3, GAMMA**2, 4.0),
        ([5], [], 2, 2 + GAMMA * 3 + GAMMA**2 * 4, GAMMA**3, 5.0),
    ],
)
def test_a_transition_ends_with_its_episode_and_a_cut_keeps_the_value_ahead(
    terminated: list[int],
    truncated: list[int],
    first: int,
    reward: float,
    discount: float,
    after: float,
) -> None:
    store = Replay(100, (1,), np.float32, 3, GAMMA)
    fill(store, terminated, truncated, 8)
    batch = store.draw(500, np.random.default_rng(0))
    row = int(np.flatnonzero(batch.action == first)[0])
    assert batch.obs[row, 0] == first
    assert batch.reward[row] == pytest.approx(reward)
    assert batch.discount[row] == pytest.approx(discount)
    assert batch.next_obs[row, 0] == after


def test_the_oldest_transitions_are_forgotten() -> None:
    store = Replay(5, (1,), np.float32, 1, GAMMA)
    fill(store, [], [], 12)
    assert store.size == 5
    assert set(store.draw(200, np.random.default_rng(0)).action.tolist()) == {7, 8, 9, 10, 11}


def test_a_lane_that_ended_does_not_touch_its_neighbour() -> None:
    store = Replay(10, (1,), np.float32, 2, GAMMA)
    obs, reward = np.zeros((2, 1), np.float32), np.array([1.0, 10.0])
    store.add(
        obs, np.array([0, 1]), reward, obs + 1, np.array([True, False]), np.array([False, False])
    )
    store.add(
        obs, np.array([2, 3]), reward, obs + 2, np.array([False, False]), np.array([False, False])
    )
    batch = store.draw(50, np.random.default_rng(0))
    ended, going = (int(np.flatnonzero(batch.action == action)[0]) for action in (0, 1))
    assert (batch.reward[ended], batch.discount[ended], batch.next_obs[ended, 0]) == (1.0, 0.0, 1.0)
    assert batch.reward[going] == pytest.approx(10.0 + GAMMA * 10.0)
    assert batch.next_obs[going, 0] == 2.0


@pytest.mark.parametrize(
    ("steps", "count", "latest"),
    [(3, 2, [1, 2]), (3, 9, [0, 1, 2]), (6, 3, [3, 4, 5]), (7, 9, [3, 4, 5, 6]), (0, 2, [])],
)
def test_the_latest_observations_come_back_oldest_first(
    steps: int, count: int, latest: list[int]
) -> None:
    store = Replay(4, (1,), np.float32, 1, GAMMA)
    fill(store, [], [], steps)
    assert store.latest(count)[:, 0].tolist() == latest
