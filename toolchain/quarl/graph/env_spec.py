"""The environment a policy plays in: its name and the arguments it is made with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """An environment: a gymnasium id (`module:Id` imports its module first) or `module:callable`,
    the arguments it is made with, and wrappers `module:Class`, the innermost first.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Whether both are the same environment, in whatever interpreter."""
        if not isinstance(other, EnvSpec):
            return NotImplemented
        return (self.id, dict(self.kwargs), self.wrappers) == (
            other.id,
            dict(other.kwargs),
            other.wrappers,
        )

    @property
    def registered_id(self) -> str:
        """The id as gymnasium knows it, without the module."""
        return self.id.rpartition(":")[2]

    @property
    def may_call(self) -> bool:
        """Whether whatever it names may be called, because the user named it. What a file names is
        made only where it is an environment, so that no file has anything else called.
        """
        return False


@dataclass(frozen=True, slots=True, eq=False)
class TypedEnv(EnvSpec):
    """One that the user named: by `--env`, or in a program."""

    @property
    def may_call(self) -> bool:
        """It may."""
        return True


@dataclass(frozen=True, slots=True, eq=False)
class EnvElsewhere(EnvSpec):
    """One that lives in the user's own interpreter, which no bundle names."""

    python: str = ""
    is_typed: bool = False  # else a bundle names what is made in that interpreter

    @property
    def may_call(self) -> bool:
        """Whether the user named it."""
        return self.is_typed


def atari_advice(env_id: str) -> str:
    """Return the option that names the preprocessed game of a bare Atari id (`ALE/Pong-v5`,
    `PongNoFrameskip-v4`); empty for others.
    """
    found = re.fullmatch(r"(?:.*:)?ALE/(\w+)-v\d+|(\w+?)(?:NoFrameskip|Deterministic)-v\d+", env_id)
    if found is None:
        return ""
    words = re.findall(r"3D|[A-Z](?:[a-z]|[0-9](?!D))*", found[1] or found[2])
    return f"--env quarl/Atari-v0 --env-arg game={'_'.join(words).lower()}"


def as_stored(env: EnvSpec | None) -> EnvSpec | None:
    """Return the environment with arguments that JSON can hold: infinity is {"float": "inf"}."""
    return None if env is None else EnvSpec(env.id, _stored(env.kwargs), env.wrappers)


def as_made(env: EnvSpec | None) -> EnvSpec | None:
    """Return the environment that `as_stored` stored."""
    return None if env is None else EnvSpec(env.id, _made(env.kwargs), env.wrappers)


def _stored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _stored(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_stored(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _made(value: Any) -> Any:
    if isinstance(value, Mapping):
        if list(value) == ["float"] and value["float"] in ("inf", "-inf", "nan"):
            return float(value["float"])
        return {key: _made(entry) for key, entry in value.items()}
    return [_made(entry) for entry in value] if isinstance(value, list) else value
