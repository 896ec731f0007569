"""Lanes: environments that step side by side and know nothing of one another.

In: an environment's id and a number of lanes. Out: `Lanes`, which start an episode with a seed and
step those lanes that are asked for.
Single environments are made anew for every episode, because some keep state across a reset (Box2D's
walker does). The vectorised form an environment brings along is used only when a probe shows that
its lanes are independent and that a reset lane forgets its past.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.text import shortened
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvElsewhere, EnvSpec
from quarl.rollouts.flat_space import is_flattened
from quarl.rollouts.foreign_env import (
    ForeignEnv,
    blame,
    callable_of,
    import_namespace,
    make_env,
)

__all__ = ["Lanes", "Step", "StepsSomeLanes", "check_env", "open_lanes"]

_PROBE_STEPS = 8
# what the probe said, by what gymnasium knows of the environment and its arguments
_INDEPENDENT: dict[str, bool] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one step of k lanes gave."""

    rewards: NDArray[np.float64]  # [k]
    ended: NDArray[np.bool_]  # [k], terminated or truncated
    # [k], info["success"] or info["is_success"]; None where it was not reported
    successes: tuple[bool | None, ...]


class Lanes(Protocol):
    """Environments side by side; `obs` [lanes, *shape] holds the latest observation of each."""

    obs: NDArray[Any]

    def start(self, lanes: list[int], seeds: list[int]) -> None:
        """Begin an episode with its seed in each of these lanes."""

    def step(self, lanes: NDArray[np.int64], actions: NDArray[Any]) -> Step:
        """Step these lanes, one action [k, ...] each; the others stay as they are."""

    def close(self) -> None:
        """Give back what the environments hold."""


@runtime_checkable
class StepsSomeLanes(Protocol):
    """A vectorised environment that can let lanes rest."""

    def step_lanes(
        self, lanes: NDArray[np.int64], actions: NDArray[Any]
    ) -> tuple[NDArray[Any], Any, Any, Any, dict[str, Any]]:
        """Do in these lanes what `step` does in all, one action each, and return what it returns,
        for them.
        """


def open_lanes(env: EnvSpec, lanes: int) -> Lanes:
    """Return the fastest faithful lanes of the environment.

    Raises:
        InputError: there is no such environment, it cannot be made, or its observations are not a
            Box.
        ToolMissingError: it needs a package that is not installed.
    """
    vector = _make_vector(env, lanes)
    if vector is None:
        return _SingleLanes(env, lanes)
    return (
        _RestingLanes(env, vector)
        if isinstance(vector, StepsSomeLanes)
        else _VectorLanes(env, vector)
    )


def check_env(env: EnvSpec, contract: Contract) -> None:
    """Check that the environment's spaces are those of the contract.

    Raises:
        InputError: the environment cannot be made or its spaces are others; names both sides.
        ToolMissingError: it needs a package that is not installed.
    """
    made = make_env(env)
    space, action_space, pictures = made.observation_space, made.action_space, made.pictures
    made.close()
    observation, action = contract.observation, contract.action
    advice = "Use the environment the policy was trained on: --env"
    is_box = isinstance(space, gymnasium.spaces.Box)
    fits_kind = np.issubdtype(space.dtype, np.uint8 if observation.is_image else np.floating)
    if (
        not is_box
        or space.shape not in {observation.shape, observation.graph_shape}
        or not fits_kind
        or pictures != observation.pictures
    ):
        wanted = f"{observation.dtype} observations of shape {observation.shape}"
        raise InputError(
            f"{env.id} gives observations {space}, the policy takes {wanted}. {advice}"
        )
    if action.is_choice:
        counts, first = _choices(action_space) or ((), 0)
        # a policy that counts from 0 was given that index in training, whatever the space's start
        if counts != (action.counts or (action.count,)) or action.start not in (0, first):
            raise InputError(
                f"{env.id} takes actions {action_space}, the policy chooses one of "
                f"{', one of '.join(map(str, action.counts or (action.count,)))} counted from "
                f"{action.start}. {advice}"
            )
        return
    if not isinstance(action_space, gymnasium.spaces.Box) or action_space.shape != (action.count,):
        raise InputError(
            f"{env.id} takes actions {action_space}, the policy gives {action.count} real "
            f"values. {advice}"
        )
    low, high = np.array(action.low, np.float32), np.array(action.high, np.float32)
    if not (np.array_equal(action_space.low, low) and np.array_equal(action_space.high, high)):
        bounds = f"{list(action.low)} to {list(action.high)}"
        raise InputError(
            f"{env.id} takes actions {action_space}, the policy gives values from {bounds}. "
            f"{advice}"
        )


def _choices(space: Any) -> tuple[tuple[int, ...], int] | None:
    """Return how many values each choice of a space has and the first of them; None of a box."""
    match space:
        case gymnasium.spaces.Discrete():
            return (int(space.n),), int(space.start)
        case gymnasium.spaces.MultiDiscrete() if space.nvec.ndim == 1 and not space.start.any():
            return tuple(int(count) for count in space.nvec), 0
        case gymnasium.spaces.MultiBinary() if isinstance(space.n, int | np.integer):
            return (2,) * int(space.n), 0
    return None


