"""Objects in a pickle as data: names with attributes. Only arrays of plain numbers get a meaning.

In: a pickle (`quarl.importers.torch.pickle`). Out: containers, numbers, texts, and `Thing` for what
would be an object. Nothing is imported or called.
Source: numpy.ndarray.__reduce__.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, QuarlError
from quarl.importers.torch.pickle import as_text

MAX_RANK = 8
# the last two: a number that no float holds, and words of a type that NumPy takes for Python
_OF_OTHER_CONTENTS = (
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError),
    *(ArithmeticError, SyntaxError),
)


@dataclass(eq=False)
class Thing:
    """Something of a class: what it was made with, and its attributes."""

    kind: str
    arguments: Any = ()
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """A class or function, by its whole name."""

    name: str


class ObjectMeanings:
    """Objects stay what they are called; arrays are taken apart later, by `array_of`."""

    def named(self, module: str, name: str) -> Named:
        """Return the name."""
        return Named(f"{module}.{name}")

    def called(self, function: object, arguments: object) -> Any:
        """Return what a call stands for; text that was written as letters is bytes again."""
        kind = function.name if isinstance(function, Named) else "?"
        if kind == "_codecs.encode" and isinstance(arguments, tuple):
            return as_text(arguments[0]).encode("latin-1", "replace")
        if kind == "collections.OrderedDict" and arguments in ((), ([],)):
            return {}
        return Thing(kind, arguments)

    def stored(self, reference: object) -> Any:
        """Return nothing: such a pickle keeps nothing beside itself."""
        raise ValueError("it refers to a file beside it")

    def built(self, value: Any, state: Any) -> None:
        """Keep the attributes of an object."""
        if not isinstance(value, Thing):
            raise ValueError(f"attributes of a {type(value).__name__}")
        value.attributes.update(state if isinstance(state, dict) else {"": state})


@contextmanager
def other_contents(name: str, what: str, remedy: str) -> Iterator[None]:
    """Turn what objects that are not the expected ones raise into one message: the file `name`
    `what` (the reason): `remedy`.

    Raises:
        InputError: instead. Errors of quarl's own pass.
    """
    try:
        yield
    except QuarlError:
        raise
    except _OF_OTHER_CONTENTS as error:
        raise InputError(f"{name}: {what} ({error}): {remedy}") from error


def array_of(value: Any) -> NDArray[np.float64]:
    """Return the numbers of an array, as `ndarray.__reduce__` writes one.

    Raises:
        ValueError, AttributeError, LookupError, TypeError: it is not an array of plain numbers.
    """
    if value.kind.endswith("._frombuffer"):
        data, dtype, shape, order = value.arguments
    else:
        _, shape, dtype, is_fortran, data = value.attributes[""]
        order = "F" if is_fortran else "C"
    kind = np.dtype(as_text(dtype.arguments[0]))
    if dtype.attributes[""][1] == ">":
        kind = kind.newbyteorder(">")
    is_plain = kind.kind in "fiu" and len(shape) <= MAX_RANK
    if not is_plain or len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array of {kind} {shape} with {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape, order=order).astype(np.float64)
