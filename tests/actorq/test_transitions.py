"""Rows are the n-step transitions of the episodes they come from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.actorq.transitions import Adder, row_type
from quarl.graph.contract import Action, Contract, Observation

CONTRACT = Contract(Observation((1,), "float32", "vector"), Action("discrete", 2))
GAMMA = 0.9


def _rows(rewards: list[float], n_step: int, *, terminated: bool) -> np.ndarray:
    adder = Adder(n_step, GAMMA, actor=3)
    rows, made = np.zeros(len(rewards) + 1, row_type(CONTRACT)), 0
    for step, reward in enumerate(rewards):
        over = step == len(rewards) - 1
        taken = np.array([step], np.float32), step % 2, reward, 7
        for _ in range(adder.add(taken, over=over)):
            after = np.array([step + 1], np.float32)
            adder.take(rows, made, after, terminated=over and terminated)
            made += 1
    return rows[:made]


@given(
    rewards=st.lists(st.floats(-10, 10), min_size=1, max_size=12),
    n_step=st.integers(1, 6),
    terminated=st.booleans(),
)
def test_each_step_starts_one_row_with_the_rewards_that_follow(
    rewards: list[float], n_step: int, terminated: bool
) -> None:
    rows = _rows(rewards, n_step, terminated=terminated)
    assert rows["obs"][:, 0].tolist() == list(range(len(rewards)))
    for start, row in enumerate(rows):
        part = rewards[start : start + n_step]
        ends = start + n_step >= len(rewards)
        assert row["reward"] == pytest.approx(
            sum(GAMMA**i * r for i, r in enumerate(part)), abs=1e-4
        )
        lost = ends and terminated
        assert row["discount"] == pytest.approx(0 if lost else GAMMA ** len(part))
        assert row["next_obs"][0] == min(start + n_step, len(rewards))


def test_a_row_says_who_made_it_with_which_policy() -> None:
    row = _rows([1.0, 2.0], 2, terminated=True)[0]
    assert (row["actor"], row["learner_step"], row["episode"]) == (3, 7, 0)


def test_what_an_episode_left_open_is_not_carried_into_the_next() -> None:
    adder = Adder(3, GAMMA, actor=0)
    adder.add((np.zeros(1), 0, 1.0, 0), over=False)
    adder.drop()
    assert adder.add((np.zeros(1), 0, 1.0, 0), over=False) == 0
    assert adder.episode == 1