class _SingleLanes:
    """Single environments, a new one for each episode."""

    def __init__(self, env: EnvSpec, lanes: int) -> None:
        self._env = env
        self._envs: dict[int, ForeignEnv] = {}
        sample = make_env(env)
        sample.close()
        self.obs = np.zeros((lanes, *sample.shape), sample.dtype)

    def start(self, lanes: list[int], seeds: list[int]) -> None:
        for lane, seed in zip(lanes, seeds, strict=True):
            if lane in self._envs:
                self._envs.pop(lane).close()
            env = self._envs[lane] = make_env(self._env)
            self.obs[lane] = env.reset(seed)

    def step(self, lanes: NDArray[np.int64], actions: NDArray[Any]) -> Step:
        made = []
        if isinstance(self._env, EnvElsewhere):
            for lane, action in zip(lanes.tolist(), actions, strict=True):
                self._envs[lane].ask(action)
        for lane, action in zip(lanes.tolist(), actions, strict=True):
            self.obs[lane], *answer = self._envs[lane].step(action)
            made.append(answer)
        rewards, ended, successes = zip(*made, strict=True)
        return Step(np.array(rewards, np.float64), np.array(ended, np.bool_), successes)

    def close(self) -> None:
        while self._envs:
            self._envs.popitem()[1].close()


class _VectorLanes:
    """The environment's own vectorised form; lanes that are not asked for step too and are reset
    when they end, unseen.
    """

    def __init__(self, env: EnvSpec, vector: VectorEnv[Any, Any, Any]) -> None:
        self._env = env
        self._vector = vector
        self._seeds = [0] * vector.num_envs
        self._ended = np.zeros(vector.num_envs, np.bool_)
        self._started = False
        space = vector.single_action_space
        self._actions = np.zeros((vector.num_envs, *(space.shape or ())), space.dtype)
        self.obs: NDArray[Any] = np.zeros(0)

    def start(self, lanes: list[int], seeds: list[int]) -> None:
        for lane, seed in zip(lanes, seeds, strict=True):
            self._seeds[lane] = seed
        self._ended[lanes] = False
        with blame(self._env, lambda: f"in reset, seeds {seeds}"):
            if self._started:
                self.obs[lanes] = _reset(self._vector, self._seeds, np.array(lanes))[lanes]
            else:
                self.obs = _reset(self._vector, self._seeds)
                self._started = True

    def step(self, lanes: NDArray[np.int64], actions: NDArray[Any]) -> Step:
        idle = np.flatnonzero(self._ended)
        # a lane that has ended must be reset before the next step, even if nobody looks at it any
        # more
        if idle.size:
            self.start(idle.tolist(), [self._seeds[lane] for lane in idle])
        self._actions[:] = 0
        self._actions[lanes] = actions
        with blame(self._env, lambda: "in step"):
            answer = self._vector.step(self._actions)
            obs, rewards, ended, infos = self._checked(answer, self._vector.num_envs)
            successes = _vector_successes(infos, lanes, ended)
        self.obs = np.array(obs)
        self._ended = ended
        return Step(rewards[lanes], ended[lanes], successes)

    def close(self) -> None:
        with blame(self._env, lambda: "when it was closed"):
            self._vector.close()

    def _checked(
        self, answer: Any, count: int
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], Mapping[str, Any]]:
        """Return observations, rewards, ends and infos of `count` lanes, of the shapes and types
        that they must have.
        """
        obs, rewards, terminated, truncated, infos = answer
        shape = (count, *(self._vector.single_observation_space.shape or ()))
        for what, values, wanted, kinds in (
            ("observations", obs, shape, "biuf"),
            ("rewards", rewards, (count,), "biuf"),
            ("terminated", terminated, (count,), "b"),
            ("truncated", truncated, (count,), "b"),
        ):
            found = np.asarray(values)
            if found.shape != wanted or found.dtype.kind not in kinds:
                raise InputError(
                    f"{self._env.id}: step gave {what} of {found.dtype} {found.shape} for {count} "
                    f"lanes, they must be of shape {wanted}: correct the environment"
                )
        if not isinstance(infos, Mapping):
            raise InputError(f"{self._env.id}: step gave {shortened(infos)} as infos, not a dict")
        return (
            np.asarray(obs),
            np.asarray(rewards, np.float64),
            np.logical_or(terminated, truncated),
            infos,
        )


class _RestingLanes(_VectorLanes):
    """The environment's own vectorised form, of which lanes that are not asked for cost nothing."""

    def step(self, lanes: NDArray[np.int64], actions: NDArray[Any]) -> Step:
        vector = self._vector
        assert isinstance(vector, StepsSomeLanes)
        with blame(self._env, lambda: "in step"):
            answer = vector.step_lanes(lanes, actions)
            obs, rewards, ended, infos = self._checked(answer, len(lanes))
            successes = _vector_successes(infos, np.arange(len(lanes)), ended)
        self.obs[lanes] = obs
        return Step(rewards, ended, successes)


