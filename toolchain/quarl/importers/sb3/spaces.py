"""Spaces as a Stable-Baselines3 zip describes them: a printed form beside a pickle that is never
loaded.

In: the JSON of one space. Out: what the policy observes or does. Choices, windows and dicts become
one vector with a name for each feature, in the order of `quarl.rollouts.flat_space`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, product
from typing import Any

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Action, Observation
from quarl.graph.picture import NamedPart, Picture

NUMBER = re.compile(r"-?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf)|nan")
MOST_VALUES = 1 << 20  # each has a name, which takes a hundred bytes
MOST_DIGITS = 12
Names = tuple[str, ...]
_PRINTED = re.compile(  # of one space inside a Dict or a Tuple
    r"Box\(([^,()]*, [^,()]*), \(([\d, ]*)\), (\w+)\)"
    r"|Discrete\((\d+)(?:, start=(-?\d+))?\)"
    r"|MultiDiscrete\(\[([\d ]+)\]\)"
    r"|MultiBinary\((\d+)\)"
)


def kind_of(fields: Mapping[str, Any]) -> str:
    """Return the class of a space, such as "Box"; empty where there is none."""
    found = re.search(r"\b(\w{1,80})'>$", str(fields.get(":type:", "")))
    return found[1] if found else ""


def observation_from(fields: Mapping[str, Any], file: str) -> Observation:
    """Return what the policy observes.

    Raises:
        InputError: the description is damaged.
        UnsupportedError: a space the contract does not hold; names it.
    """
    match kind_of(fields):
        case "Box":
            shape = _shape(fields, file)
            if len(shape) == 3:
                return _picture(fields, shape, file)
            if len(shape) == 1:
                return Observation(shape, "float32", "vector")
            return _vector(_places(shape), file)
        case "Discrete":
            count, start = (_whole(fields.get(key, 0), key, file) for key in ("n", "start"))
            return _vector(_choices("", count, start), file)
        case "MultiDiscrete":
            return _vector(_several_choices("", _counts(fields, file)), file)
        case "MultiBinary":
            return _vector(_places((_whole(fields.get("n", 0), "n", file),)), file)
        case "Dict" | "Tuple" as kind:
            return _joined(parts_of(kind, str(fields.get("spaces", "")), file), file)
        case kind:
            raise UnsupportedError(
                f"{file}: {kind} observations are not carried over: flatten them with a wrapper "
                "into a Box and retrain"
            )


def action_from(fields: Mapping[str, Any], file: str) -> Action:
    """Return what the policy does; a box is clipped to its bounds.

    Discrete actions count from 0: Stable-Baselines3 hands the environment the index, whatever the
    space's start.

    Raises:
        InputError: the description is damaged.
        UnsupportedError: a space the contract does not hold; names it.
    """
    match kind_of(fields):
        case "Discrete":
            return Action("discrete", _whole(fields.get("n"), "n", file))
        case "MultiDiscrete":
            counts = _counts(fields, file)
            return Action("multi_discrete", sum(counts), counts=counts)
        case "MultiBinary":
            count = _whole(fields.get("n", 0), "n", file)
            _check_count(count, file)
            return Action("multi_discrete", 2 * count, counts=(2,) * count)
        case "Box" if len(shape := _shape(fields, file)) == 1:
            low, high = _numbers(fields, "low"), _numbers(fields, "high")
            return Action("box", shape[0], low, high)
        case kind:
            raise UnsupportedError(
                f"{file}: {kind} actions of shape {fields.get('_shape')} are not carried over: "
                "only Discrete, MultiDiscrete, MultiBinary and a Box with one axis are"
            )


def is_cut(fields: Mapping[str, Any]) -> bool:
    """Whether the zip prints the bounds of a box only in part, as it does with long ones."""
    return any("..." in str(fields.get(key, "...")) for key in ("low", "high"))


def box_length(fields: Mapping[str, Any], file: str) -> int | None:
    """Return the values of a box with one axis, None of other spaces."""
    shape = _shape(fields, file) if kind_of(fields) == "Box" else ()
    return shape[0] if len(shape) == 1 else None


def _picture(fields: Mapping[str, Any], shape: tuple[int, ...], file: str) -> Observation:
    dtype = str(fields.get("dtype"))
    pixels = set(_numbers(fields, "low")) == {0.0} and set(_numbers(fields, "high")) == {255.0}
    if dtype == "uint8" and pixels:
        return Observation(shape, "uint8", "chw")
    raise UnsupportedError(
        f"{file}: observations are {dtype} of shape {shape}, only a vector or uint8 pixels from 0 "
        "to 255 are carried over: use FlattenObservation, or keep the pixels uint8 and let the "
        "policy divide them"
    )


def _check_count(count: int, file: str) -> None:
    if not 0 < count <= MOST_VALUES:
        raise InputError(
            f"{file}: data has a space of {'more than ' * (count > MOST_VALUES)}"
            f"{min(count, MOST_VALUES):,} values: a policy for a small board observes fewer"
        )


def _vector(names: Names, file: str) -> Observation:
    _check_count(len(names), file)
    return Observation((len(names),), "float32", "vector", names)


@dataclass(frozen=True, slots=True)
class Part:
    """One space inside a Dict or a Tuple: a vector, or a picture with its channels first."""

    key: str
    names: Names
    picture: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Its values."""
        return math.prod(self.picture) if self.picture else len(self.names)


