"""A verb that takes its options as one value: each field of a dataclass is an option of the command
line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def takes(kind: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Return what makes a command of `verb(options)`.

    Args:
        kind: a dataclass whose fields are annotated as typer wants its parameters. A class that
            extends another shares its options.
    """
    hints = get_type_hints(kind, include_extras=True)
    parameters = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=hints[field.name],
        )
        for field in fields(kind)  # type: ignore[arg-type]  # every kind is a dataclass
    ]

    def decorate(verb: Callable[[Options], None]) -> Callable[..., None]:
        def command(**words: Any) -> None:
            verb(kind(**words))

        command.__doc__, command.__name__ = verb.__doc__, verb.__name__
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _default(field: Field[Any]) -> Any:
    return Parameter.empty if field.default is MISSING else field.default
