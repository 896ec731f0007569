"""Policies, environments and normalisers as objects of a Python session.

In: a Stable-Baselines3 model, a torch module or a Keras model; an environment, or what makes one;
a VecNormalize. Out: a file, an `EnvSpec` and a `Normalizer`, so that they take the same way as
files from a disk. Files lie in a folder that goes when Python ends.
"""

from __future__ import annotations

import atexit
import copy
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from quarl.errors import InputError
from quarl.graph.contract import Normalizer, Observation
from quarl.graph.env_spec import EnvElsewhere, EnvSpec, TypedEnv

MEMORY = "quarl-memory"  # the namespace of environments that live in this process alone
AnyEnv: TypeAlias = "str | EnvSpec | Callable[[], Any] | Any"
_numbers = count(1)


def policy_file(policy: Any, observation: Observation | None, name: str) -> Path:
    """Return the file that holds a policy given as an object.

    Args:
        observation: what a torch module sees; other objects know it.
        name: of the file, without its ending.
    Raises:
        InputError: it is none of the kinds above, or a torch module without an observation.
    """
    stem = _folder() / str(next(_numbers)) / name
    stem.parent.mkdir(parents=True)
    packages = {kind.__module__.partition(".")[0] for kind in type(policy).__mro__}
    if packages & {"stable_baselines3", "sb3_contrib"}:
        path = stem.with_suffix(".zip")
        policy.save(path)
        return path
    if "keras" in packages:
        path = stem.with_suffix(".keras")
        policy.save(path)
        return path
    if "torch" in packages:
        if observation is None:
            raise InputError(
                "a torch module does not say what it sees: give env, or observation_space and "
                "action_space"
            )
        path = stem.with_suffix(".onnx")
        _write_onnx(policy, observation, path)
        return path
    raise InputError(
        f"{type(policy).__module__}.{type(policy).__qualname__}: is not a policy; give a file, a "
        "shipped policy's name, a Stable-Baselines3 model, a torch module or a Keras model"
    )


def env_spec(env: AnyEnv | None) -> EnvSpec | None:
    """Return the environment: by its id, or as an object.

    An instance is copied for every use, so that the caller's own stays as it is. One that
    gymnasium made without further wrappers is made again by its id.
    """
    if env is None or isinstance(env, EnvElsewhere | TypedEnv):
        return env
    if isinstance(env, EnvSpec):
        return TypedEnv(env.id, env.kwargs, env.wrappers)
    if isinstance(env, str):
        return TypedEnv(env)
    made = getattr(env, "spec", None)
    if made is not None and not getattr(made, "additional_wrappers", ()):
        return EnvSpec(made.id, dict(made.kwargs))
    is_instance = hasattr(env, "reset") and hasattr(env, "step") and not isinstance(env, type)
    if is_instance:
        return _registered(lambda **kwargs: copy.deepcopy(env))
    if callable(env):
        return _registered(lambda **kwargs: env(**kwargs))
    raise InputError(
        f"env: {type(env).__qualname__} is not an environment; give a gymnasium id, an "
        "environment, or a function that makes one"
    )


def normalizer_of(statistics: Any) -> Normalizer:
    """Return the running statistics of a VecNormalize; a Normalizer stays as it is."""
    if isinstance(statistics, Normalizer):
        return statistics
    running = getattr(statistics, "obs_rms", None)
    if running is None:
        raise InputError(
            f"normalizer: {type(statistics).__qualname__} has no obs_rms; give a VecNormalize, a "
            "Normalizer, or the path of an .npz"
        )
    return Normalizer(
        tuple(float(value) for value in np.ravel(running.mean)),
        tuple(float(value) for value in np.ravel(running.var)),
        float(statistics.epsilon),
        float(statistics.clip_obs),
    )


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="quarl-memory-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _registered(make: Callable[..., Any]) -> EnvSpec:
    import gymnasium

    name = f"{MEMORY}/Env{next(_numbers)}-v0"
    gymnasium.register(name, entry_point=make, disable_env_checker=True)
    return EnvSpec(name)


def _write_onnx(module: Any, observation: Observation, path: Path) -> None:
    import torch

    example = (torch.zeros(1, *observation.shape),)
    training = module.training
    module.eval()
    try:
        torch.onnx.export(
            module, example, path, input_names=["obs"], output_names=["action"], dynamo=False
        )
    finally:
        module.train(training)
