"""Pictures among the values of a vector: a Dict or Tuple of a picture and vectors is observed as
one vector, and the contract says where in it a picture lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from quarl.errors import InputError


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels from 0 to 255, row by row, the channels of a pixel side by side."""

    first: int  # its first value's place in the vector
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """[height, width, channels]."""
        return self.height, self.width, self.channels

    @property
    def place(self) -> slice:
        """Its values among those of the vector."""
        return slice(self.first, self.first + prod(self.shape))


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part of a Dict or a Tuple: its key, and how many of the vector's values it has."""

    name: str
    count: int


def check_parts(parts: tuple[NamedPart, ...], count: int) -> None:
    """Check that the parts are the whole of a vector of `count` values.

    Raises:
        InputError: they are more or fewer.
    """
    lengths = [part.count for part in parts]
    if parts and not (all(type(n) is int and n > 0 for n in lengths) and sum(lengths) == count):
        raise InputError(f"contract: parts of {lengths} values in an observation of {count}")


def check_pictures(pictures: tuple[Picture, ...], count: int) -> None:
    """Check that the pictures lie in a vector of `count` values, one behind the other.

    Raises:
        InputError: one does not.
    """
    end = 0
    for picture in pictures:
        numbers = (picture.first, *picture.shape)
        is_whole = all(type(number) is int for number in numbers) and min(picture.shape) > 0
        if not is_whole or not end <= picture.first <= picture.place.stop <= count:
            raise InputError(
                f"contract: a picture of {picture.shape} from value {picture.first} on does not "
                f"fit into values {end} to {count} of the observation"
            )
        end = picture.place.stop


def pictures_from(document: Any) -> tuple[Picture, ...]:
    """Return the pictures of a contract's JSON.

    Raises:
        TypeError: other fields than a picture's.
    """
    return tuple(Picture(**fields) for fields in document)


def parts_from(document: Any) -> tuple[NamedPart, ...]:
    """Return the parts of a contract's JSON.

    Raises:
        TypeError: other fields than a part's.
    """
    return tuple(NamedPart(**fields) for fields in document)
