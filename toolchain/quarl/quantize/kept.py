"""What was computed last, kept by what it was computed from.

In: keys and functions that compute. Out: what they returned, now or before. What was asked for
longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values of so many bytes together; the last one whatever its size.

    Args:
        size: bytes of a value.
    """

    def __init__(self, most: int, size: Callable[[T], int]) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._held = 0

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned for this key."""
        if key in self._values:
            self._values.move_to_end(key)
        else:
            self._forget(0)  # before there is more
            self._values[key] = make()
            self._held += self._size(self._values[key])
            self._forget(1)
        return self._values[key]

    def _forget(self, least: int) -> None:
        while self._held > self._most and len(self._values) > least:
            _, value = self._values.popitem(last=False)
            self._held -= self._size(value)
