"""A small drawing surface in NumPy: discs, boxes, lines and captions, with smooth edges."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Frame: TypeAlias = NDArray[np.uint8]
Color: TypeAlias = tuple[int, int, int]

GLYPH_HEIGHT = 7
GLYPH_PITCH = 6
# Rows from the top, one hexadecimal number each, five bits wide, the left pixel in the highest bit.
GLYPHS: dict[str, str] = {
    "A": "0E 11 11 1F 11 11 11",
    "B": "1E 11 11 1E 11 11 1E",
    "C": "0E 11 10 10 10 11 0E",
    "D": "1E 11 11 11 11 11 1E",
    "E": "1F 10 10 1E 10 10 1F",
    "F": "1F 10 10 1E 10 10 10",
    "G": "0E 11 10 17 11 11 0F",
    "H": "11 11 11 1F 11 11 11",
    "I": "0E 04 04 04 04 04 0E",
    "J": "07 02 02 02 02 12 0C",
    "K": "11 12 14 18 14 12 11",
    "L": "10 10 10 10 10 10 1F",
    "M": "11 1B 15 15 11 11 11",
    "N": "11 19 15 13 11 11 11",
    "O": "0E 11 11 11 11 11 0E",
    "P": "1E 11 11 1E 10 10 10",
    "Q": "0E 11 11 11 15 12 0D",
    "R": "1E 11 11 1E 14 12 11",
    "S": "0F 10 10 0E 01 01 1E",
    "T": "1F 04 04 04 04 04 04",
    "U": "11 11 11 11 11 11 0E",
    "V": "11 11 11 11 11 0A 04",
    "W": "11 11 11 15 15 1B 11",
    "X": "11 11 0A 04 0A 11 11",
    "Y": "11 11 0A 04 04 04 04",
    "Z": "1F 01 02 04 08 10 1F",
    "0": "0E 11 13 15 19 11 0E",
    "1": "04 0C 04 04 04 04 0E",
    "2": "0E 11 01 06 08 10 1F",
    "3": "1E 01 01 0E 01 01 1E",
    "4": "02 06 0A 12 1F 02 02",
    "5": "1F 10 1E 01 01 11 0E",
    "6": "06 08 10 1E 11 11 0E",
    "7": "1F 01 02 04 08 08 08",
    "8": "0E 11 11 0E 11 11 0E",
    "9": "0E 11 11 0F 01 02 0C",
    ".": "00 00 00 00 00 0C 0C",
    "-": "00 00 00 0E 00 00 00",
    "/": "01 01 02 04 08 10 10",
    ":": "00 0C 0C 00 0C 0C 00",
    " ": "00 00 00 00 00 00 00",
}  # fmt: skip


class Canvas:
    """An RGB picture to draw on. Coordinates in pixels: x to the right, y down, pixel centres at
    half numbers.
    """

    def __init__(self, width: int, height: int, background: Color) -> None:
        self._image = np.empty((height, width, 3), np.float32)
        self._image[:] = background
        self._clip = (0, 0, width, height)

    def frame(self) -> Frame:
        """Return the picture, uint8 [height, width, 3]."""
        return np.asarray(np.clip(self._image + 0.5, 0.0, 255.0).astype(np.uint8))

    def clip(self, left: float, top: float, right: float, bottom: float) -> None:
        """Draw shapes only inside this rectangle from now on."""
        self._clip = (round(left), round(top), round(right), round(bottom))

    def rectangle(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        color: Color,
        opacity: float = 1.0,
    ) -> None:
        """Fill an upright rectangle."""
        window, x, y = self._window(left, top, right, bottom, 1.0)
        center_x, center_y = (left + right) / 2, (top + bottom) / 2
        outside = np.maximum(
            np.abs(x - center_x) - (right - left) / 2, np.abs(y - center_y) - (bottom - top) / 2
        )
        self._blend(window, outside, color, opacity)

    def disc(self, x: float, y: float, radius: float, color: Color, opacity: float = 1.0) -> None:
        """Fill a circle."""
        window, grid_x, grid_y = self._window(x - radius, y - radius, x + radius, y + radius, 1.0)
        self._blend(window, np.hypot(grid_x - x, grid_y - y) - radius, color, opacity)

    def ring(
        self, x: float, y: float, radius: float, width: float, color: Color, opacity: float = 1.0
    ) -> None:
        """Draw a circle's line."""
        window, grid_x, grid_y = self._window(x - radius, y - radius, x + radius, y + radius, width)
        self._blend(
            window, np.abs(np.hypot(grid_x - x, grid_y - y) - radius) - width / 2, color, opacity
        )

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        width: float,
        color: Color,
        opacity: float = 1.0,
    ) -> None:
        """Draw a straight line with round ends."""
        (x0, y0), (x1, y1) = start, end
        window, x, y = self._window(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), width)
        along_x, along_y = x1 - x0, y1 - y0
        square = along_x * along_x + along_y * along_y
        share = (
            np.clip(((x - x0) * along_x + (y - y0) * along_y) / square, 0.0, 1.0)
            if square > 0.0
            else np.zeros((1, 1))
        )
        self._blend(
            window,
            np.hypot(x - x0 - share * along_x, y - y0 - share * along_y) - width / 2,
            color,
            opacity,
        )

    def triangle(
        self,
        corners: tuple[tuple[float, float], tuple[float, float], tuple[float, float]],
        color: Color,
    ) -> None:
        """Fill a triangle whose corners go round clockwise as seen in the picture."""
        xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
        window, x, y = self._window(min(xs), min(ys), max(xs), max(ys), 1.0)
        outside: NDArray[np.floating] = np.full(np.broadcast_shapes(x.shape, y.shape), -np.inf)
        for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            length = float(np.hypot(x1 - x0, y1 - y0)) or 1.0
            outside = np.maximum(outside, ((y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)) / length)
        self._blend(window, outside, color, 1.0)

    def text(self, x: int, y: int, words: str, color: Color, size: int = 2) -> None:
        """Write a caption whose upper left corner is at x, y; capitals, digits and a few signs,
        `size` pixels a dot.
        """
        for place, letter in enumerate(words.upper()):
            rows = [int(row, 16) for row in GLYPHS[letter].split()]
            dots = np.array(
                [[row >> (4 - column) & 1 for column in range(5)] for row in rows], np.bool_
            )
            dots = dots.repeat(size, axis=0).repeat(size, axis=1)
            left = x + place * GLYPH_PITCH * size
            self._image[y : y + dots.shape[0], left : left + dots.shape[1]][dots] = color

    def _window(
        self, left: float, top: float, right: float, bottom: float, margin: float
    ) -> tuple[tuple[slice, slice], NDArray[np.floating], NDArray[np.floating]]:
        """Return the pixels around a shape and the coordinates of their centres."""
        clip_left, clip_top, clip_right, clip_bottom = self._clip
        x0, x1 = (
            int(np.clip(edge, clip_left, clip_right))
            for edge in (np.floor(left - margin), np.ceil(right + margin))
        )
        y0, y1 = (
            int(np.clip(edge, clip_top, clip_bottom))
            for edge in (np.floor(top - margin), np.ceil(bottom + margin))
        )
        return (
            (slice(y0, y1), slice(x0, x1)),
            np.arange(x0, x1)[None, :] + 0.5,
            np.arange(y0, y1)[:, None] + 0.5,
        )

    def _blend(
        self,
        window: tuple[slice, slice],
        outside: NDArray[np.floating],
        color: Color,
        opacity: float,
    ) -> None:
        """Lay a colour over the pixels; `outside` is how far each is from the inside of the
        shape.
        """
        cover = (opacity * np.clip(0.5 - outside, 0.0, 1.0))[:, :, None].astype(np.float32)
        region = self._image[window]
        region += (np.array(color, np.float32) - region) * cover
