"""One environment of a stranger: every answer it gives is checked, and whatever it raises names it.

In: an environment's id and arguments. Out: `ForeignEnv`, whose observations have the shape and type
of its space, whose rewards are real numbers and whose ends are booleans. An environment may raise
anything, SystemExit too; none of it reaches the caller but as an `InputError`.
"""

from __future__ import annotations

import importlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, QuarlError, ToolMissingError
from quarl.files.text import shortened
from quarl.graph.env_spec import EnvElsewhere, EnvSpec, atari_advice
from quarl.graph.picture import NamedPart, Picture
from quarl.rollouts.flat_space import (
    flat_length,
    flat_names,
    flattened,
    is_flattened,
    parts_in,
    pictures_in,
)

# who registers ids that gymnasium does not know by itself
_NAMESPACE_MODULES = {"quarl": "quarl.envs", "ALE": "ale_py"}
_OWN = ("gymnasium.", "quarl.")  # modules whose environments hold nothing open
MAX_VALUES = 1 << 24  # of one observation
_BOOLEANS = (bool, np.bool_)
_NUMBERS = (float, int, np.floating, np.integer)


class ForeignEnv:
    """One environment. `reset` begins an episode; `step` gives observation, reward, end,
    success.
    """

    def __init__(self, spec: EnvSpec, env: gymnasium.Env[Any, Any]) -> None:
        self._spec, self._env, self._seed = spec, env, 0
        with blame(spec, lambda: "when it is asked for its spaces"):
            self.observation_space, self.action_space = env.observation_space, env.action_space
            self._source_space = self.observation_space
            if is_flattened(self.observation_space):
                count = flat_length(self.observation_space)
                self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (count,), np.float32)
            self.metadata = dict(env.metadata)
        self._when: Callable[[], str] = lambda: f"in step, seed {self._seed}"
        self._shape: tuple[int, ...] | None = None
        self._asks: Callable[[Any], None] | None = getattr(env, "ask", None)
        if not isinstance(spec, EnvElsewhere):
            self._asks = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its observations.

        Raises:
            InputError: they are no Box.
        """
        if self._shape is None:
            space = self.observation_space
            if not isinstance(space, gymnasium.spaces.Box):
                raise InputError(
                    f"{self._spec.id} gives observations {space}: only Box observations can be "
                    "played"
                )
            if math.prod(space.shape) > MAX_VALUES:
                raise InputError(
                    f"{self._spec.id} gives observations of shape {space.shape}, at most "
                    f"{MAX_VALUES:,} values are played"
                )
            self._shape, self._dtype = space.shape, space.dtype
        return self._shape

    @property
    def time_limit(self) -> int | None:
        """Steps after which gymnasium ends an episode; None where nothing does."""
        with blame(self._spec, lambda: "when it is asked for its time limit"):
            spec = self._env.spec
            return None if spec is None else spec.max_episode_steps

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features of observations that were laid out as one vector."""
        is_own = self._source_space is self.observation_space
        return () if is_own else flat_names(self._source_space)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Pictures among the values of such a vector."""
        is_own = self._source_space is self.observation_space
        return () if is_own else pictures_in(self._source_space)

    @property
    def parts(self) -> tuple[NamedPart, ...]:
        """Parts of such a vector, where a picture is among them."""
        is_own = self._source_space is self.observation_space
        return () if is_own else parts_in(self._source_space)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its observations."""
        assert self.shape is not None
        return self._dtype

    def reset(self, seed: int) -> NDArray[Any]:
        """Return the first observation of the episode with that seed."""
        self._seed = seed
        with blame(self._spec, lambda: f"in reset, seed {seed}"):
            answer = self._env.reset(seed=seed)
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise self._wrong("reset", "an observation and an info", answer)
            return self._observation(answer[0], "reset")

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool | None]:
        """Return observation, reward, whether the episode ended, and at its end whether it
        succeeded, None where the environment does not say.
        """
        with blame(self._spec, self._when):
            answer = self._env.step(action)
            if not isinstance(answer, tuple | list) or len(answer) != 5:
                raise self._wrong(
                    "step", "observation, reward, terminated, truncated, info", answer
                )
            obs, reward, terminated, truncated, info = answer
            return (
                self._observation(obs, "step"),
                reward if type(reward) is float else self._reward(reward),
                ended := self._boolean(terminated, "terminated")
                | self._boolean(truncated, "truncated"),
                self._success(info) if ended else None,
            )

    def ask(self, action: Any) -> None:
        """Let an environment of another process begin the next step, so that none waits for
        another.
        """
        if self._asks is not None:
            with blame(self._spec, self._when):
                self._asks(action)

    def render(self) -> Any:
        """Return what it draws."""
        with blame(self._spec, lambda: f"while it was drawn, seed {self._seed}"):
            return self._env.render()

    def close(self) -> None:
        """Give back what it holds."""
        with blame(self._spec, lambda: "when it was closed"):
            self._env.close()

    def _observation(self, obs: Any, call: str) -> NDArray[Any]:
        shape, dtype = self.shape, self._dtype
        if self._source_space is not self.observation_space:
            obs = flattened(self._source_space, obs)
        if type(obs) is np.ndarray and obs.dtype == dtype and obs.shape == shape:
            return obs
        found = np.asarray(obs)
        is_number = found.dtype.kind in "biuf" and np.can_cast(found.dtype, dtype, "same_kind")
        if not is_number or found.shape != shape:
            raise InputError(
                f"{self._spec.id}: {call} gave an observation of {found.dtype} {found.shape} for "
                f"seed {self._seed}, its space says {dtype} {shape}: correct the environment"
            )
        return found

    def _reward(self, reward: Any) -> float:
        value = reward.item() if isinstance(reward, np.ndarray) and not reward.shape else reward
        if not isinstance(value, _NUMBERS):
            raise self._wrong("step", "a real number as reward", reward)
        return float(value)

    def _boolean(self, value: Any, what: str) -> bool:
        if value is True or value is False:
            return value
        plain = value.item() if isinstance(value, np.ndarray) and not value.shape else value
        if isinstance(plain, _BOOLEANS) or (isinstance(plain, _NUMBERS) and plain in (0, 1)):
            return bool(plain)
        raise self._wrong("step", f"true or false as {what}", value)

    def _success(self, info: Any) -> bool | None:
        if not isinstance(info, Mapping):
            raise self._wrong("step", "a dict as info", info)
        success = info.get("success", info.get("is_success"))
        return None if success is None else self._boolean(success, "success")

    def _wrong(self, call: str, wanted: str, found: Any) -> InputError:
        many = f" of {len(found)} values" if isinstance(found, tuple | list) else ""
        return InputError(
            f"{self._spec.id}: {call} gave {shortened(found)}{many} for seed {self._seed}, it must "
            f"give {wanted}: correct the environment (gymnasium.utils.env_checker shows how)"
        )


