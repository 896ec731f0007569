"""Environments that misbehave, each in one way: what a stranger's environment may do to its caller.

`tests.support.hostile_envs:Hostile-v0` with the argument `act`: a name of `ACTS`, and `when`:
"make", "reset" or "step".
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv


class _Custom(BaseException):
    pass


def _leave() -> None:
    sys.exit()


def _leave_with_success() -> None:
    sys.exit(0)


def _leave_at_once() -> None:
    os._exit(0)


def _custom() -> None:
    raise _Custom("no Exception")


def _print() -> None:
    print("a line of the environment")
    os.write(1, b"a line of the descriptor\n")
    ctypes.CDLL(None).puts(b"a line of C")
    ctypes.CDLL(None).fflush(None)


ACTS: dict[str, Callable[[], None]] = {
    "leave": _leave,
    "leave with success": _leave_with_success,
    "leave at once": _leave_at_once,
    "custom": _custom,
    "print": _print,
}
ANSWERS: dict[str, Callable[[Any], Any]] = {
    # of reset: (obs, info) -> what it returns instead
    "reset: observation alone": lambda made: made[0],
    "reset: three values": lambda made: (*made, {}),
    "reset: scalar": lambda made: (1.0, made[1]),
    "reset: shorter": lambda made: (made[0][:1], made[1]),
    "reset: nothing": lambda made: None,
    "reset: text": lambda made: ("abcd", made[1]),
    "reset: NaN": lambda made: (made[0] * np.nan, made[1]),
    # of step: (obs, reward, terminated, truncated, info)
    "step: scalar": lambda made: (1.0, *made[1:]),
    "step: shorter": lambda made: (made[0][:1], *made[1:]),
    "step: column": lambda made: (made[0][:, None], *made[1:]),
    "step: NaN": lambda made: (made[0] * np.nan, *made[1:]),
    "step: objects": lambda made: (np.array([None] * 4), *made[1:]),
    "step: text reward": lambda made: (made[0], "1.0", *made[2:]),
    "step: NaN reward": lambda made: (made[0], float("nan"), *made[2:]),
    "step: huge reward": lambda made: (made[0], 10**400, *made[2:]),
    "step: array reward": lambda made: (made[0], np.ones(2), *made[2:]),
    "step: no reward": lambda made: (made[0], None, *made[2:]),
    "step: text done": lambda made: (*made[:2], "no", *made[3:]),
    "step: number done": lambda made: (*made[:2], 2.5, *made[3:]),
    "step: array done": lambda made: (*made[:2], np.array([True, False]), *made[3:]),
    "step: four values": lambda made: made[:4],
    "step: no info": lambda made: (*made[:4], None),
    "step: nothing": lambda made: None,
}


class Hostile(CartPoleEnv):
    """CartPole, but for one thing. It ends after 20 steps unless it is `endless`."""

    def __init__(
        self,
        act: str = "",
        when: str = "step",
        answer: str = "",
        endless: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode=render_mode)
        self._act, self._when = ACTS.get(act, lambda: None), when
        self._where, self._answer = answer.partition(":")[0], ANSWERS.get(answer, lambda made: made)
        self._endless, self._steps = endless, 0
        self._do("make")

    def _do(self, when: str) -> None:
        if self._when == when:
            self._act()

    def reset(self, **options: Any) -> Any:
        self._steps = 0
        self._do("reset")
        made = super().reset(**options)
        return self._answer(made) if self._where == "reset" else made

    def step(self, action: Any) -> Any:
        self._steps += 1
        self._do("step")
        obs, reward, terminated, _, info = super().step(action)
        if self._endless:
            terminated = False
            self.state = np.clip(self.state, -0.2, 0.2)
        made = obs, reward, bool(terminated), self._steps >= 20 and not self._endless, info
        return self._answer(made) if self._where == "step" else made

    def close(self) -> None:
        self._do("close")
        super().close()


gymnasium.register("Hostile-v0", entry_point=Hostile)
if os.environ.get("HOSTILE_IMPORT"):
    ACTS[os.environ["HOSTILE_IMPORT"]]()
