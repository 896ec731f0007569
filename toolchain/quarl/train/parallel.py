"""An environment in many lanes that are restarted by hand, each with one environment for the whole
training.

Goes in: what a recipe says of the environment. Comes out: a gymnasium vector environment without
automatic restarts.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from quarl.errors import InputError
from quarl.sources.recipe import EnvRecipe


def make_lanes(env: EnvRecipe, lanes: int) -> VectorEnv[Any, Any, Any]:
    """Return the environment as `lanes` lanes; `reset(options={"reset_mask": mask})` restarts those
    of the mask.

    Raises:
        InputError: gymnasium does not know the id, or the environment refuses its arguments.
    """
    by_hand: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    kwargs: dict[str, Any] = dict(env.kwargs)
    try:
        module, _, name = env.id.rpartition(":")
        if module:
            import_module(module)
        if (
            gymnasium.spec(name).namespace == "quarl"
        ):  # the only vector form known to restart single lanes
            return gymnasium.make_vec(name, num_envs=lanes, **kwargs, **by_hand)
        return gymnasium.make_vec(
            name, num_envs=lanes, vectorization_mode="sync", vector_kwargs=by_hand, **kwargs
        )
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        raise InputError(f"environment {env.id}: cannot be made with {kwargs}: {error}") from error
