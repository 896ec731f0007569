"""A walk plays on from call to call and counts observations, not episodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from quarl.finetune.walk import Walk
from quarl.graph.env_spec import EnvSpec

CARTPOLE = EnvSpec("CartPole-v1")


@pytest.fixture
def walk() -> Iterator[Walk]:
    made = Walk(CARTPOLE, 4, 50)
    yield made
    made.close()


def push_left(obs: np.ndarray) -> np.ndarray:
    return np.zeros(len(obs), np.int64)


def test_it_gives_as_many_observations_as_are_asked_for(walk: Walk) -> None:
    assert walk.observe(push_left, 37).shape == (37, 4)
    assert walk.observe(push_left, 8, every=3).shape == (8, 4)


def test_it_plays_on_where_it_stopped(walk: Walk) -> None:
    first = walk.observe(push_left, 20)
    second = walk.observe(push_left, 20)
    assert abs(second[:4, 1]).min() > abs(first[:4, 1]).max()  # the carts have gathered speed


def test_episodes_that_end_are_counted_and_others_begin(walk: Walk) -> None:
    assert walk.mean_return is None
    walk.observe(push_left, 400)
    assert len(walk.finished) > 20
    assert 8 <= walk.mean_return <= 11
    assert walk.steps == 400


def test_the_same_seeds_give_the_same_observations(walk: Walk) -> None:
    again = Walk(CARTPOLE, 4, 50)
    other = Walk(CARTPOLE, 4, 51)
    seen = walk.observe(push_left, 100)
    np.testing.assert_array_equal(seen, again.observe(push_left, 100))
    assert (seen != other.observe(push_left, 100)).any()
    again.close()
    other.close()
