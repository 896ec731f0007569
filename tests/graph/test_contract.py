"""The contract: what it refuses, what it decodes, and that its JSON is exact and strict."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.errors import InputError, QuarlError
from quarl.graph.contract import Action, Contract, Normalizer, Observation, box_bounds
from quarl.graph.picture import NamedPart, Picture

VECTOR = Observation(
    (3,),
    "float32",
    "vector",
    ("x", "y", "speed"),
    Normalizer((0.1, -2.0, 1e6), (1.0, 0.0, 3e-9), 1e-8, 10.0),
)
IMAGE = Observation((4, 12, 10), "uint8", "chw")
BOX = Action("box", 2, (-1.0, 0.0), (1.0, 5.0), "unscale")
CONTRACTS = [
    Contract(VECTOR, Action("discrete", 4), 50.0),
    Contract(IMAGE, BOX),
    Contract(Observation((200,), "float32", "vector", pictures=(Picture(5, 8, 7, 3),)), BOX),
    Contract(
        Observation(
            (173,),
            "float32",
            "vector",
            pictures=(Picture(5, 8, 7, 3),),
            parts=(NamedPart("goal", 5), NamedPart("view", 168)),
        ),
        BOX,
    ),
    Contract(
        Observation((3,), "uint8", "vector"),
        replace(BOX, low=(-np.inf, 0.0), transform="clip"),
        1 / 3,
    ),
]
finite = st.floats(allow_nan=False, allow_infinity=False)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_json_gives_the_same_contract_and_the_same_bytes_again(contract: Contract) -> None:
    text = contract.to_json()
    again = Contract.from_json(text)
    assert again == contract
    assert again.to_json() == text
    assert again.digest == contract.digest


@pytest.mark.parametrize(
    "pictures",
    [
        (Picture(33, 8, 7, 3),),
        (Picture(-1, 8, 7, 3),),
        (Picture(0, 8, 0, 3),),
        (Picture(0, 8, 7, 1.0),),  # type: ignore[arg-type]
        (Picture(9, 4, 4, 1), Picture(0, 3, 3, 1)),
        (Picture(0, 4, 4, 1), Picture(15, 3, 3, 1)),
    ],
)
def test_pictures_lie_in_the_vector_one_behind_the_other(pictures: tuple[Picture, ...]) -> None:
    with pytest.raises(InputError, match="a picture of"):
        Observation((200,), "float32", "vector", pictures=pictures)


@pytest.mark.parametrize("counts", [(4, 5), (5, 0), (5.0, 1.0), (6, -1)])
def test_parts_are_the_whole_of_the_vector(counts: tuple[int, ...]) -> None:
    parts = tuple(NamedPart("a", count) for count in counts)
    with pytest.raises(InputError, match="parts of"):
        Observation((5,), "float32", "vector", parts=parts)


@given(
    mean=st.lists(finite, min_size=3, max_size=3),
    epsilon=st.floats(1e-30, 1e30),
    clip=st.floats(1e-30, 1e30),
)
def test_normaliser_keeps_every_bit_in_json(mean: list[float], epsilon: float, clip: float) -> None:
    contract = Contract(
        replace(VECTOR, normalizer=Normalizer(tuple(mean), (0.0, 1.0, 2.0), epsilon, clip)),
        Action("discrete", 4),
    )
    assert Contract.from_json(contract.to_json()) == contract


def test_digest_changes_with_any_field() -> None:
    contract = CONTRACTS[0]
    others = [
        replace(contract, step_hz=50.5),
        replace(contract, step_hz=None),
        replace(contract, action=Action("discrete", 5)),
        replace(contract, observation=replace(VECTOR, names=("x", "y", "z"))),
        replace(contract, observation=replace(VECTOR, normalizer=None)),
    ]
    assert len({c.digest for c in [contract, *others]}) == 6


@pytest.mark.parametrize(
    ("mean", "var", "epsilon", "clip", "found"),
    [
        ((0.0,), (1.0, 1.0), 1e-8, 10.0, "mean has 1 values, var has 2"),
        ((float("nan"),), (1.0,), 1e-8, 10.0, "finite"),
        ((0.0,), (-1.0,), 1e-8, 10.0, ">= 0"),
        ((0.0,), (1.0,), -1e-8, 10.0, ">= 0"),
        ((0.0,), (1.0,), 1e-8, 0.0, "> 0"),
        ((0.0,), (1.0,), 1e-8, float("inf"), "finite"),
        ((0.0,), (0.0,), 0.0, 10.0, "divide by zero"),
    ],
)
def test_normaliser_refuses_numbers_that_cannot_normalise(
    mean: tuple[float, ...], var: tuple[float, ...], epsilon: float, clip: float, found: str
) -> None:
    with pytest.raises(InputError, match=found):
        Normalizer(mean, var, epsilon, clip)


def test_normaliser_is_its_formula_in_float64() -> None:
    obs = np.array([[0.1, 3.0, 1e6 + 1]], np.float32)
    expected = [
        0.0,
        np.clip((3.0 + 2.0) / np.sqrt(1e-8), -10, 10),
        np.clip((float(obs[0, 2]) - 1e6) / np.sqrt(3e-9 + 1e-8), -10, 10),
    ]
    assert VECTOR.normalizer is not None
    np.testing.assert_allclose(VECTOR.normalizer.apply(obs)[0], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "arguments",
    [
        ((), "float32", "vector"),
        ((0,), "float32", "vector"),
        ((3, 4), "float32", "vector"),
        ((3,), "uint8", "hwc"),
        ((84, 84), "uint8", "hwc"),
        ((84, 84, 3), "float32", "hwc"),
        ((84, 84, 3), "uint8", "nhwc"),
        ((3,), "float64", "vector"),
        ((3,), "float32", "vector", ("a", "b")),
        ((3,), "float32", "vector", (), Normalizer((0.0,), (1.0,), 1e-8, 10.0)),
        ((84, 84, 1), "uint8", "hwc", (), Normalizer((0.0,) * 84, (1.0,) * 84, 1e-8, 10.0)),
    ],
)
def test_observation_refuses_what_does_not_fit_together(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"contract|normaliser"):
        Observation(*arguments)


def test_chw_images_become_hwc_and_channels_last_ones_pass() -> None:
    obs = np.arange(2 * 4 * 12 * 10, dtype=np.uint8).reshape(2, 4, 12, 10)
    assert IMAGE.graph_shape == (12, 10, 4)
    np.testing.assert_array_equal(IMAGE.to_graph(obs)[1, 5, 6], obs[1, :, 5, 6])
    np.testing.assert_array_equal(IMAGE.to_graph(obs.transpose(0, 2, 3, 1)), IMAGE.to_graph(obs))


@pytest.mark.parametrize("shape", [(5, 4), (5,), (5, 3, 1), (3,)])
def test_observations_of_another_shape_are_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"the contract says \(3,\)"):
        VECTOR.to_graph(np.zeros(shape))


@pytest.mark.parametrize(
    "arguments",
    [
        ("discrete", 0),
        ("continuous", 2),
        ("box", 2, (0.0,), (1.0, 1.0)),
        ("box", 1, (float("nan"),), (1.0,)),
        ("box", 1, (2.0,), (1.0,)),
        ("box", 1, (0.0,), (1.0,), "tanh"),
        ("box", 1, (0.0,), (float("inf"),), "unscale"),
    ],
)
def test_action_refuses_bounds_that_cannot_be_met(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match="contract"):
        Action(*arguments)


def test_discrete_action_is_the_lowest_index_of_the_largest_output() -> None:
    outputs = np.array([[1, 3, 3, 2], [5, 5, 5, 5], [-2, -1, -3, -1]], np.float32)
    assert Action("discrete", 4).decode(outputs).tolist() == [1, 0, 1]


@given(st.lists(st.tuples(float32s, float32s), min_size=1, max_size=5), st.data())
def test_box_actions_stay_within_their_bounds(
    bounds: list[tuple[float, float]], data: st.DataObject
) -> None:
    low, high = box_bounds([min(b) for b in bounds]), box_bounds([max(b) for b in bounds])
    outputs = np.array(
        [data.draw(st.lists(float32s, min_size=len(low), max_size=len(low)))], np.float32
    )
    decoded = Action("box", len(low), low, high).decode(outputs)
    assert decoded.dtype == np.float32
    assert (decoded >= np.float32(low)).all()
    assert (decoded <= np.float32(high)).all()


def test_unscaled_actions_reach_both_bounds_and_the_middle() -> None:
    decoded = BOX.decode(np.array([[-1, -1], [0, 0], [1, 1], [2, -7]], np.float32))
    np.testing.assert_array_equal(
        decoded, np.array([[-1, 0], [0, 2.5], [1, 5], [1, 0]], np.float32)
    )


def test_actions_are_float32_arithmetic_in_the_stated_order() -> None:
    """Each step rounds to float32, as C on the board does: low + (a + 1) * ((high - low) / 2)."""
    rng = np.random.default_rng(0)
    low, high = np.float32(rng.normal(-1, 1, 7)), np.float32(rng.normal(4, 1, 7))
    action = Action("box", 7, box_bounds(low), box_bounds(high), "unscale")
    outputs = rng.uniform(-1, 1, (50, 7)).astype(np.float32)
    for row, decoded in zip(outputs, action.decode(outputs), strict=True):
        for i, a in enumerate(row):
            half = np.float32(np.float32(high[i] - low[i]) * np.float32(0.5))
            upper = np.float32(a + np.float32(1))
            value = np.float32(low[i] + np.float32(upper * half))
            assert decoded[i] == min(max(value, low[i]), high[i])


@pytest.mark.parametrize("step_hz", [0.0, -1.0, float("nan"), float("inf")])
def test_control_rate_must_be_a_positive_number(step_hz: float) -> None:
    with pytest.raises(InputError, match="step_hz"):
        Contract(IMAGE, BOX, step_hz)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("format",), None),
        (("surprise",), 1),
        (("observation", "surprise"), 1),
        (("observation", "layout"), "foo"),
        (("observation", "dtype"), "float16"),
        (("observation", "shape"), [3.0]),
        (("observation", "shape"), "abc"),
        (("observation", "shape"), [True]),
        (("observation", "names"), "xyz"),
        (("observation", "names"), [1, 2, 3]),
        (("observation", "pixel_scale"), 0.5),
        (("observation", "normalizer", "epsilon"), "1e-8"),
        (("observation", "normalizer", "mean"), [0.1, "a", 1]),
        (("observation", "normalizer", "mean"), [10**400, 0, 0]),
        (("action", "count"), 4.0),
        (("action", "count"), "4"),
        (("action", "kind"), "argmax"),
        (("action", "transform"), "clip"),
        (("action", "low"), [0.0]),
        (("step_hz",), "50"),
        (("step_hz",), 10**400),
    ],
)
def test_a_contract_with_a_field_that_is_not_understood_is_refused(
    path: tuple[str, ...], value: object
) -> None:
    document = json.loads(CONTRACTS[0].to_json())
    table = document
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    with pytest.raises(InputError, match=r"contract"):
        Contract.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", "{", '"x"', "[" * 100_000, '{"format": 1}', "\ud800"]
)
def test_text_that_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="contract"):
        Contract.from_json(text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_contract_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(CONTRACTS)).to_json()
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 12))
    damage = data.draw(
        st.one_of(
            st.text(max_size=6),
            st.sampled_from(["NaN", "Infinity", "1e999", "[]", "null", "-1", "{}", '""']),
        )
    )
    with contextlib.suppress(QuarlError):
        Contract.from_json(text[:start] + damage + text[start + length :])
