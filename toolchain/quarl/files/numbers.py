"""How large a number from outside may be."""

from __future__ import annotations

from typing import TypeVar

LARGEST = 1e100  # its cube, and sums of many, stay finite

N = TypeVar("N", int, float)


def bounded(number: N) -> N:
    """Return the number.

    Raises:
        ValueError: it lies beyond LARGEST; what is not finite in a text stays for others to refuse.
    """
    if LARGEST < abs(number) < float("inf"):
        raise ValueError(f"a number is beyond {LARGEST:g}")
    return number
