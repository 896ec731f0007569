"""What a gymnasium environment says about observations and actions, for files that do not say it
themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quarl.errors import UnsupportedError
from quarl.graph.contract import Action, Observation, box_bounds
from quarl.rollouts.foreign_env import EnvSpec, make_env


def spaces_of(env: EnvSpec) -> tuple[Observation, Action]:
    """Return the observation and action of an environment.

    Raises:
        InputError: there is no such environment, or it needs a package that is missing.
        UnsupportedError: a space the contract cannot hold; names it.
    """
    made = make_env(env)
    try:
        return observation_of(made.observation_space, env.id), action_of(made.action_space, env.id)
    finally:
        made.close()


def observation_of(space: Any, where: str) -> Observation:
    """Return the observation of a gymnasium space: a Box with one axis, or pixels (uint8, 0 to 255,
    three axes).
    """
    from gymnasium.spaces import Box

    if not isinstance(space, Box):
        raise UnsupportedError(
            f"{where}: observations are {type(space).__name__}, only Box is carried over: "
            "flatten it with a wrapper"
        )
    if len(space.shape) == 1:
        return Observation(tuple(space.shape), "float32", "vector")
    if (
        len(space.shape) == 3
        and space.dtype == np.uint8
        and (space.low == 0).all()
        and (space.high == 255).all()
    ):
        return Observation(
            tuple(space.shape), "uint8", "chw" if int(np.argmin(space.shape)) == 0 else "hwc"
        )
    raise UnsupportedError(
        f"{where}: observations are {space.dtype} of shape {space.shape}, only a vector or "
        "uint8 pixels [height, width, channels] "
        "from 0 to 255 are carried over: wrap the environment "
        "(gymnasium.wrappers.FlattenObservation, FrameStackObservation)"
    )


def action_of(space: Any, where: str) -> Action:
    """Return the action of a gymnasium space: Discrete from 0, or a bounded Box with one axis
    (transform "clip").
    """
    from gymnasium.spaces import Box, Discrete

    if isinstance(space, Discrete):
        if int(space.start) != 0:
            raise UnsupportedError(
                f"{where}: discrete actions start at {space.start}, only 0 is carried over"
            )
        return Action("discrete", int(space.n))
    if isinstance(space, Box):
        if len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
            raise UnsupportedError(
                f"{where}: actions are {space.dtype} of shape {space.shape}, only one axis of "
                "floats is carried over"
            )
        if not np.isfinite([space.low, space.high]).all():
            raise UnsupportedError(
                f"{where}: action bounds are infinite, finite ones are needed: "
                "gymnasium.wrappers.ClipAction or RescaleAction"
            )
        return Action("box", space.shape[0], box_bounds(space.low), box_bounds(space.high))
    raise UnsupportedError(
        f"{where}: {type(space).__name__} actions are not carried over: only Discrete and Box are"
    )