def make_env(env: EnvSpec) -> ForeignEnv:
    """Return one environment of the kind.

    Raises:
        InputError: no such environment, or it refuses its arguments.
        ToolMissingError: it needs a package that is not installed.
    """
    return ForeignEnv(env, make_gymnasium(env))


def make_gymnasium(env: EnvSpec) -> gymnasium.Env[Any, Any]:
    """Return one environment of the kind as gymnasium has it: who steps it checks what it gives.

    Raises:
        InputError, ToolMissingError: as `make_env`.
    """
    if isinstance(env, EnvElsewhere):
        from quarl.rollouts.env_process import RemoteEnv  # starts a process

        with blame(env, lambda: "when it is made"):
            return RemoteEnv(env)
    import_namespace(env)
    maker = callable_of(env)
    with warnings.catch_warnings(), blame(env, lambda: "when it is made"):
        # gymnasium warns about every older version of an environment
        warnings.simplefilter("ignore")
        made: gymnasium.Env[Any, Any] = (
            maker(**env.kwargs)
            if maker is not None
            else gymnasium.make(env.registered_id, disable_env_checker=True, **env.kwargs)
        )
        for wrapper in env.wrappers:
            made = _wrapper_named(env, wrapper)(made)
        return made


def callable_of(env: EnvSpec) -> Callable[..., gymnasium.Env[Any, Any]] | None:
    """Return what `module:callable` names, once its module is imported; None: an id of
    gymnasium.

    Raises:
        InputError: a file names it, and it is no environment.
    """
    module, _, name = env.id.rpartition(":")
    found = getattr(sys.modules.get(module), name, None) if name.isidentifier() else None
    if not callable(found):
        return None
    _check_named_by_file(env, env.id, found, gymnasium.Env)
    made: Callable[..., gymnasium.Env[Any, Any]] = found
    return made


