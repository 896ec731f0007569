"""The first step on which source and candidate act otherwise is found, whatever the lanes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.graph.contract import Action
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.divergence import NEVER, PARTED_SHARE, ActionLog, first_divergence
from quarl.rollouts.episodes import Watch, run_episodes

DISCRETE = Action("discrete", 3)
BOX = Action("box", 2, (-1.0, -2.0), (1.0, 2.0), "clip")


@pytest.mark.parametrize(
    ("source", "candidate", "step"),
    [
        ([0, 1, 2], [0, 1, 2], NEVER),
        ([0, 1, 2], [0, 2, 2], 1),
        ([0, 1, 2], [1, 1, 2], 0),
        ([0, 1, 2], [0, 1], NEVER),  # the shorter one ends before they part
        ([0, 1], [0, 2, 2, 2], 1),
    ],
)
def test_discrete_actions_part_where_they_differ_first(
    source: list[int], candidate: list[int], step: int
) -> None:
    assert first_divergence([np.array(source)], [np.array(candidate)], DISCRETE).tolist() == [step]


@pytest.mark.parametrize(("error", "step"), [(0.9 * PARTED_SHARE, NEVER), (1.1 * PARTED_SHARE, 2)])
def test_box_actions_part_where_one_value_is_off_by_a_share_of_its_range(
    error: float, step: int
) -> None:
    source = np.zeros((4, 2), np.float32)
    candidate = source.copy()
    candidate[2:, 1] += np.float32(error * 4)
    assert first_divergence([source], [candidate], BOX).tolist() == [step]


def lean(obs: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(obs[:, 2] + 0.5 * obs[:, 3] > 0, np.int64)


@pytest.mark.parametrize("lanes", [1, 3, 64])
def test_the_log_gives_each_episode_its_own_actions_in_order_for_any_number_of_lanes(
    lanes: int,
) -> None:
    seeds = [5, 17, 3, 8, 1]
    log, alone = ActionLog(lean), []
    played = run_episodes(EnvSpec("CartPole-v1"), log, seeds, lanes=lanes, watch=Watch(log.observe))
    for seed in seeds:
        single = ActionLog(lean)
        run_episodes(EnvSpec("CartPole-v1"), single, [seed], watch=Watch(single.observe))
        alone.append(single.by_episode(1)[0].tolist())
    logged = [actions.tolist() for actions in log.by_episode(len(seeds))]
    assert logged == alone
    assert [len(actions) for actions in logged] == played.lengths.tolist()