def _vector_successes(
    infos: Mapping[str, Any], lanes: NDArray[np.int64], ended: NDArray[np.bool_]
) -> tuple[bool | None, ...]:
    key = "success" if "success" in infos else "is_success"
    if key not in infos:
        return (None,) * len(lanes)
    reported = np.asarray(infos.get(f"_{key}", np.ones(len(ended), np.bool_)), np.bool_) & ended
    return tuple(bool(infos[key][lane]) if reported[lane] else None for lane in lanes)


def _make_vector(env: EnvSpec, lanes: int) -> VectorEnv[Any, Any, Any] | None:
    """Return the environment's own vectorised form, None where it has none or one whose episodes
    depend on their company.
    """
    if env.wrappers:
        return None  # which are for single environments
    if isinstance(env, EnvElsewhere):
        asked = repr(env)
    else:
        import_namespace(env)
        if callable_of(env) is not None:
            return None
        with blame(env, lambda: "when it is looked up"):
            spec = gymnasium.spec(env.registered_id)
        if spec.vector_entry_point is None:
            return None
        asked = repr((spec, sorted(env.kwargs.items())))
    if asked not in _INDEPENDENT:
        _INDEPENDENT[asked] = _lanes_are_independent(env)
    if not _INDEPENDENT[asked]:
        return None
    with blame(env, lambda: "when it is made"):
        vector = _call_vector_entry_point(env, lanes)
        if not is_flattened(vector.single_observation_space):
            return vector
        vector.close()  # one environment lays its observations out as a vector, several do not
        return None


def _call_vector_entry_point(env: EnvSpec, lanes: int) -> VectorEnv[Any, Any, Any]:
    if isinstance(env, EnvElsewhere):
        from quarl.rollouts.env_process import remote_vector  # starts a process

        vector = remote_vector(env, lanes)
        if vector is None:
            raise InputError(f"{env.id} has no vectorised form")
        return vector
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gymnasium.make_vec(
            env.registered_id,
            num_envs=lanes,
            vectorization_mode="vector_entry_point",
            **env.kwargs,
            autoreset_mode=AutoresetMode.DISABLED,
        )


def _lanes_are_independent(env: EnvSpec) -> bool:
    """Whether equal seeds give equal lanes next to a different one, and a reset with a seed begins
    that episode again.
    """
    try:
        with blame(env, lambda: "when it is made"):
            vector = _call_vector_entry_point(env, 3)
    except InputError:
        # takes no autoreset_mode: it resets by itself and hides where an episode ends; or it fails,
        # which single environments tell better
        return False
    try:
        if vector.metadata.get("autoreset_mode") != AutoresetMode.DISABLED:
            return False
        vector.action_space.seed(0)
        actions = vector.action_space.sample()
        actions[1] = actions[2] = actions[0]
        start = _reset(vector, [101, 101, 102])
        whole = _trace(vector, start, actions, 2 * _PROBE_STEPS)
        _trace(vector, _reset(vector, [101, 101, 102]), actions, _PROBE_STEPS)
        part = _trace(
            vector, _reset(vector, [101, 102, 101], np.array([1, 2])), actions, _PROBE_STEPS
        )
        is_apart = np.array_equal(whole[:, 0], whole[:, 1]) and np.array_equal(
            part[1:, 0], whole[_PROBE_STEPS + 1 :, 0]
        )
        forgets = np.array_equal(part[:, 1], whole[: len(part), 2]) and np.array_equal(
            part[:, 2], whole[: len(part), 0]
        )
        return is_apart and forgets
    except KeyboardInterrupt:
        raise
    except BaseException:  # whatever it does not support, single environments do
        return False
    finally:
        with blame(env, lambda: "when it was closed"):
            vector.close()


def _reset(
    vector: VectorEnv[Any, Any, Any], seeds: list[int], lanes: NDArray[np.int64] | None = None
) -> NDArray[Any]:
    """Return all observations after a reset of these lanes (all without `lanes`); those of other
    lanes mean nothing.
    """
    options = None
    if lanes is not None:
        mask = np.zeros(vector.num_envs, np.bool_)
        mask[lanes] = True
        options = {"reset_mask": mask}
    reset: Callable[..., tuple[Any, Any]] = (
        vector.reset
    )  # the base class does not say that one seed per lane is allowed
    return np.array(reset(seed=list(seeds), options=options)[0])


def _trace(
    vector: VectorEnv[Any, Any, Any], obs: NDArray[Any], actions: NDArray[Any], steps: int
) -> NDArray[Any]:
    """Return observations [steps + 1, lanes, ...]: `obs`, then those after each step."""
    return np.stack([obs, *(np.array(vector.step(actions)[0]) for _ in range(steps))])
