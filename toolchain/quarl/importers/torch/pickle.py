"""A pickle read as data: its instructions build containers, numbers and texts, and nothing else.

In: the bytes of a pickle. Out: the value it describes. A pickle is a small program; this machine
knows no instruction that imports or calls anything. Names, calls, stored tensors and attributes of
objects go to `Meanings`, which decides what they may be.
Format: pickletools in the Python library, PEP 3154.
"""

from __future__ import annotations

import pickletools
from typing import Any, Protocol, cast

from quarl.errors import UntrustedFileError

EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
PLAIN = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)


class Meanings(Protocol):
    """What the pickle's references to the outside may be."""

    def named(self, module: str, name: str) -> Any:
        """Return what stands for a name of a module."""

    def called(self, function: object, arguments: object) -> Any:
        """Return what stands for the result of a call."""

    def stored(self, reference: object) -> Any:
        """Return what stands for something kept beside the pickle."""

    def built(self, value: Any, state: Any) -> None:
        """Give an object its attributes."""


class Machine:
    """The stack, the marks on it and the memo of one pickle."""

    def __init__(self, name: str, meanings: Meanings) -> None:
        self.name, self.meanings = name, meanings
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, pickled: bytes) -> Any:
        """Return the value the pickle describes.

        Raises:
            UntrustedFileError: an instruction that plain tensors do not need.
            ValueError, IndexError, KeyError, TypeError: the pickle is damaged.
        """
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "STOP":
                return self.stack.pop()
            if not (
                self._put(opcode.name, argument)
                or self._remember(opcode.name, argument)
                or self._refer(opcode.name, argument)
                or self._fill(opcode.name)
            ):
                raise UntrustedFileError(
                    f"{self.name}: asks for the pickle instruction {opcode.name}, which plain "
                    "tensors do not need"
                )
        raise ValueError("it has no end")

    def _put(self, opcode: str, argument: Any) -> bool:
        """Push a value that stands in the instruction itself."""
        if opcode in EMPTY:
            self.stack.append(EMPTY[opcode]())
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in PLAIN:
            self.stack.append(argument)
        elif opcode == "TUPLE":
            self.stack.append(tuple(self._since_mark()))
        elif opcode in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(opcode[-1])
            self.stack[-count:] = [tuple(self.stack[-count:])]
        else:
            return False
        return True

    def _remember(self, opcode: str, argument: Any) -> bool:
        """Set a mark, or keep and fetch values by number."""
        if opcode == "MARK":
            self.marks.append(len(self.stack))
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        else:
            return opcode in ("PROTO", "FRAME")
        return True

    def _refer(self, opcode: str, argument: Any) -> bool:
        """Ask `meanings` what a reference to the outside is."""
        if opcode == "GLOBAL":
            module, name = cast(str, argument).split(" ", 1)
            self.stack.append(self.meanings.named(module, name))
        elif opcode == "STACK_GLOBAL":
            module, name = map(as_text, self.stack[-2:])
            self.stack[-2:] = [self.meanings.named(module, name)]
        elif opcode == "BINPERSID":
            self.stack.append(self.meanings.stored(self.stack.pop()))
        elif opcode == "REDUCE" or opcode == "NEWOBJ":
            arguments = self.stack.pop()
            self.stack.append(self.meanings.called(self.stack.pop(), arguments))
        elif opcode == "BUILD":
            state = self.stack.pop()
            self.meanings.built(self.stack[-1], state)
        else:
            return False
        return True

    def _fill(self, opcode: str) -> bool:
        """Put values into a container."""
        if opcode == "SETITEM":
            set_items(self.stack[-3], self.stack[-2:])
            del self.stack[-2:]
        elif opcode == "SETITEMS":
            items = self._since_mark()
            set_items(self.stack[-1], items)
        elif opcode == "APPEND":
            item = self.stack.pop()
            as_list(self.stack[-1]).append(item)
        elif opcode == "APPENDS":
            items = self._since_mark()
            as_list(self.stack[-1]).extend(items)
        else:
            return False
        return True

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items


def set_items(target: object, items: list[Any]) -> None:
    """Set keys and values, given in turn, in a dict."""
    # hashing a deeply nested key would exhaust the C stack
    if not all(type(key) in (str, int) for key in items[0::2]):
        raise ValueError("a dict key is neither a name nor a number")
    as_dict(target).update(zip(items[0::2], items[1::2], strict=True))


def as_dict(value: object) -> dict[Any, Any]:
    """Return the value, which must be a dict."""
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} where a dict belongs")
    return value


def as_text(value: object) -> str:
    """Return the value, which must be text: whatever else may be a structure of a few bytes whose
    words would fill the memory.
    """
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a text belongs")
    return value


def as_list(value: object) -> list[Any]:
    """Return the value, which must be a list."""
    if not isinstance(value, list):
        raise ValueError(f"a {type(value).__name__} where a list belongs")
    return value
