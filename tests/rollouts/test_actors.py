"""Actors of image policies: the batch decides nothing, and the screened float64 control is the
float64 policy.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.emitters import emit_tflite
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Activation, Conv2D, Dense, Flatten, Policy, linear_chain
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import quantize_on_rung
from quarl.resources import models_dir
from quarl.rollouts import actors
from quarl.rollouts.actors import Actor, artifact_actor, float64_actor, row_by_row, source_actor
from quarl.rollouts.episodes import run_episodes
from quarl.sources.observations import observations_of
from quarl.sources.source import open_source
from tests.conftest import need
from tests.support.small_policies import mlp

IMAGE_POLICIES = sorted(
    path.parent.name
    for path in models_dir().glob("*_*/policy.zip")
    if path.parent.name.startswith(("pong", "breakout"))
)


def nature(seed: int = 0, ties: float = 0.0) -> Policy:
    """The network of Mnih et al. 2015, random; with `ties` the second action is the first one but
    for that share of its weights.
    """
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    head = weights(4, 64)
    if ties:
        head[2:] -= 1
        head[1] = head[0] * (1 + ties * rng.standard_normal(64)).astype(np.float32)
    layers = [
        ("conv1", Conv2D(weights(8, 8, 8, 4), np.zeros(8, np.float32), (4, 4))),
        ("relu1", Activation("relu")),
        ("conv2", Conv2D(weights(16, 4, 4, 8), np.zeros(16, np.float32), (2, 2))),
        ("relu2", Activation("relu")),
        ("flat", Flatten()),
        ("hidden", Dense(weights(64, 16 * 81), np.zeros(64, np.float32))),
        ("relu3", Activation("relu")),
        ("head", Dense(head, np.zeros(4, np.float32))),
    ]
    return Policy(
        linear_chain(layers),
        Contract(Observation((4, 84, 84), "uint8", "chw"), Action("discrete", 4)),
        "DQN",
        "test",
        "0" * 64,
    )


def screens(count: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    obs = np.repeat(
        np.repeat(rng.integers(0, 256, (count, 4, 7, 7), np.uint8), 12, axis=2), 12, axis=3
    )
    obs[::2] = rng.integers(0, 256, obs[::2].shape, np.uint8)
    return obs


@cache
def players() -> dict[str, Actor]:
    policy = nature()
    candidate = quantize_on_rung(policy, calibrate(screens(64, 1), policy.contract), 0)
    return {
        "float32": source_actor(policy),
        "float64": float64_actor(policy),
        "int8": artifact_actor(candidate, emit_tflite(candidate)),
    }


@pytest.mark.parametrize("kind", ["float32", "float64", "int8"])
@given(count=st.integers(1, 70), seed=st.integers(0, 100))
@settings(max_examples=15)
def test_an_action_on_an_image_does_not_depend_on_the_batch(
    kind: str, count: int, seed: int
) -> None:
    actor = players()[kind]
    obs = screens(count, seed)
    rows = np.random.default_rng(seed).permutation(count)
    expected = row_by_row(actor)(obs)
    np.testing.assert_array_equal(actor(obs), expected)
    np.testing.assert_array_equal(actor(obs[rows]), expected[rows])


def test_outputs_in_batches_have_the_bits_of_single_rows() -> None:
    outputs = actors._batch_outputs(nature())
    obs = screens(53)
    alone = np.concatenate([outputs(obs[row : row + 1]) for row in range(53)])
    np.testing.assert_array_equal(outputs(obs), alone)
    np.testing.assert_array_equal(outputs(obs[::-1])[::-1], alone)


def test_a_runtime_whose_rows_depend_on_the_batch_is_shown_one_at_a_time() -> None:
    class Drifting:
        """Adds a last bit that depends on the batch."""

        def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            sums: NDArray[np.float32] = inputs.reshape(len(inputs), -1)[:, :4] * np.float32(
                1 + (len(inputs) > 1) * 2**-20
            )
            return sums

        run = infer

    policy = nature()
    assert not actors._rows_are_independent(Drifting(), policy)
    outputs = actors._outputs_of(policy, Drifting(), False)
    obs = screens(5)
    np.testing.assert_array_equal(outputs(obs)[2:3], outputs(obs[2:3]))


@pytest.mark.play
@pytest.mark.parametrize("ties", [1e-4, 1e-6, 1e-7, 1e-8])
def test_near_ties_are_decided_as_float64_decides_them(ties: float) -> None:
    policy = nature(3, ties)
    obs = screens(40, 5)
    exact = actors._float64_outputs(policy)(obs)
    np.testing.assert_array_equal(float64_actor(policy)(obs), exact.argmax(axis=1))
    assert {0, 1} & set(exact.argmax(axis=1).tolist())


@pytest.mark.play
def test_float32_alone_would_decide_some_near_ties_otherwise() -> None:
    policy = nature(3, 1e-7)
    obs = screens(200, 5)
    assert (source_actor(policy)(obs) != float64_actor(policy)(obs)).any()


def test_an_exact_tie_goes_to_the_first_action() -> None:
    policy = nature(3)
    head = policy.nodes[-1]
    assert isinstance(head.op, Dense)
    tied = replace(
        policy,
        nodes=(
            *policy.nodes[:-1],
            replace(head, op=Dense(np.repeat(head.op.weights[:1], 4, axis=0), head.op.bias)),
        ),
    )
    assert float64_actor(tied)(screens(20)).tolist() == [0] * 20


def test_a_source_and_its_control_compute_an_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, asked = nature(), []
    compute = actors._batch_outputs(policy)

    def counted(obs: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(obs))
        return compute(obs)

    monkeypatch.setattr(actors, "_batch_outputs", lambda policy: counted)
    source, control = actors.source_and_control(policy)
    asked.clear()  # what the control learned from its probes
    obs = screens(20)
    wanted = source_actor(policy)(obs), float64_actor(policy)(obs)
    asked.clear()
    np.testing.assert_array_equal(source(obs), wanted[0])
    np.testing.assert_array_equal(control(obs), wanted[1])
    np.testing.assert_array_equal(control(obs[[1, 4, 19]].copy()), wanted[1][[1, 4, 19]])
    assert asked == [20]
    np.testing.assert_array_equal(control(obs[[4, 1]]), wanted[1][[4, 1]])  # another order
    np.testing.assert_array_equal(
        control(screens(40)[20:]), float64_actor(policy)(screens(40)[20:])
    )
    assert asked[1:3] == [2, 20]


@pytest.mark.play
@pytest.mark.parametrize("name", [*IMAGE_POLICIES, "nav_dqn_large"])
def test_the_screened_control_of_a_shipped_policy_is_its_float64_policy(name: str) -> None:
    need("ale_py")
    from quarl.importers import ImportOptions

    source = open_source(name, ImportOptions(), None)
    policy, obs = source.policy, observations_of(source, None)[1].obs
    assert isinstance(policy, Policy)
    exact = actors._float64_outputs(policy)(obs)
    control = float64_actor(policy)
    np.testing.assert_array_equal(control(obs), exact.argmax(axis=1))
    fast = actors._batch_outputs(policy)(obs)
    error = (np.abs(fast - exact).max(axis=1) / np.abs(exact).max(axis=1)).max()
    assert isinstance(control, actors._Screened)
    assert error < actors.SAFETY * control._error / 50


@pytest.mark.play
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_an_atari_episode_is_the_same_for_any_number_of_lanes(kind: str) -> None:
    need("ale_py")
    env = EnvSpec(
        "quarl.envs.atari:quarl/Atari-v0", {"game": "pong", "repeat_action_probability": 0.25}
    )
    few, many = (run_episodes(env, players()[kind], [11, 12, 13], lanes=lanes) for lanes in (2, 3))
    np.testing.assert_array_equal(few.returns, many.returns)
    np.testing.assert_array_equal(few.lengths, many.lengths)


@pytest.mark.play
def test_a_large_network_goes_in_batches_and_no_row_depends_on_the_others() -> None:
    rng = np.random.default_rng(0)
    policy = mlp(rng, (8, 1000, 1000, 4))
    obs = rng.normal(0, 1, (70, 8)).astype(np.float32)
    assert policy.parameter_count >= actors._LARGE
    outputs = actors._batch_outputs(policy)
    whole = outputs(obs)
    alone = np.concatenate([outputs(obs[row : row + 1]) for row in range(len(obs))])
    np.testing.assert_array_equal(whole, alone)
    np.testing.assert_allclose(whole, policy.outputs(obs), rtol=1e-4, atol=1e-5)
    exact = actors._float64_outputs(policy)(obs)
    np.testing.assert_array_equal(float64_actor(policy)(obs), exact.argmax(axis=1))
