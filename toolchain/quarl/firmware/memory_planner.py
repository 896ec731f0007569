"""Memory planner: which bytes of one arena hold which tensor, and when.

In: buffers with their lifetimes in steps. Out: an offset for each, such that nothing live is
overwritten, and the arena's size.
A step's output may take the place of input that the step has already consumed: `distance` says by
how much the output must start before the input, so that no write reaches a byte a later read of the
same step needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Padding

ALIGNMENT = 8  # bytes; LDRD and LDM need 4, and 8 keeps float and int64 views legal on every core
EXHAUSTIVE = 6  # buffers up to which every order is tried: 720


@dataclass(frozen=True, slots=True)
class Buffer:
    """A tensor or scratch area that is live from step `first` to step `last`, both included."""

    name: str
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Permission: `output` may share memory with `source` if it starts at least `distance` bytes
    before it.
    """

    source: str
    output: str
    distance: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Byte offset of each buffer in an arena of `arena_bytes`; offsets are multiples of
    `ALIGNMENT`.
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    buffers: tuple[Buffer, ...] = ()


def plan_memory(buffers: Sequence[Buffer], overlaps: Sequence[Overlap]) -> MemoryPlan:
    """Return the smallest plan found: all orders of placing are tried for few buffers, sensible
    ones for many.
    """
    rules = {(rule.source, rule.output): _up(rule.distance) for rule in overlaps}
    best: dict[str, int] | None = None
    least = 0
    for order in _orders(buffers):
        offsets = _place(order, rules)
        size = max(offsets[b.name] + _up(b.bytes) for b in buffers) - min(offsets.values())
        if best is None or size < least:
            best, least = offsets, size
    assert best is not None
    low = min(best.values())
    return MemoryPlan({b.name: best[b.name] - low for b in buffers}, least, tuple(buffers))


@dataclass(frozen=True, slots=True)
class Patches:
    """What a windowed layer reads: a patch of its input for each output pixel, in row-major order.

    `shape` is height, width and channels of the input, of `element_bytes` an element.
    """

    shape: tuple[int, int, int]
    element_bytes: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding

    @property
    def input_bytes(self) -> int:
        """Bytes of the whole input."""
        return prod(self.shape) * self.element_bytes

    def lowest_reads(self) -> NDArray[np.int64]:
        """Return int64 [output pixels]: the first input byte each patch reads; the input's size
        where it reads padding only.
        """
        height, width, channels = self.shape
        rows, cols = (
            (self.shape[axis] + sum(self.padding[axis]) - self.kernel[axis]) // self.stride[axis]
            + 1
            for axis in (0, 1)
        )
        top = np.arange(rows, dtype=np.int64) * self.stride[0] - self.padding[0][0]
        left = np.arange(cols, dtype=np.int64) * self.stride[1] - self.padding[1][0]
        first_row, first_col = np.maximum(top, 0), np.maximum(left, 0)
        pixel_bytes = channels * self.element_bytes
        bytes_at = (first_row[:, None] * width + first_col[None, :]) * pixel_bytes
        below = first_row >= np.minimum(top + self.kernel[0], height)
        beside = first_col >= np.minimum(left + self.kernel[1], width)
        outside = below[:, None] | beside[None, :]
        lowest: NDArray[np.int64] = np.where(outside, self.input_bytes, bytes_at).ravel()
        return lowest


def window_distance(
    patches: Patches, pixel_bytes: int, *, pixels_per_group: int, reads_before_writes: bool
) -> int:
    """Return the distance (`Overlap`) of a windowed layer.

    Args:
        pixel_bytes: bytes of one output pixel.
        pixels_per_group: pixels whose patches are read together.
        reads_before_writes: whether a group's patches are read whole before any of its pixels is
            written.
    """
    lowest = patches.lowest_reads()
    starts = np.arange(0, len(lowest), pixels_per_group)
    group_lowest = np.minimum.reduceat(lowest, starts)
    needed = np.minimum.accumulate(group_lowest[::-1])[
        ::-1
    ]  # lowest byte that this or a later group reads
    if reads_before_writes:
        needed = np.append(needed[1:], patches.input_bytes)
    ends = np.minimum(starts + pixels_per_group, len(lowest)) * pixel_bytes
    return max(0, int((ends - needed).max()))


def elementwise_distance(count: int, in_bytes: int, out_bytes: int) -> int:
    """Return the distance of an operation that reads element i, then writes element i, in order."""
    return max(0, count * (out_bytes - in_bytes))


def _orders(buffers: Sequence[Buffer]) -> list[tuple[Buffer, ...]]:
    if len(buffers) <= EXHAUSTIVE:
        return list(permutations(buffers))
    by_size = sorted(buffers, key=lambda b: (-b.bytes, b.first, b.name))
    by_time = sorted(buffers, key=lambda b: (b.first, -b.bytes, b.name))
    longest = sorted(buffers, key=lambda b: (b.first - b.last, -b.bytes, b.name))
    return [tuple(by_size), tuple(by_time), tuple(reversed(by_time)), tuple(longest)]


def _place(order: Sequence[Buffer], rules: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Place each buffer where it grows the arena least; offsets may be negative."""
    offsets: dict[str, int] = {}
    placed: list[Buffer] = []
    low = high = 0
    for buffer in order:
        size = _up(buffer.bytes)
        rivals = [
            other for other in placed if other.first <= buffer.last and buffer.first <= other.last
        ]
        candidates = {0}
        for other in rivals:
            start = offsets[other.name]
            candidates |= {start + _up(other.bytes), start - size}
            if (other.name, buffer.name) in rules:
                candidates.add(start - rules[other.name, buffer.name])
            if (buffer.name, other.name) in rules:
                candidates.add(start + rules[buffer.name, other.name])
        free = [
            at
            for at in candidates
            if all(_may_stand(buffer, at, other, offsets[other.name], rules) for other in rivals)
        ]
        chosen = min(free, key=lambda at: (max(high, at + size) - min(low, at), abs(at), at))
        offsets[buffer.name] = chosen
        low, high = min(low, chosen), max(high, chosen + size)
        placed.append(buffer)
    return offsets


def _may_stand(
    buffer: Buffer, at: int, other: Buffer, start: int, rules: Mapping[tuple[str, str], int]
) -> bool:
    if at + _up(buffer.bytes) <= start or start + _up(other.bytes) <= at:
        return True
    as_output = rules.get((other.name, buffer.name))
    as_source = rules.get((buffer.name, other.name))
    return (as_output is not None and at + as_output <= start) or (
        as_source is not None and start + as_source <= at
    )


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
