"""Where a policy plays: the environment, its wrappers, and the Python in which it lives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from quarl.graph.env_spec import EnvSpec

EnvOption = Annotated[
    str | None,
    typer.Option(
        "--env",
        metavar="ID",
        help="Gymnasium environment; module:Id imports its module, module:callable calls it.",
    ),
]
EnvArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env-arg",
        metavar="KEY=VALUE",
        help="Argument of the environment; the value is JSON or plain text.",
    ),
]
EnvPythonOption = Annotated[
    str | None,
    typer.Option(
        "--env-python",
        metavar="PATH",
        help="The Python in which the environment lives, such as venv/bin/python: it needs "
        "gymnasium and numpy in any version, and nothing of quarl.",
    ),
]
WrapperOption = Annotated[
    list[str] | None,
    typer.Option(
        "--wrapper",
        metavar="MODULE:CLASS",
        help="Wrapper around the environment; may be repeated, the innermost first.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """Where a policy plays."""

    env: EnvOption = None
    env_arg: EnvArgOption = None
    wrapper: WrapperOption = None
    env_python: EnvPythonOption = None

    def env_spec(self, own: EnvSpec | None = None) -> EnvSpec | None:
        """Return the environment the options name, or None.

        Args:
            own: that of the bundle, which `--env-python` alone is for.
        Raises:
            InputError: an argument that is not KEY=VALUE, or an option without an environment.
        """
        from quarl.errors import InputError
        from quarl.graph.env_spec import EnvElsewhere, TypedEnv

        if self.env is None:
            for option, given in (("--env-arg", self.env_arg), ("--wrapper", self.wrapper)):
                if given:
                    raise InputError(f"{option} needs --env: name the environment it is for")
            if self.env_python is not None and own is None:
                raise InputError("--env-python needs --env: name the environment that lives there")
        made = (
            own
            if self.env is None
            else TypedEnv(self.env, _arguments(self.env_arg), tuple(self.wrapper or ()))
        )
        if self.env_python is None:
            return None if self.env is None else made
        assert made is not None
        is_typed = self.env is not None
        return EnvElsewhere(made.id, made.kwargs, made.wrappers, self.env_python, is_typed)


def _arguments(arguments: Sequence[str] | None) -> dict[str, Any]:
    """Return the arguments of an environment."""
    from quarl.errors import InputError

    kwargs: dict[str, Any] = {}
    for argument in arguments or ():
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise InputError(
                f"--env-arg {argument}: must be KEY=VALUE, for example actions=discrete"
            )
        try:
            kwargs[key] = json.loads(value)
        except ValueError:
            kwargs[key] = value
    return kwargs
