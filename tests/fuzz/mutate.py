"""Changes files in a way that keeps most of them whole: bytes, trees of values, text.

In: a good file and a seeded generator. Out: the bytes of a bad one. The same seed gives the same
bytes, so an input is known by its number alone.
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

Mutator = Callable[[bytes, random.Random], bytes]

WORDS = (
    0, 1, 2, 3, 4, 8, 127, 128, 255, 1 << 16, 1 << 24, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE,
    0xFFFF_FFFF,
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, -(1 << 31), 1 << 53,
    (1 << 63) - 1,
    1 << 63, -(1 << 63), 1 << 64, 10**30, 0.0, -0.0, 0.5, 1e-45, 1e-320, 1e38, 3.5e38, 1e308,
    -1e308,
    math.inf, -math.inf, math.nan,
)  # fmt: skip
TEXTS = (
    "", " ", "x", "a" * 70, "a" * 5_000, "\0", "\n", "\x1b[2J", "\u202e", "::error::x",
    "\ud800", "\xff",
    "../../etc/passwd", "/dev/zero", "-", "1", "1e999", "nan", "float32", "relu", "Box",
    "<img src=x>",
    '"); system("touch x"); //', "*/",
    "%s%n", "{{7*7}}", "0" * 64, "0" * 63 + "g",
)  # fmt: skip


def empty() -> tuple[Any, ...]:
    """Return values that hold little, made anew: what is put into one must stand in no other."""
    return (None, True, False, [], {}, [[]], {"": None}, [None] * 40)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with bits flipped, words overwritten, parts cut, moved and doubled."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content)) if content else 0
        match rng.randrange(7):
            case 0 if content:
                content[at] = rng.randrange(256)
            case 1 if content:
                content[at] ^= 1 << rng.randrange(8)
            case 2:
                at &= ~3
                word = rng.choice((*WORDS, len(content), rng.getrandbits(32)))
                content[at : at + 4] = struct.pack("<I", word)
            case 3 if rng.random() < 0.3:
                del content[at:]
            case 4:
                del content[at : at + rng.randint(1, 8)]
            case 5 if content:
                other = rng.randrange(len(content))
                content[at:at] = content[other : other + rng.randint(1, 40)]
            case _:
                content[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(content)


def other_value(value: Any, rng: random.Random) -> Any:
    """Return a value in the place of another one: mostly of its kind, sometimes of any kind."""
    if isinstance(value, bool) and rng.random() < 0.5:
        return not value
    if isinstance(value, int | float) and rng.random() < 0.75:
        near = (value + 1, value - 1, -value, value * 2, value * 1e9)
        return rng.choice((*NUMBERS, *near)) if rng.random() < 0.8 else rng.choice(near)
    if isinstance(value, str) and rng.random() < 0.75:
        at = rng.randint(0, len(value))
        cut = (value[:at], value + value, value[:at] + rng.choice(TEXTS) + value[at:])
        return rng.choice((*TEXTS, *cut))
    return rng.choice((*NUMBERS, *TEXTS, *empty(), _nested(rng)))


def _nested(rng: random.Random) -> Any:
    value: Any = 0
    for _ in range(rng.choice((3, 70, 400))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) of a tree of lists and dicts."""
    pending = [tree]
    while pending:
        node = pending.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            yield node, key
            if isinstance(node[key], dict | list):
                pending.append(node[key])


def changed_tree(tree: Any, rng: random.Random) -> Any:
    """Return a copy of a tree of dicts and lists with a few of its places changed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(tree))
        if not places:
            return other_value(tree, rng)
        node, key = rng.choice(places)
        value = node[key]
        match rng.randrange(8):
            case 0:
                del node[key]
            case 1:
                there, where = rng.choice(places)
                try:
                    node[key] = copy.deepcopy(there[where])
                except LookupError:  # it was removed before
                    node[key] = None
            case 2 if isinstance(node, dict):
                node[rng.choice((*TEXTS[:8], "more", "format"))] = other_value(value, rng)
            case 3 if isinstance(node, dict):
                node[other_text(str(key), rng)] = node.pop(key)
            case 4 if isinstance(node, list):
                node.insert(rng.randint(0, len(node)), other_value(value, rng))
            case 5 if isinstance(node, list):
                node *= rng.choice((2, 3, 60))
            case _:
                node[key] = other_value(value, rng)
    return tree


def other_text(value: str, rng: random.Random) -> str:
    """Return another name in the place of one."""
    at = rng.randint(0, len(value))
    return rng.choice((*TEXTS, value[:at], value + "x", value.upper(), value[at:] + value[:at]))


def json_bytes(tree: Any) -> bytes:
    """Return JSON, also of what JSON cannot hold: NaN, halves of characters."""
    return json.dumps(tree, allow_nan=True).encode("utf-8", "surrogatepass")


def changed_json(data: bytes, rng: random.Random) -> bytes:
    """Return another JSON document of nearly the same form, rarely damaged text."""
    if rng.random() < 0.15:
        return damaged(data, rng)
    if rng.random() < 0.01:  # deeper than any tree that Python writes
        return b"[" * 100_000 if rng.random() < 0.5 else b'{"a":' * 100_000
    text = json_bytes(changed_tree(json.loads(data), rng))
    if rng.random() < 0.05:  # a number of many digits, which no tree can hold as itself
        text = re.sub(rb"-?\d+", lambda _: b"9" * rng.choice((400, 5_000)), text, count=1)
    return text


_TOKENS = re.compile(r'"(?:\\.|[^"\\\n])*"|[\w.+-]+|[^\w\s]|\s+')


def changed_text(data: bytes, rng: random.Random) -> bytes:
    """Return another text of lines and tokens, such as TOML."""
    if rng.random() < 0.1:
        return damaged(data, rng)
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                del lines[at]
            case 1:
                lines.insert(rng.randint(0, len(lines)), lines[at])
            case 2:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                depth = rng.choice((2, 60, 70, 500, 4_000))
                key = ".".join("a" * depth)
                lines.insert(at, rng.choice((f"{key} = 1", f"b = {'[' * depth}1{']' * depth}")))
            case _:
                lines[at] = _other_token(lines[at], rng)
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _other_token(line: str, rng: random.Random) -> str:
    tokens = _TOKENS.findall(line)
    if not tokens:
        return rng.choice(TEXTS)
    at = rng.randrange(len(tokens))
    values = (
        *(str(number) for number in NUMBERS), *(json.dumps(text) for text in TEXTS), *TEXTS,
        "[]", "{}", "{a = 1}", "[1, 'x']", "true", "1979-05-27", "9" * 5_000, "0x" + "f" * 40,
        "'''", '"""',
        "[[", "]]", "=", ".", "nan", "-inf", "1_0", "+99",
    )  # fmt: skip
    tokens[at] = rng.choice(values)
    return "".join(tokens)