def parts_of(kind: str, printed: str, file: str) -> tuple[Part, ...]:
    """Return what a Dict or a Tuple holds, from its printed form, in its order.

    Raises:
        UnsupportedError: a space inside that is not carried over.
    """
    found = list(_PRINTED.finditer(printed))
    rest = re.sub(r"'[^']*'", "", _PRINTED.sub("", printed)).replace("OrderedDict", "")
    keys = (
        re.findall(r"'([^']*)'\s*[:,]", printed)
        if kind == "Dict"
        else [str(place) for place in range(len(found))]
    )
    if not found or re.search(r"\w", rest) or len(keys) != len(found):
        raise UnsupportedError(
            f"{file}: observations are a {kind} with spaces inside that are not carried over "
            f"({printed[:120]}): flatten them with a wrapper and retrain"
        )
    parts: list[Part] = []
    for key, part in zip(keys, found, strict=True):
        bounds, shape, dtype, count, start, counts, bits = part.groups()
        if shape is not None:
            lengths = tuple(_length(text) for text in shape.split(",") if text.strip())
            is_picture = len(lengths) == 3 and (bounds, dtype) == ("0, 255", "uint8")
            picture = lengths if is_picture else ()
            parts.append(Part(key, () if picture else _places(lengths, key), picture))
        elif count is not None:
            parts.append(Part(key, _choices(key, _length(count), _length(start or "0"))))
        elif counts is not None:
            parts.append(
                Part(key, _several_choices(key, [_length(number) for number in counts.split()]))
            )
        else:
            parts.append(Part(key, _places((_length(bits),), key)))
        if sum(part.count for part in parts) > MOST_VALUES:
            break
    return tuple(parts)


def _length(text: str) -> int:
    """Return a printed number; one of more digits than any space has is more than is read."""
    return int(text) if len(text.strip()) <= MOST_DIGITS else MOST_VALUES + 1


def _joined(parts: tuple[Part, ...], file: str) -> Observation:
    """Return the vector of the parts, one after the other; pictures channels last."""
    names = tuple(name for part in parts for name in part.names)
    if not any(part.picture for part in parts):
        return _vector(names, file)
    count = sum(part.count for part in parts)
    _check_count(count, file)
    firsts = accumulate((part.count for part in parts), initial=0)
    pictures = []
    for first, part in zip(firsts, parts, strict=False):
        if part.picture:
            channels, height, width = part.picture
            pictures.append(Picture(first, height, width, channels))
    named = tuple(NamedPart(part.key, part.count) for part in parts)
    return Observation((count,), "float32", "vector", pictures=tuple(pictures), parts=named)


def _choices(name: str, count: int, start: int) -> Names:
    return tuple(f"{name}={start + place}" for place in range(min(count, MOST_VALUES + 1)))


def _several_choices(name: str, counts: Sequence[int]) -> Names:
    parts = (_choices(f"{name}[{place}]", count, 0) for place, count in enumerate(counts))
    return tuple(islice((word for part in parts for word in part), MOST_VALUES + 1))


def _places(shape: Sequence[int], name: str = "") -> Names:
    if math.prod(shape) > MOST_VALUES:
        return ("",) * (MOST_VALUES + 1)
    places = product(*(range(length) for length in shape))
    return tuple(f"{name}[{','.join(map(str, place))}]" for place in places)


def _counts(fields: Mapping[str, Any], file: str) -> tuple[int, ...]:
    text = str(fields.get("nvec", ""))
    counts = tuple(int(number) for number in re.findall(r"\d{1,9}", text))
    if not counts or text.strip().startswith("[[") or "..." in text:
        raise UnsupportedError(
            f"{file}: a MultiDiscrete space of {text[:60]} is not carried over: only one axis of "
            "choices is"
        )
    return counts


def _shape(fields: Mapping[str, Any], file: str) -> tuple[int, ...]:
    lengths = fields.get("_shape", fields.get("shape"))
    if not isinstance(lengths, list):
        return ()
    return tuple(_whole(length, "shape", file) for length in lengths)


def _whole(value: object, field: str, file: str) -> int:
    """Return the number, which JSON may hold as a string."""
    if not re.fullmatch(r"-?\d{1,12}", str(value)):
        raise InputError(
            f"{file}: data has {str(value)[:40]!r} for {field} of a space, a whole number belongs "
            "there: save the agent again"
        )
    return int(str(value))


def _numbers(fields: Mapping[str, Any], field: str) -> tuple[float, ...]:
    # the printed digits are those of its own type
    dtype = np.float32 if fields.get("dtype") == "float32" else np.float64
    with np.errstate(over="ignore"):  # a bound too large is infinite
        return tuple(float(dtype(text)) for text in NUMBER.findall(str(fields.get(field, ""))))
