"""Spaces as a user writes them: `box:12:-1..1`, `discrete:4`, `vector:48`, `image:84x84x4`.

In: the text of --action, --observation or a contract file. Out: an action or an observation of the
contract. So a policy whose simulator is not at hand needs no environment to be understood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from quarl.errors import InputError
from quarl.graph.contract import Action, Observation
from quarl.graph.picture import NamedPart, Picture

MOST_VALUES = 1 << 20
ACTIONS = (
    "box:12 (no bounds), box:12:-1..1, box:2:-1..1,0..5, discrete:4, discrete:3:-1 (counted from "
    "-1), multidiscrete:3,3,2, multibinary:4; of choices also discrete:4:sampled (drawn from the "
    "softmax of the outputs, as in training)"
)
SAMPLED = ":sampled"
OBSERVATIONS = "vector:48, image:84x84x4, or parts of one: image:84x84x3+vector:6"
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|inf)"


def action_from(text: str, where: str) -> Action:
    """Return the action a text states.

    Raises:
        InputError: it states none; says what it may be.
    """
    if text.endswith(SAMPLED):
        action = action_from(text.removesuffix(SAMPLED), where)
        if not action.is_choice:
            raise InputError(f"{where} {text}: only choices can be sampled: one of {ACTIONS}")
        return replace(action, sampled=True)
    kind, _, rest = text.partition(":")
    count, _, tail = rest.partition(":")
    match kind:
        case "discrete" if _is_count(count) and re.fullmatch(r"-?\d{1,9}|", tail):
            return Action("discrete", int(count), start=int(tail or 0))
        case "multidiscrete" if re.fullmatch(r"\d{1,6}(,\d{1,6})*", rest):
            counts = tuple(int(number) for number in rest.split(","))
            return Action("multi_discrete", sum(counts), counts=counts)
        case "multibinary" if _is_count(count) and not tail:
            return Action("multi_discrete", 2 * int(count), counts=(2,) * int(count))
        case "box" if _is_count(count):
            return _box(int(count), tail, f"{where} {text}")
    raise InputError(f"{where} {text}: states no action, it must be one of {ACTIONS}")


def observation_from(text: str, where: str) -> Observation:
    """Return the observation a text states; a picture's channels are its shortest side. Parts
    joined by + follow one another in one vector.

    Raises:
        InputError: it states none; says what it may be.
    """
    if "+" in text:
        return _joined([observation_from(part, where) for part in text.split("+")], where)
    kind, _, rest = text.partition(":")
    if kind == "vector" and _is_count(rest):
        return Observation((int(rest),), "float32", "vector")
    if kind == "image" and re.fullmatch(r"\d{1,5}x\d{1,5}x\d{1,5}", rest):
        first, second, third = (int(length) for length in rest.split("x"))
        is_first = first < min(second, third)
        return Observation((first, second, third), "uint8", "chw" if is_first else "hwc")
    raise InputError(f"{where} {text}: states no observation, it must be {OBSERVATIONS}")


def _joined(parts: Sequence[Observation], where: str) -> Observation:
    """Return vectors and pictures as one vector, one after the other."""
    count, pictures = 0, []
    for part in parts:
        if part.is_image:
            pictures.append(Picture(count, *part.graph_shape))
        count += math.prod(part.shape)
    if count > MOST_VALUES:
        raise InputError(f"{where}: {count:,} values, at most {MOST_VALUES:,} are observed")
    named = tuple(NamedPart("", math.prod(part.shape)) for part in parts)
    return Observation((count,), "float32", "vector", pictures=tuple(pictures), parts=named)


def _is_count(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) <= MOST_VALUES


def _box(count: int, bounds: str, where: str) -> Action:
    pairs = (
        [_pair(part, where) for part in bounds.split(",")] if bounds else [(-math.inf, math.inf)]
    )
    if len(pairs) == 1:
        pairs *= count
    if len(pairs) != count:
        raise InputError(f"{where}: has bounds for {len(pairs)} values, give one pair or {count}")
    low, high = zip(*pairs, strict=True)
    return Action("box", count, tuple(low), tuple(high))


def _pair(text: str, where: str) -> tuple[float, float]:
    found = re.fullmatch(rf"({_NUMBER})\.\.({_NUMBER})", text)
    if found is None:
        raise InputError(f"{where}: bounds are written LOW..HIGH, for example -1..1")
    return float(found[1]), float(found[2])
