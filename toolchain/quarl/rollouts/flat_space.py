"""Observations that are not one plain vector, laid out as one: windows, choices, dicts and tuples.

In: a gymnasium space and what an environment gives of it. Out: one vector of float32, and a name
for each of its features. The order is gymnasium's (`gymnasium.spaces.flatten`), which is also that
of Stable-Baselines3: the keys of a dict sorted, a choice as one feature per value, 1 for the chosen
one. The pixels of a picture are laid out row by row, the channels of one side by side, whether the
environment gives its channels last or first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from quarl.graph.picture import NamedPart, Picture

PIXEL_AXES = 3
BRIGHTEST = 255


def is_flattened(space: Any) -> bool:
    """Whether the space is read as one vector: no plain vector or picture."""
    match space:
        case spaces.Box():
            return len(space.shape) not in (1, PIXEL_AXES)
        case spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
            return True
        case spaces.Dict() | spaces.Tuple():
            parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
            return bool(parts) and all(
                is_flattened(part) or isinstance(part, spaces.Box) for part in parts
            )
    return False


def is_picture(space: Any) -> bool:
    """Whether the space is pixels: bytes from 0 to 255 on three axes."""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) == PIXEL_AXES
        and space.dtype == np.uint8
        and bool((space.low == 0).all() and (space.high == BRIGHTEST).all())
    )


def has_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether a picture's first axis is its channels: the shortest, as Stable-Baselines3 decides
    it.
    """
    return int(np.argmin(shape)) == 0


def pictures_in(space: Any) -> tuple[Picture, ...]:
    """Return where in the vector of a dict or tuple its pictures lie; none of a picture alone."""
    if is_picture(space):
        return ()
    found, first = [], 0
    for _, part in _leaves(space):
        if is_picture(part):
            shape = part.shape
            found.append(
                Picture(first, *(shape[1:] + shape[:1] if has_channels_first(shape) else shape))
            )
        first += int(spaces.flatdim(part))
    return tuple(found)


def parts_in(space: Any) -> tuple[NamedPart, ...]:
    """Return the parts of a dict or tuple that holds a picture, in the order of its vector."""
    if not pictures_in(space):
        return ()
    return tuple(NamedPart(name, int(spaces.flatdim(part))) for name, part in _leaves(space))


def _leaves(space: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a dict or tuple holds, and its name: "goal", "key.part"."""
    match space:
        case spaces.Dict():
            for key, part in space.spaces.items():
                yield from _leaves(part, f"{name}.{key}".lstrip("."))
        case spaces.Tuple():
            for place, part in enumerate(space.spaces):
                yield from _leaves(part, f"{name}{place}")
        case _:
            yield name, space


def flat_length(space: Any) -> int:
    """Return the features of the vector."""
    return int(spaces.flatdim(space))


def flattened(space: Any, observation: Any) -> NDArray[np.float32]:
    """Return the vector, float32 [features]."""
    vector = np.asarray(spaces.flatten(space, observation), np.float32)
    first = 0
    for _, part in _leaves(space):
        count = int(spaces.flatdim(part))
        if is_picture(part) and has_channels_first(part.shape):
            pixels = vector[first : first + count].reshape(part.shape)
            vector[first : first + count] = pixels.transpose(1, 2, 0).ravel()
        first += count
    return vector


def flat_names(space: Any, name: str = "") -> tuple[str, ...]:
    """Return a name for each feature of the vector: "goal[0]", "gear=2", "key.part[1]"; none where
    a picture is among them.
    """
    if pictures_in(space):
        return ()
    match space:
        case spaces.Dict():
            parts = [
                flat_names(part, f"{name}.{key}".lstrip(".")) for key, part in space.spaces.items()
            ]
            return tuple(word for part in parts for word in part)
        case spaces.Tuple():
            parts = [flat_names(part, f"{name}{place}") for place, part in enumerate(space.spaces)]
            return tuple(word for part in parts for word in part)
        case spaces.Discrete():
            return tuple(f"{name}={space.start + place}" for place in range(space.n))
        case spaces.MultiDiscrete():
            pairs = zip(space.nvec.ravel(), space.start.ravel(), strict=True)
            return tuple(
                f"{name}[{place}]={start + value}"
                for place, (count, start) in enumerate(pairs)
                for value in range(count)
            )
        case _:
            axes = [range(length) for length in space.shape]
            places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
            return tuple(f"{name}[{','.join(map(str, place))}]" for place in places.tolist())
