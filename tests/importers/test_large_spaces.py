"""Spaces of Stable-Baselines3 are a few letters that may stand for billions of features."""

from __future__ import annotations

from typing import Any

import pytest

from quarl.errors import InputError
from quarl.importers.sb3.spaces import MOST_VALUES, action_from, observation_from

DIGITS = "9" * 5_000


def space(kind: str, **fields: Any) -> dict[str, Any]:
    return {":type:": f"<class 'gymnasium.spaces.{kind.lower()}.{kind}'>", **fields}


@pytest.mark.parametrize(
    "fields",
    [
        space("MultiBinary", n=16_000_000),
        space("Discrete", n=16_000_000, start=0),
        space("MultiDiscrete", nvec="[1000000 1000000]"),
        space("Box", _shape=[4_000, 4_000], dtype="float32"),
        space("Dict", spaces="OrderedDict('a': MultiBinary(900000), 'b': MultiBinary(900000))"),
        space("Dict", spaces=f"OrderedDict('a': Discrete({DIGITS}))"),
        space("Dict", spaces=f"OrderedDict('a': MultiBinary({DIGITS}))"),
        space("Dict", spaces=f"OrderedDict('a': MultiDiscrete([{DIGITS} 2]))"),
        space("Dict", spaces=f"OrderedDict('a': Box(0, 1, ({DIGITS}, 2), float32))"),
    ],
    ids=lambda fields: f"{fields[':type:'][25:-2]}-{len(str(fields))}",
)
def test_a_space_of_more_than_a_million_features_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="more than 1,048,576 values"):
        observation_from(fields, "policy.zip")


def test_actions_of_more_bits_than_that_are_refused() -> None:
    with pytest.raises(InputError, match="more than 1,048,576 values"):
        action_from(space("MultiBinary", n=999_999_999_999), "policy.zip")


def test_the_largest_space_is_read() -> None:
    assert MOST_VALUES == 1 << 20
    observation = observation_from(space("MultiBinary", n=1_000), "policy.zip")
    assert observation.shape == (1_000,)