def _check_named_by_file(env: EnvSpec, words: str, found: object, kind: type[Any]) -> None:
    """Check that what a file has called is a class of environments or wrappers: `os:system` is
    callable, too.

    Raises:
        InputError: it is something else, and the user did not name it.
    """
    if env.may_call or (isinstance(found, type) and issubclass(found, kind)):
        return
    raise InputError(
        f"{shortened(words)} is named by a file, and is not a class of gymnasium.{kind.__name__}: "
        f"a file has nothing else called. Where you trust it, name it yourself: --env {env.id}"
    )


def _wrapper_named(
    env: EnvSpec, words: str
) -> Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]:
    """Return the wrapper that `module:Class` names.

    Raises:
        InputError: there is no such module or class, or a file names something else.
    """
    module, _, name = words.rpartition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--wrapper {shortened(words)}: is not module:Class that can be imported "
            f"({reason_of(error)}): check the name, or set PYTHONPATH to its folder"
        ) from error
    _check_named_by_file(env, words, found, gymnasium.Wrapper)
    wrapper: Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]] = found
    return wrapper


def import_namespace(env: EnvSpec) -> None:
    """Import what registers the id, as `module:Id` asks for or as the namespace needs."""
    if isinstance(env, EnvElsewhere):
        return
    module = env.id.rpartition(":")[0]
    namespace = env.registered_id.rpartition("/")[0]
    wanted = module or _NAMESPACE_MODULES.get(namespace, "")
    if not wanted:
        return
    try:
        imported = importlib.import_module(wanted)
    except ModuleNotFoundError as error:
        if module and error.name is not None and wanted.startswith(error.name):
            raise InputError(
                f"{env.id}: there is no Python module {wanted}: check the name, or set "
                "PYTHONPATH to its folder"
            ) from error
        package = error.name
        raise ToolMissingError(
            f"{env.id} needs the Python package {package}, which is not installed: pip "
            f"install {package}"
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module that leaves must not end quarl
        raise InputError(f"{env.id}: importing {wanted} failed: {reason_of(error)}") from error
    if namespace == "ALE":
        gymnasium.register_envs(imported)


def is_found_by_name(env: EnvSpec) -> bool:
    """Whether any process of this machine makes the environment from its id alone; one that a
    script has registered lives in that script's process.
    """
    if isinstance(env, EnvElsewhere):
        return True
    module = env.id.rpartition(":")[0]
    if module:
        return module != "__main__"
    if env.registered_id.rpartition("/")[0] in _NAMESPACE_MODULES:
        return True
    try:
        entry_point = gymnasium.spec(env.registered_id).entry_point
    except gymnasium.error.Error:
        return False
    return isinstance(entry_point, str) and entry_point.startswith("gymnasium.")


def holds_nothing_open(env: EnvSpec) -> bool:
    """Whether nothing of the environment outlives its episodes, as of gymnasium's and quarl's own:
    another may hold a connection, which a copy of this process would share.
    """
    if isinstance(env, EnvElsewhere) or env.wrappers:
        return False
    try:
        import_namespace(env)
        spec = gymnasium.spec(env.registered_id)
    except (QuarlError, gymnasium.error.Error):
        return False
    made_by = [point for point in (spec.entry_point, spec.vector_entry_point) if point is not None]
    return all(isinstance(point, str) and point.startswith(_OWN) for point in made_by)


@contextmanager
def blame(env: EnvSpec, when: Callable[[], str]) -> Iterator[None]:
    """Turn what an environment raises, SystemExit too, into one clear error that names it."""
    try:
        yield
    except (QuarlError, KeyboardInterrupt):
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise ToolMissingError(
            f"{env.id} needs a package that is not installed: {reason_of(error)}"
        ) from error
    except ModuleNotFoundError as error:
        package = "'quarl[atari]'" if error.name == "ale_py" else error.name
        raise ToolMissingError(
            f"{env.id} needs the Python package {error.name}, which is not installed: pip "
            f"install {package}"
        ) from error
    except gymnasium.error.UnregisteredEnv as error:
        advice = "Check the id, or write module:Id where a module registers it"
        if game := atari_advice(env.id):
            advice = f"Atari games are played with {game}"
        raise InputError(
            f"{env.id}: gymnasium knows no such environment ({reason_of(error)}). {advice}"
        ) from error
    except BaseException as error:
        raise InputError(f"{env.id} failed {when()}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Return the kind of an error and the first line it says, at most 400 characters."""
    kind = type(error).__name__
    try:
        words = str(error)
    except Exception:  # an error that cannot even be shown
        return kind
    return f"{kind}: {words}".strip().rstrip(".:").partition("\n")[0][:400]
