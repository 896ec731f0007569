"""JSON documents: what is written comes back; what cannot be is refused, in bounded time and
memory.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.errors import InputError
from quarl.files.documents import (
    MOST_LEVELS,
    Count,
    Digest,
    Document,
    Identifier,
    Line,
    Name,
    Share,
    decode,
    encode,
    read_json,
)
from tests.files.test_text import CONTROLS, HOSTILE

DOCUMENT = Document("a test", 3, "write it again")


@dataclass(frozen=True, slots=True)
class Inner:
    count: Count
    share: Share = 0.5


@dataclass(frozen=True, slots=True)
class Outer:
    name: Name
    digest: Digest
    line: Line
    key: Identifier
    inner: tuple[Inner, ...]
    table: Mapping[str, float]
    maybe: Inner | None = None


GOOD = Outer("nav", "0f" * 32, "a: b/c", "mean_return", (Inner(3, 0.25),), {"a": 1.5})


def damaged(**changes: Any) -> bytes:
    return json.dumps({**json.loads(encode(GOOD, DOCUMENT)), **changes}).encode()


def test_a_value_comes_back_as_it_was_written() -> None:
    data = encode(GOOD, DOCUMENT)
    assert decode(Outer, data, "x.json", DOCUMENT) == GOOD
    assert encode(decode(Outer, data, "x.json", DOCUMENT), DOCUMENT) == data


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2}, {"format": True}, {"format": "3"}, {"format": 3.5}, {"surprise": 1},
        {"name": ""}, {"name": "a/b"}, {"name": "a\nb"}, {"name": 7}, {"name": "x" * 201},
        {"digest": "0" * 63}, {"digest": "0F" * 32}, {"digest": "0" * 64 + "\n"}, {"digest": None},
        {"line": "a\tb"}, {"line": "\u202e"}, {"line": "x" * 2001}, {"line": "\ud800"},
        {"key": "Mean"}, {"key": "a-b"}, {"key": "x" * 65}, {"key": "mean\n"},
        {"inner": {}}, {"inner": None}, {"inner": [{"count": -1}]}, {"inner": [{"count": 1.0}]},
        {"inner": [{"count": True}]}, {"inner": [{"count": "1"}]}, {"inner": [{}]},
        {"inner": [{"count": 1, "share": 1.01}]}, {"inner": [{"count": 1, "more": 1}]},
        {"table": {"a": "1"}}, {"table": {"a": None}}, {"table": []}, {"maybe": []},
    ],
    ids=lambda changes: repr(changes)[:40],
)  # fmt: skip
def test_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"x\.json"):
        decode(Outer, damaged(**changes), "x.json", DOCUMENT)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_gives_orders(text: str) -> None:
    hostile = bool(set(text) & set(CONTROLS)) or "\n" in text or "\ud800" in text
    for field in ("name", "key", "line"):
        try:
            decode(Outer, damaged(**{field: text}), "x.json", DOCUMENT)
        except InputError:
            continue
        assert not hostile


SHALLOW = b"[" * MOST_LEVELS + b"]" * MOST_LEVELS
HOSTILE_BYTES = {
    "nothing": b"",
    "cut": b"{",
    "list": b"[]",
    "text": b"not JSON",
    "binary": b"\xff\xfe\x00",
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"a":' * 200_000,
    "closed deep": b"[" * 5000 + b"]" * 5000,
    "digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "quotes": b'"' + b'\\"' * 500_000,
    "backslashes": b'"' + b"\\" * 1_000_001,
    "more quotes": b'"' * 1_000_001,
    "twice": b'{"a": 1, "a": 2}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "beyond": b'{"a": -1e101}',
    "whole beyond": b'{"a": 1' + b"0" * 101 + b"}",
    "many lists": b'{"a": [' + b"[]," * 340_000 + b"[]]}",
    "many objects": b'{"a": [' + b"{}," * 340_000 + b"{}]}",
}


@pytest.mark.long
@pytest.mark.parametrize("data", HOSTILE_BYTES.values(), ids=HOSTILE_BYTES)
def test_hostile_bytes_are_refused_in_little_memory(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(InputError, match=r"x\.json: is not a test|format"):
        decode(Outer, data, "x.json", DOCUMENT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


def test_brackets_in_strings_do_not_count_and_levels_within_the_bound_do_not_matter() -> None:
    assert read_json(b'{"a": "' + b"[" * 1000 + b'\\""}', "x", DOCUMENT) == {"a": "[" * 1000 + '"'}
    assert read_json(b'{"a":' + SHALLOW[1:-1] + b"}", "x", DOCUMENT)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        decode(Outer, data, "x.json", DOCUMENT)
