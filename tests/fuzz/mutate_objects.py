"""Changes messages of protobuf and models of FlatBuffers: one field of an object inside says
something else. In: a good file. Out: the bytes of a bad one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fuzz.mutate import NUMBERS, TEXTS, WORDS, Mutator, damaged, other_text
from tests.fuzz.mutate_formats import as_number


def proto_changer(message_of: Callable[[], Any]) -> Mutator:
    """Return a mutator of protobuf messages of one class."""

    def change(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.1:
            return damaged(data, rng)
        message = message_of()
        message.ParseFromString(data)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change_message(message, rng)
        written: bytes = message.SerializePartialToString()
        return written

    return change


def _change_message(message: Any, rng: random.Random) -> None:
    """Change one field of a message or of one inside it, which is found by walking down."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = rng.choice(fields)
        repeated = hasattr(value, "__delitem__") and not isinstance(value, str | bytes)
        inner = value
        if repeated and not hasattr(value, "keys"):
            if not len(value) or rng.random() < 0.12:
                _change_list(value, rng)
                return
            inner = value[rng.randrange(len(value))]
        elif hasattr(value, "keys"):  # a map
            key = rng.choice(sorted(value))
            if rng.random() < 0.1 or not hasattr(value[key], "ListFields"):
                del value[key]
                return
            inner = value[key]
        if hasattr(inner, "ListFields"):
            if rng.random() < 0.06 and not repeated:
                message.ClearField(field.name)
                return
            message = inner
            continue
        other = _other_scalar(inner, rng)
        try:
            if repeated:
                value[rng.randrange(len(value))] = other
            else:
                setattr(message, field.name, other)
        except (TypeError, ValueError):
            message.ClearField(field.name)
        return


def _change_list(value: Any, rng: random.Random) -> None:
    items = list(value)
    match rng.randrange(4):
        case 0:
            del value[:]
        case 1:
            del value[rng.randrange(len(items))]
        case 2:
            value.extend([rng.choice(items)] * rng.choice((1, 1, 30)))
        case _:
            rng.shuffle(items)
            copies = [_copy(item) for item in items]
            del value[:]
            value.extend(copies)


def _copy(item: Any) -> Any:
    if not hasattr(item, "CopyFrom"):
        return item
    twin = type(item)()
    twin.CopyFrom(item)
    return twin


def _other_scalar(value: Any, rng: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            near = (value + 1, value - 1, value * 2, -value, 1 << 20, 1 << 40)
            return rng.choice((*WORDS, *near, -1, (1 << 63) - 1, -(1 << 63)))
        case float():
            return float(rng.choice([n for n in NUMBERS if abs(n) < 3e38 or n != n]))
        case bytes():
            return damaged(value, rng)
        case str():
            return rng.choice((other_text(value, rng), *TEXTS)).encode("utf-8", "replace").decode()
        case _:
            return None


def changed_flatbuffer(data: bytes, rng: random.Random) -> bytes:
    """Return another model of the TFLite schema: objects of its tables changed and packed again, or
    words of the file itself.
    """
    if rng.random() < 0.4:
        return damaged(data, rng)
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change_object(model, rng)
    builder = flatbuffers.Builder(len(data))
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except Exception:  # the packer itself takes only what fits its types
        return damaged(data, rng)
    return bytes(builder.Output())


def _change_object(thing: Any, rng: random.Random) -> None:
    while True:
        names = [name for name, value in vars(thing).items() if value is not None]
        if not names:
            return
        name = rng.choice(names)
        value = getattr(thing, name)
        if hasattr(value, "__dict__"):
            if rng.random() < 0.05:
                setattr(thing, name, None)
                return
            thing = value
        elif isinstance(value, list) and value and hasattr(value[0], "__dict__"):
            if rng.random() < 0.1:
                setattr(thing, name, _other_list(value, rng))
                return
            thing = rng.choice(value)
        elif isinstance(value, np.ndarray | list) and len(value):
            setattr(thing, name, _other_numbers(value, rng))
            return
        elif isinstance(value, bytes | str):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            setattr(thing, name, other_text(text, rng).encode("utf-8", "replace").decode())
            return
        else:
            setattr(thing, name, _other_scalar(value, rng))
            return


def _other_list(value: list[Any], rng: random.Random) -> list[Any]:
    items = list(value)
    match rng.randrange(3):
        case 0:
            del items[rng.randrange(len(items))]
        case 1:
            items.append(rng.choice(items))
        case _:
            rng.shuffle(items)
    return items


def _other_numbers(value: Any, rng: random.Random) -> Any:
    numbers = np.array(value)
    match rng.randrange(4):
        case 0:
            return numbers[: rng.randint(0, len(numbers))]
        case 1:
            return np.concatenate([numbers, numbers[: rng.randint(1, len(numbers))]])
        case _:
            with np.errstate(all="ignore"):
                index = rng.randrange(len(numbers))
                if numbers.dtype.kind == "f":
                    numbers[index] = as_number(rng, numbers.dtype)
                else:
                    numbers[index] = np.int64(rng.choice((-1, 0, 1, 2, 127, 255, 65_536))).astype(
                        numbers.dtype
                    )
            return numbers
