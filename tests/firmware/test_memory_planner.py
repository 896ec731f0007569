from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.firmware.lower import lower
from quarl.firmware.memory_planner import (
    ALIGNMENT,
    Buffer,
    MemoryPlan,
    Overlap,
    Patches,
    elementwise_distance,
    plan_memory,
    window_distance,
)
from tests.support.samples import sample


def touch(plan: MemoryPlan, buffer: Buffer) -> range:
    return range(plan.offsets[buffer.name], plan.offsets[buffer.name] + buffer.bytes)


@st.composite
def buffer_lists(draw: st.DrawFn) -> list[Buffer]:
    count = draw(st.integers(1, 9))
    buffers = []
    for i in range(count):
        first = draw(st.integers(0, 6))
        buffers.append(
            Buffer(f"b{i}", draw(st.integers(1, 300)), first, draw(st.integers(first, 7)))
        )
    return buffers


@settings(max_examples=60, deadline=None)
@given(buffer_lists())
def test_buffers_that_live_together_never_share_a_byte(buffers: list[Buffer]) -> None:
    plan = plan_memory(buffers, [])
    for a, b in combinations(buffers, 2):
        if a.first <= b.last and b.first <= a.last:
            ours, theirs = touch(plan, a), touch(plan, b)
            assert ours.stop <= theirs.start or theirs.stop <= ours.start
    assert all(offset % ALIGNMENT == 0 and offset >= 0 for offset in plan.offsets.values())
    assert plan.arena_bytes >= max(touch(plan, b).stop for b in buffers)
    live = max(sum(b.bytes for b in buffers if b.first <= step <= b.last) for step in range(8))
    assert plan.arena_bytes >= live


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Buffer], list[Overlap]]:
    """Buffers of a chain of layers, each of which may take its input's place at a random
    distance.
    """
    count = draw(st.integers(2, 8))
    buffers = [Buffer(f"b{i}", draw(st.integers(1, 300)), max(0, i - 1), i) for i in range(count)]
    overlaps = [
        Overlap(f"b{i}", f"b{i + 1}", draw(st.integers(0, buffers[i + 1].bytes)))
        for i in range(count - 1)
        if draw(st.booleans())
    ]
    scratch = [
        Buffer(f"s{i}", draw(st.integers(1, 50)), i, i)
        for i in range(count - 1)
        if draw(st.booleans())
    ]
    return [*buffers, *scratch], overlaps


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(chains())
def test_an_output_shares_its_input_only_at_the_allowed_distance(
    chain: tuple[list[Buffer], list[Overlap]],
) -> None:
    buffers, overlaps = chain
    plan = plan_memory(buffers, overlaps)
    allowed = {frozenset((rule.source, rule.output)): rule for rule in overlaps}
    for a, b in combinations(buffers, 2):
        if a.first <= b.last and b.first <= a.last and set(touch(plan, a)) & set(touch(plan, b)):
            rule = allowed[frozenset((a.name, b.name))]
            assert plan.offsets[rule.output] + rule.distance <= plan.offsets[rule.source]
    assert plan.arena_bytes <= plan_memory(buffers, []).arena_bytes


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_convolution_at_its_distance_never_overwrites_what_it_still_reads(
    data: st.DataObject,
) -> None:
    """Plays the writes and reads byte by byte; one alignment step closer is allowed to fail, this
    distance is not.
    """
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(3))
    kernel = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    stride = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    padding = tuple((data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(2))
    rows, cols = ((shape[a] + sum(padding[a]) - kernel[a]) // stride[a] + 1 for a in (0, 1))
    if rows < 1 or cols < 1:
        return
    element, pixel_bytes, group = (
        data.draw(st.sampled_from([1, 2])),
        data.draw(st.integers(1, 20)),
        data.draw(st.sampled_from([1, 2])),
    )
    first_reads = data.draw(st.booleans())
    distance = window_distance(
        Patches(shape, element, kernel, stride, padding),  # type: ignore[arg-type]
        pixel_bytes,
        pixels_per_group=group,
        reads_before_writes=first_reads,
    )
    source = distance  # the output starts at 0
    overwritten = np.zeros(
        distance + int(np.prod(shape)) * element + rows * cols * pixel_bytes, bool
    )
    for start in range(0, rows * cols, group):
        pixels = range(start, min(start + group, rows * cols))
        reads = [
            _bytes_read(pixel, cols, shape, element, kernel, stride, padding) for pixel in pixels
        ]
        if not first_reads:
            overwritten[pixels.start * pixel_bytes : pixels.stop * pixel_bytes] = True
        for offsets in reads:
            assert not overwritten[source + offsets].any()
        overwritten[pixels.start * pixel_bytes : pixels.stop * pixel_bytes] = True


def _bytes_read(pixel, cols, shape, element, kernel, stride, padding):  # type: ignore[no-untyped-def]
    top = pixel // cols * stride[0] - padding[0][0]
    left = pixel % cols * stride[1] - padding[1][0]
    ys = [y for y in range(top, top + kernel[0]) if 0 <= y < shape[0]]
    xs = [x for x in range(left, left + kernel[1]) if 0 <= x < shape[1]]
    elements = [(y * shape[1] + x) * shape[2] + c for y in ys for x in xs for c in range(shape[2])]
    return np.array([e * element + i for e in elements for i in range(element)], np.int64)


@pytest.mark.parametrize(
    ("in_bytes", "out_bytes", "distance"), [(1, 1, 0), (2, 1, 0), (1, 2, 10), (2, 2, 0)]
)
def test_an_elementwise_step_works_in_place_unless_it_widens(
    in_bytes: int, out_bytes: int, distance: int
) -> None:
    assert elementwise_distance(10, in_bytes, out_bytes) == distance


def test_the_nature_network_needs_less_than_30000_bytes_input_included() -> None:
    program = lower(sample("nature", 3)[1], "portable")
    assert 84 * 84 * 4 <= program.plan.arena_bytes <= 30_000
