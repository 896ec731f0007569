"""Sampled actions: the numbers are PCG32's, the shares are the softmax's, and C draws the same."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.firmware.lower import lower
from quarl.firmware.render_header import render_header
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.env_spec import EnvSpec
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import real_outputs
from quarl.graph.sampling import INCREMENT, draw, sample, seeded
from quarl.graph.softmax import softmax
from quarl.graph.state import StateVector
from quarl.rollouts.episodes import run_episodes
from quarl.rollouts.memory import SampledActor
from quarl.sources.spaces import action_from
from tests.conftest import need
from tests.support.host_build import HostPolicy, kernel_objects
from tests.support.random_policies import Builder, wide_tensor

CHOICE = Action("discrete", 4, start=-1, sampled=True)
SEVERAL = Action("multi_discrete", 7, counts=(4, 3), sampled=True)


def pcg32(seed: int, increment: int) -> Iterator[int]:
    """Yield the numbers as the paper defines them, in whole numbers of Python."""
    state = 0
    for step in range(1 << 30):
        state = (state * 6364136223846793005 + increment) % 2**64
        if step == 0:
            state = (state + seed) % 2**64
            continue
        if step == 1:
            before = state
            continue
        mixed, turn = ((before >> 18 ^ before) >> 27) % 2**32, before >> 59
        yield (mixed >> turn | mixed << (-turn & 31)) % 2**32
        before = state


def first(numbers: Iterator[int], count: int) -> list[int]:
    return [next(numbers) for _ in range(count)]


def test_numbers_are_those_of_pcg32() -> None:
    published = [0xA15C02B7, 0x7B47F409, 0xBA1D3330, 0x83D2F293, 0xBFA4784B, 0xCBED606E]
    assert first(pcg32(42, 54 << 1 | 1), 6) == published
    seeds = [0, 1, 42, 2**63 + 5]
    states, made = seeded(seeds), []
    for _ in range(20):
        numbers, states = draw(states)
        made.append(numbers.tolist())
    wanted = [first(pcg32(seed, int(INCREMENT)), 20) for seed in seeds]
    assert np.array(made).T.tolist() == wanted


def test_choices_fall_as_the_softmax_says() -> None:
    outputs = np.array([[0.5, -1.0, 2.0, 0.0, 1.0, -30.0, 1.5]], np.float32)
    states = seeded(range(20_000))
    drawn, _ = sample(SEVERAL, np.repeat(outputs, len(states), axis=0), states)
    for place, part in enumerate((outputs[:, :4], outputs[:, 4:])):
        shares = np.bincount(drawn[:, place], minlength=part.shape[1]) / len(drawn)
        np.testing.assert_allclose(shares, softmax(part, 1.0)[0], atol=0.012)


def test_draws_of_one_seed_do_not_depend_on_the_others() -> None:
    outputs = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    together, after = sample(CHOICE, outputs, seeded([7, 8, 9]))
    alone, own = sample(CHOICE, outputs[1:2], seeded([8]))
    assert (alone[0], own[0]) == (together[1], after[1])


class _Random(ctypes.Structure):
    _fields_ = (("state", ctypes.c_uint64),)


def policies() -> list[tuple[str, QuantPolicy]]:
    made = []
    for name, action, target in (
        ("int8", CHOICE, wide_tensor(8, 0.04, 3)),
        ("int16", CHOICE, wide_tensor(12, 0.004)),
        ("float", CHOICE, None),
        ("several", SEVERAL, wide_tensor(8, 0.04, -5)),
        ("one way", replace(CHOICE, start=2), wide_tensor(8, 3.0)),
    ):
        builder = Builder(np.random.default_rng(1), (6,))
        builder.dense(action.count, target)
        policy = builder.build()
        made.append((name, replace(policy, contract=replace(policy.contract, action=action))))
    return made


@pytest.mark.every(2)
@pytest.mark.parametrize(("name", "policy"), policies())
def test_c_draws_what_the_host_draws(name: str, policy: QuantPolicy, tmp_path: Path) -> None:
    need("gcc")
    program = lower(policy, "portable")
    host = HostPolicy(program, tmp_path / "host", kernel_objects(tmp_path / "objects", "gcc", ()))
    library, action = host._library, policy.contract.action
    rng = np.random.default_rng(2)
    low, high = (-128, 128) if policy.head_dtype is np.int8 else (-2048, 2048)
    outputs = rng.integers(low, high, (300, action.count)).astype(policy.head_dtype)
    if name == "float":
        outputs = (outputs * np.float32(0.001)).astype(np.float32)
    random, chosen = _Random(), (ctypes.c_int32 * action.width)()
    library.ql_random_seed(ctypes.byref(random), ctypes.c_uint64(12345))
    made = []
    for row in outputs:
        pointer = row.ctypes.data_as(ctypes.c_void_p)
        library.ql_policy_sample(pointer, ctypes.byref(random), chosen)
        made.append(list(chosen))
    states, wanted = seeded([12345]), []
    for row in real_outputs(policy, outputs):
        drawn, states = sample(action, row[None], states)
        wanted.append(np.atleast_1d(drawn[0]).tolist())
    assert made == wanted
    assert random.state == states[0]
    assert len(np.unique(wanted)) > (1 if name == "one way" else 2)


def test_the_header_says_how_to_draw_and_others_do_not_speak_of_it() -> None:
    policy = policies()[0][1]
    text = render_header(lower(policy, "portable"))
    assert "ql_random_seed(&random, seed)" in text
    assert "ql_policy_act_sampled(" in text
    plain = replace(policy.contract.action, sampled=False)
    policy = replace(policy, contract=replace(policy.contract, action=plain))
    assert "random" not in render_header(lower(policy, "portable"))


def cart(gain: float) -> SampledActor:
    def outputs(obs: NDArray[Any]) -> NDArray[np.float32]:
        lean = obs[:, 2] + 0.5 * obs[:, 3]
        return np.stack([-gain * lean, gain * lean], axis=1).astype(np.float32)

    return SampledActor(Action("discrete", 2, sampled=True), outputs)


def test_an_episode_draws_by_its_seed_alone() -> None:
    env, seeds = EnvSpec("CartPole-v1"), [3, 4, 5, 3]
    one = run_episodes(env, cart(3.0), seeds, lanes=1).returns
    many = run_episodes(env, cart(3.0), seeds, lanes=4).returns
    np.testing.assert_array_equal(one, many)
    assert one[0] == one[3]
    assert len(set(one.tolist())) > 1


def test_pairs_share_their_random_numbers() -> None:
    env, seeds = EnvSpec("CartPole-v1"), list(range(12))
    source = run_episodes(env, cart(3.0), seeds).returns
    near = run_episodes(env, cart(3.0 + 1e-6), seeds).returns
    np.testing.assert_array_equal(source, near)
    other = run_episodes(env, cart(3.0), [seed + 100 for seed in seeds]).returns
    assert (source != other).mean() > 0.5


def test_only_choices_are_sampled_and_the_contract_says_so() -> None:
    assert action_from("discrete:4:sampled", "--action") == Action("discrete", 4, sampled=True)
    assert action_from("discrete:4:-1:sampled", "--action") == CHOICE
    assert action_from("multidiscrete:4,3:sampled", "--action") == SEVERAL
    with pytest.raises(InputError, match="only choices can be sampled"):
        action_from("box:3:sampled", "--action")
    seen = Observation((3,), "float32", "vector")
    contract = Contract(seen, CHOICE)
    assert '"sampled": true' in contract.to_json()
    assert Contract.from_json(contract.to_json()) == contract
    assert "sampled" not in Contract(seen, replace(CHOICE, sampled=False)).to_json()
    assert Contract(seen, CHOICE, state=(StateVector("h", 2),)).action.sampled
    with pytest.raises(InputError, match="only choices can be drawn"):
        Action("box", 1, (0.0,), (1.0,), sampled=True)
