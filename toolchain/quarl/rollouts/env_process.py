"""Environments in the user's own Python: its process, and what stands for its environments here.

In: an `EnvElsewhere`. Out: a `gymnasium.Env` or `VectorEnv` whose every call is answered by the
process, over blocks (`quarl.rollouts.env_child`). Each process of quarl keeps one for each
interpreter; it ends with its parent, or where the pipe ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from quarl import tools
from quarl.errors import InputError
from quarl.files.text import shortened
from quarl.graph.env_spec import EnvElsewhere
from quarl.rollouts.env_child import LEAST_PYTHON, PROTOCOL, Other, pack, unpack

CHILD = Path(__file__).with_name("env_child.py")
HELLO_S = 60.0  # an interpreter that has to read numpy and gymnasium from a slow disk
MOST_ANSWER_BYTES = 1 << 30
ANSWER_S = 120.0  # one answer: a simulator that starts takes the longest
_KEYS = count()


class _Process:
    """The process of one interpreter."""

    def __init__(self, env: EnvElsewhere) -> None:
        self._where = f"--env-python {env.python}"
        ours, theirs = socket.socketpair()
        self._pipe = ours.detach()
        self._sent: deque[int] = deque()  # requests whose answers have not been read
        self._early: dict[int, dict[str, Any]] = {}
        self._number = 0
        argv = [_program(env.python, self._where), str(CHILD), str(theirs.fileno())]
        with theirs:
            try:
                self._process = tools.start(argv, [theirs.fileno()], {})
            except OSError as error:
                raise InputError(
                    f"{self._where}: cannot be run ({error.strerror or error}): name the python of "
                    "your environment, such as venv/bin/python"
                ) from error
        self._check_hello(env)

    def _check_hello(self, env: EnvElsewhere) -> None:
        advice = "is it Python {}.{} or newer?".format(*LEAST_PYTHON)
        plain = self._read(f"did not say hello: {advice}", HELLO_S).get("plain")
        hello: dict[str, Any] = plain if isinstance(plain, dict) else {}
        said = hello.get("python")
        if not isinstance(said, list) or not all(type(number) is int for number in said):
            raise self._other("it did not say which Python it is")
        version = tuple(said)
        if version < LEAST_PYTHON or hello.get("protocol") != PROTOCOL:
            self.end()
            raise InputError(
                f"{self._where}: is Python {'.'.join(map(str, version))}, environments need "
                f"{'.'.join(map(str, LEAST_PYTHON))} or newer"
            )
        if "lacks" in hello:
            self.end()
            package, words = (*hello["lacks"], None, None)[:2]
            if package not in ("gymnasium", "numpy"):
                raise InputError(f"{self._where}: cannot import gymnasium ({shortened(words)})")
            raise InputError(
                f"{self._where}: has no {package}, which {env.id} needs: {env.python} -m pip "
                f"install {package}"
            )

    @property
    def is_alive(self) -> bool:
        return self._pipe >= 0

    def send(self, *request: Any) -> int:
        """Ask something; return the number of the answer."""
        self._number += 1
        if self.is_alive:
            with suppress(OSError):  # it has died: no answer will come
                tools.write_block(self._pipe, pack(request))
        self._sent.append(self._number)
        return self._number

    def answer(self, number: int) -> Any:
        """Return the answer of that number; raise what was raised there.

        Raises:
            InputError: the process ended, or gave no answer in time.
        """
        while number not in self._early:
            first = self._sent.popleft()
            self._early[first] = self._read("ended its process")
        answer = self._early.pop(number)
        if "raised" in answer:
            raised = answer["raised"]
            if not isinstance(raised, list | tuple) or len(raised) != 3:
                raise self._other("an error without its words")
            raise _as_raised(raised, self._where)
        if "returned" not in answer:
            raise self._other("neither an answer nor an error")
        return answer["returned"]

    def _read(self, died: str, seconds: float | None = None) -> dict[str, Any]:
        if not self.is_alive:
            raise InputError(f"{self._where}: the process of its environments has ended")
        limit = ANSWER_S if seconds is None else seconds
        try:
            answer = unpack(tools.read_block(self._pipe, limit, MOST_ANSWER_BYTES))
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise self._other(str(error)) from error
        except TimeoutError:
            self.end()
            raise InputError(
                f"{self._where}: the environment gave no answer for {limit:g} s, so its process "
                "was ended: it hangs, or one step takes too long"
            ) from None
        except (EOFError, OSError):
            raise InputError(f"{self._where}: {died} (exit code {self.end()})") from None
        if not isinstance(answer, dict):
            raise self._other(f"a {type(answer).__name__}")
        return answer

    def _other(self, words: str) -> InputError:
        """End the process, which no longer says what it should; return the error for it."""
        self.end()
        return InputError(
            f"{self._where}: answered something else than it was asked ({shortened(words)}): "
            "the environment must not write to the connection of its process"
        )

    def end(self) -> int:
        """End the process; return its exit code."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        try:
            self._process.wait(0.5)
        except tools.StillRunning:
            self._process.kill()
        return self._process.wait()


def _program(python: str, where: str) -> str:
    """Return the interpreter as it can be started. A link is kept: a venv is known by it."""
    found = shutil.which(python)
    if found is None:
        what = "is a folder" if Path(python).is_dir() else "there is no such program"
        raise InputError(
            f"{where}: {what}: name the python of your environment, such as venv/bin/python"
        )
    return str(Path(found).absolute())


_RUNNING: OrderedDict[str, _Process] = OrderedDict()


