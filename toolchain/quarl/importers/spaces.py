"""What a gymnasium environment says about observations and actions, for files that do not say it
themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quarl.errors import UnsupportedError
from quarl.graph.contract import Action, Layout, Observation, box_bounds
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.flat_space import (
    flat_length,
    flat_names,
    has_channels_first,
    is_flattened,
    is_picture,
    parts_in,
    pictures_in,
)
from quarl.rollouts.foreign_env import make_env


def spaces_of(env: EnvSpec) -> tuple[Observation, Action]:
    """Return the observation and action of an environment.

    Raises:
        InputError: there is no such environment, or it needs a package that is missing.
        UnsupportedError: a space the contract cannot hold; names it.
    """
    made = make_env(env)
    try:
        observation = observation_of(made.observation_space, env.id)
        if made.feature_names:
            observation = replace(observation, names=made.feature_names)
        observation = replace(observation, pictures=made.pictures, parts=made.parts)
        return observation, action_of(made.action_space, env.id)
    finally:
        made.close()


def rate_of(env: EnvSpec) -> float | None:
    """Return the control rate in Hz that an environment states, `render_fps` of its metadata; None
    where it states none.

    Raises:
        InputError: as `spaces_of`.
    """
    made = make_env(env)
    stated = made.metadata.get("render_fps")
    made.close()
    if not isinstance(stated, int | float | np.integer | np.floating):
        return None
    rate = float(stated)
    return rate if np.isfinite(rate) and rate > 0 else None


def observation_of(space: Any, where: str) -> Observation:
    """Return the observation of a gymnasium space: pixels (uint8, 0 to 255, three axes), or a
    vector, into which windows, choices, dicts and tuples are laid out.
    """
    from gymnasium.spaces import Box

    if is_flattened(space):
        seen = Observation((flat_length(space),), "float32", "vector", flat_names(space))
        return replace(seen, pictures=pictures_in(space), parts=parts_in(space))
    if not isinstance(space, Box):
        raise UnsupportedError(
            f"{where}: observations are {type(space).__name__}, carried over are vectors, choices, "
            "a uint8 picture, and dicts and tuples of them: flatten it with a wrapper"
        )
    if len(space.shape) == 1:
        return Observation(tuple(space.shape), "float32", "vector")
    if is_picture(space):
        layout: Layout = "chw" if has_channels_first(space.shape) else "hwc"
        return Observation(tuple(space.shape), "uint8", layout)
    raise UnsupportedError(
        f"{where}: observations are {space.dtype} of shape {space.shape}, only a vector or "
        "uint8 pixels [height, width, channels] "
        "from 0 to 255 are carried over: wrap the environment "
        "(gymnasium.wrappers.FlattenObservation, FrameStackObservation)"
    )


def action_of(space: Any, where: str) -> Action:
    """Return the action of a gymnasium space: a choice, several choices, or a Box with one axis
    (transform "clip"), whose bounds may be infinite.
    """
    from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

    if isinstance(space, Discrete):
        return Action("discrete", int(space.n), start=int(space.start))
    if isinstance(space, MultiDiscrete) and space.nvec.ndim == 1 and not space.start.any():
        return several_choices(space.nvec.tolist())
    if isinstance(space, MultiBinary) and isinstance(space.n, int | np.integer):
        return several_choices([2] * int(space.n))
    if isinstance(space, Box):
        if len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
            raise UnsupportedError(
                f"{where}: actions are {space.dtype} of shape {space.shape}, only one axis of "
                "floats is carried over"
            )
        return Action("box", space.shape[0], box_bounds(space.low), box_bounds(space.high))
    raise UnsupportedError(
        f"{where}: {space} actions are not carried over: only Discrete, MultiDiscrete and "
        "MultiBinary with one axis, and Box are"
    )


def several_choices(counts: Sequence[int]) -> Action:
    """Return the action of several choices; MultiBinary is choices between two."""
    return Action("multi_discrete", sum(counts), counts=tuple(counts))
