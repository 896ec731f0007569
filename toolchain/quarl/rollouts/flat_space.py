"""Observations that are not one plain vector, laid out as one: windows, choices, dicts and tuples.

In: a gymnasium space and what an environment gives of it. Out: one vector of float32, and a name
for each of its features. The order is gymnasium's (`gymnasium.spaces.flatten`), which is also that
of Stable-Baselines3: the keys of a dict sorted, a choice as one feature per value, 1 for the chosen
one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

PIXEL_AXES = 3


def is_flattened(space: Any) -> bool:
    """Whether the space is read as one vector: no plain vector or picture, and no picture in it."""
    match space:
        case spaces.Box():
            return len(space.shape) not in (1, PIXEL_AXES)
        case spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
            return True
        case spaces.Dict() | spaces.Tuple():
            parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
            return all(is_flattened(part) or _is_vector(part) for part in parts) and bool(parts)
    return False


def flat_length(space: Any) -> int:
    """Return the features of the vector."""
    return int(spaces.flatdim(space))


def flattened(space: Any, observation: Any) -> NDArray[np.float32]:
    """Return the vector, float32 [features]."""
    return np.asarray(spaces.flatten(space, observation), np.float32)


def flat_names(space: Any, name: str = "") -> tuple[str, ...]:
    """Return a name for each feature of the vector: "goal[0]", "gear=2", "key.part[1]"."""
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


def _is_vector(space: Any) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 1
