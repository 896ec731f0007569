"""Strict tables: every kind of problem in the words of one reader; schemas that say the same."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import Field

from quarl.errors import InputError
from quarl.files.tables import (
    Count,
    Flag,
    NotNegative,
    Number,
    OneOf,
    Settings,
    Share,
    Text,
    Whole,
    schema_of,
    table,
    value_from,
)


@table
@dataclass(frozen=True, slots=True)
class Inner:
    """A table in a table."""

    start: Whole
    length: Count


@table
@dataclass(frozen=True, slots=True)
class Outer:
    """Every kind of value."""

    name: Text
    animal: Annotated[str, OneOf(["cat", "dog"])]
    inner: Inner
    waits: Whole | Literal["unknown"]
    mode: Literal["slow", "fast"] = "slow"
    parts: tuple[Inner, ...] = ()
    words: Annotated[tuple[Text, ...], Field(min_length=1)] = ("a",)
    number: Number = 0.0
    above: Annotated[Number, Field(gt=0, le=1)] = 0.5
    share: Share = 0.5
    flag: Flag = False
    other: Inner | None = None
    settings: Settings = field(default_factory=dict)
    limits: Mapping[str, NotNegative] = field(default_factory=dict)


GOOD: dict[str, Any] = {
    "name": "a",
    "animal": "cat",
    "inner": {"start": 0, "length": 1},
    "waits": 3,
}


def test_values_arrive_as_the_dataclass_declares_them() -> None:
    more = {"parts": [{"start": 1, "length": 2}], "words": ["x"], "number": 2, "waits": "unknown"}
    value = value_from(Outer, GOOD | more, "here")
    assert value.parts == (Inner(1, 2),)
    assert value.words == ("x",)
    assert type(value.number) is float
    assert value.waits == "unknown"
    assert value.other is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name: ''; allowed: text that is not empty"),
        ({"name": 5}, "name: 5; allowed: text that is not empty"),
        ({"animal": "cot"}, 'animal: \'cot\'; allowed: "cat", "dog" (did you mean cat?)'),
        ({"mode": "quick"}, 'mode: \'quick\'; allowed: "slow", "fast"'),
        ({"inner": 5}, "inner: 5; allowed: a table of start, length"),
        ({"inner": {"start": 1}}, "inner.length: missing; it is a whole number from 1"),
        ({"inner": {"start": 1.0, "length": 1}}, "inner.start: 1.0; allowed: a whole number"),
        ({"inner": {"start": True, "length": 1}}, "inner.start: True; allowed"),
        (
            {"inner": {"start": 0, "length": 1, "lenght": 1}},
            "inner.lenght: unknown key (did you mean length?)",
        ),
        ({"waits": -1}, 'waits: -1; allowed: a whole number from 0 or "unknown"'),
        ({"waits": "many"}, "waits: 'many'; allowed: a whole number from 0 or \"unknown\""),
        ({"parts": {"start": 1}}, "parts: dict; allowed: a list, each a table of start, length"),
        ({"parts": [{"start": 1, "length": 0}]}, "parts[0].length: 0; allowed"),
        ({"words": []}, "words: list; allowed: a list that is not empty, each text"),
        ({"words": ["", "b"]}, "words[0]: ''; allowed: text that is not empty"),
        ({"number": float("nan")}, "number: nan; allowed: a finite number"),
        ({"number": "2"}, "number: '2'; allowed: a finite number"),
        ({"above": 0}, "above: 0; allowed: a number above 0 to 1"),
        ({"share": 1.5}, "share: 1.5; allowed: a number from 0 to 1"),
        ({"flag": 1}, "flag: 1; allowed: true or false"),
        ({"other": []}, "other: list; allowed: a table of start, length"),
        ({"limits": {"a": -1}}, "limits.a: -1; allowed: a number from 0"),
        (
            {"settings": {"a": {"b": [datetime.date(2026, 1, 1)]}}},
            "settings: a b is datetime.date(2026, 1, 1); allowed: text, a number",
        ),
        ({"nam": 1}, "nam: unknown key (did you mean name?); known here: name, animal,"),
        ({"zzz": 1}, "zzz: unknown key; known here: name, animal,"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        value_from(Outer, GOOD | change, "here")
    assert str(error.value).startswith("here: 1 problem:\n")
    assert message in str(error.value)


def test_all_problems_are_reported_together_each_once() -> None:
    with pytest.raises(InputError) as error:
        value_from(Outer, {"animal": 5, "waits": None, "inner": {"x": 1}, "flag": "no"}, "here")
    lines = str(error.value).splitlines()
    assert lines[0] == "here: 7 problems:"
    keys = ["name", "animal", "inner.start", "inner.length", "inner.x", "waits", "flag"]
    assert [line.strip().partition(":")[0] for line in lines[1:]] == keys


def test_contradictions_are_reported_once_each_value_is_right() -> None:
    def contradictions(value: Outer) -> list[str]:
        return [f"name: {value.name!r}; allowed: b"]

    with pytest.raises(InputError, match="name: 'a'; allowed: b"):
        value_from(Outer, GOOD, "here", contradictions)
    with pytest.raises(InputError, match="flag: 1"):
        value_from(Outer, GOOD | {"flag": 1}, "here", contradictions)


def test_the_schema_allows_what_the_reader_allows() -> None:
    validator = jsonschema.Draft202012Validator(schema_of(Outer))
    validator.check_schema(validator.schema)
    assert validator.is_valid(GOOD)
    for change in ({"waits": -1}, {"animal": "cot"}, {"zzz": 1}, {"share": 2}, {"other": None}):
        assert not validator.is_valid(GOOD | change)