def _process_of(env: EnvElsewhere) -> _Process:
    running = _RUNNING.get(env.python)
    if running is None or not running.is_alive:
        if not _RUNNING:
            atexit.register(end_all)
        running = _RUNNING[env.python] = _Process(env)
    return running


def end_all() -> None:
    """End the processes of all interpreters."""
    while _RUNNING:
        _RUNNING.popitem()[1].end()


def _as_raised(raised: Sequence[Any], where: str) -> BaseException:
    """Return what an environment raised there, as an error of the same name.

    Args:
        raised: name, words, and the module that was missing or None.
    """
    kind, words, missing = raised
    kind = kind if isinstance(kind, str) and kind.isidentifier() else "Exception"
    if kind in ("ModuleNotFoundError", "ImportError") and missing:
        return InputError(
            f"{where}: has no Python module {missing}: install it there, or set PYTHONPATH to its "
            "folder"
        )
    known = getattr(gymnasium.error, kind, None)
    base = known if isinstance(known, type) and issubclass(known, Exception) else RuntimeError
    error: BaseException = type(kind, (base,), {})(words)
    return error


class RemoteEnv(gymnasium.Env[Any, Any]):
    """One environment of the process."""

    def __init__(self, env: EnvElsewhere) -> None:
        self._process, self._key = _process_of(env), next(_KEYS)
        request = (
            *("make", self._key, env.id, dict(env.kwargs), list(env.wrappers)),
            env.may_call,
        )
        made = self._process.answer(self._process.send(*request))
        self.observation_space = _space_of(made["observation"])
        self.action_space = _space_of(made["action"])
        self.metadata = made["metadata"]
        self._limit = made["time_limit"]
        self._asked: int | None = None

    @cached_property
    def spec(self) -> Any:  # type: ignore[override]
        """What quarl reads of a spec: the time limit."""
        return SimpleNamespace(max_episode_steps=self._limit)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin an episode."""
        return self._process.answer(self._process.send("reset", self._key, seed))

    def ask(self, action: Any) -> None:
        """Ask for the step that the next `step` returns, so that several environments step while
        none is waited for.
        """
        self._asked = self._process.send("step", self._key, action)

    def step(self, action: Any) -> Any:
        """Return what the environment's step returned, the info shortened to its success."""
        if self._asked is None:
            self.ask(action)
        asked, self._asked = self._asked, None
        assert asked is not None
        return self._process.answer(asked)

    def render(self) -> Any:
        """Return what it draws."""
        return self._process.answer(self._process.send("render", self._key))

    def close(self) -> None:
        """Give back what it holds."""
        if self._process.is_alive:
            self._process.answer(self._process.send("close", self._key))


class RemoteVector(VectorEnv[Any, Any, Any]):
    """An environment's own vectorised form."""

    def __init__(self, process: _Process, key: int, made: dict[str, Any], lanes: int) -> None:
        self._process, self._key = process, key
        self.num_envs = lanes
        self.single_observation_space = _space_of(made["observation"])
        self.single_action_space = _space_of(made["action"])
        self.action_space = _space_of(made["all_actions"])
        mode = AutoresetMode.DISABLED if made["is_disabled"] else None
        self.metadata = {"autoreset_mode": mode}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        """Begin episodes: of all lanes, or of those of `options["reset_mask"]`."""
        mask = None if options is None else options["reset_mask"]
        return self._process.answer(self._process.send("reset", self._key, seed, mask))

    def step(self, actions: Any) -> Any:
        """Step all lanes."""
        return self._process.answer(self._process.send("step", self._key, actions))

    def close(self, **more: Any) -> None:
        """Give back what it holds."""
        if self._process.is_alive:
            self._process.answer(self._process.send("close", self._key))


class RestingVector(RemoteVector):
    """One that can let lanes rest."""

    def step_lanes(self, lanes: NDArray[np.int64], actions: NDArray[Any]) -> Any:
        """Step these lanes."""
        return self._process.answer(self._process.send("step_lanes", self._key, lanes, actions))


def remote_vector(env: EnvElsewhere, lanes: int) -> RemoteVector | None:
    """Return the environment's own vectorised form; None where it has none."""
    if env.wrappers:
        return None
    process, key = _process_of(env), next(_KEYS)
    made = process.answer(process.send("make_vector", key, env.id, dict(env.kwargs), lanes))
    if made is None:
        return None
    return (RestingVector if made["rests"] else RemoteVector)(process, key, made, lanes)


class _UnknownSpace(spaces.Space[Any]):
    """A space that quarl does not read, in its own words."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def __repr__(self) -> str:
        """Return its own words."""
        return self._words


def _space_of(told: dict[str, Any]) -> spaces.Space[Any]:
    """Return the space that the process describes."""
    match told["kind"]:
        case "Box":
            return spaces.Box(told["low"], told["high"], dtype=np.dtype(told["dtype"]).type)
        case "Discrete":
            return spaces.Discrete(told["n"], start=told["start"])
        case "MultiDiscrete":
            dtype = np.dtype(told["dtype"]).type
            return spaces.MultiDiscrete(told["nvec"], dtype=dtype, start=told["start"])
        case "MultiBinary":
            return spaces.MultiBinary(told["n"])
        case "Dict":
            return spaces.Dict(OrderedDict((key, _space_of(part)) for key, part in told["spaces"]))
        case "Tuple":
            return spaces.Tuple([_space_of(part) for part in told["spaces"]])
    return _UnknownSpace(str(told.get("words", Other("an unknown space"))))
