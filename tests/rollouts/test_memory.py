"""Actors that remember: a state of its own for each episode, whatever plays beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.emitters import emit_tflite
from quarl.graph.contract import Action
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Dense, Policy
from quarl.importers import ImportOptions, read_policy
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import quantize_on_rung
from quarl.rollouts.actors import Actor, artifact_actor, float64_actor, source_actor
from quarl.rollouts.collect import collect_observations
from quarl.rollouts.divergence import ActionLog
from quarl.rollouts.episodes import Watch, run_beside, run_episodes
from quarl.rollouts.memory import begin
from tests.support.recall_env import FEATURES, STEPS, recall_policy

ENV = EnvSpec("tests.support.recall_env:Recall-v0")
KINDS = ("GRU", "LSTM")


def recall(kind: str, folder: Path, *, sampled: bool = False) -> Policy:
    path = folder / f"{kind}.onnx"
    path.write_bytes(recall_policy(kind))
    action = Action("discrete", 2, sampled=sampled)
    policy = read_policy(path, ImportOptions(action_space=action))
    assert isinstance(policy, Policy)
    return policy


def players(policy: Policy) -> dict[str, Actor]:
    met = collect_observations(ENV, source_actor(policy), range(8), 400)
    quantized = quantize_on_rung(policy, calibrate(met.obs, policy.contract), 1)
    return {
        "source": source_actor(policy),
        "float64": float64_actor(policy),
        "int8": artifact_actor(quantized, emit_tflite(quantized)),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_seen_first_is_still_known_at_the_end(kind: str, tmp_path: Path) -> None:
    for name, actor in players(recall(kind, tmp_path)).items():
        played = run_episodes(ENV, actor, range(20), lanes=7)
        assert (played.returns == STEPS).all(), name


def test_a_sampled_recurrent_policy_draws_by_the_seed_of_its_episode(tmp_path: Path) -> None:
    seeds = [3, 4, 5, 3, *range(20, 36)]
    certain = recall("GRU", tmp_path, sampled=True)
    head = certain.nodes[-1]
    assert isinstance(head.op, Dense)
    doubtful = replace(head.op, weights=head.op.weights / 4)  # draws the likeliest, but not always
    policy = replace(certain, nodes=(*certain.nodes[:-1], replace(head, op=doubtful)))
    found = {}
    for name, actor in players(policy).items():
        alone = run_episodes(ENV, actor, seeds, lanes=1).returns
        np.testing.assert_array_equal(alone, run_episodes(ENV, actor, seeds, lanes=7).returns)
        assert alone[0] == alone[3]
        found[name] = alone
    np.testing.assert_array_equal(found["source"], found["float64"])
    assert (found["source"] == found["int8"]).mean() > 0.5  # pairs share their random numbers
    assert STEPS / 2 < found["source"].mean() < STEPS  # drawn, and still by what was seen first


def test_an_episode_does_not_depend_on_the_lanes_or_on_earlier_runs(tmp_path: Path) -> None:
    actor = players(recall("GRU", tmp_path))["int8"]
    logs = []
    for lanes in (1, 5, 5):
        log = ActionLog(actor)
        run_episodes(ENV, log, range(6), lanes=lanes, watch=Watch(log.observe))
        logs.append(np.stack(log.by_episode(6)))
    np.testing.assert_array_equal(logs[0], logs[1])
    np.testing.assert_array_equal(logs[1], logs[2])


def test_the_control_carries_a_state_of_its_own(tmp_path: Path) -> None:
    policy = recall("LSTM", tmp_path)
    beside = run_beside(ENV, (source_actor(policy), float64_actor(policy)), range(6), lanes=4)
    np.testing.assert_array_equal(beside.played.returns, beside.control.returns)
    assert not beside.has_chance


def test_observations_are_collected_with_the_state_that_met_them(tmp_path: Path) -> None:
    policy = recall("GRU", tmp_path)
    met = collect_observations(ENV, source_actor(policy), range(4), 80)
    assert met.obs.shape[1] == FEATURES + 4
    first = np.flatnonzero(met.obs[:, 1] == 1)
    assert (met.obs[first, FEATURES:] == 0).all()
    later = np.flatnonzero(met.obs[:, 1] == 0)
    assert (np.abs(met.obs[later, FEATURES:]) > 0.3).any(axis=1).all()


def test_an_actor_without_a_state_is_asked_as_it_is() -> None:
    choose = begin(lambda obs: obs[:, 0], 3)
    np.testing.assert_array_equal(choose(np.array([2]), np.array([[5.0]])), [5.0])
