"""The replay keeps the newest rows, samples as it says, and never lets both sides wait."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.actorq.replay import Pace, PrioritizedRing, Ring, SumTree

ROW = np.dtype([("value", "i4")])


def _rows(values: range | list[int]) -> np.ndarray:
    rows = np.zeros(len(values), ROW)
    rows["value"] = list(values)
    return rows


@given(st.lists(st.integers(1, 25), min_size=1, max_size=12))
def test_the_ring_holds_the_newest_rows(sizes: list[int]) -> None:
    ring, count = Ring(10, ROW), 0
    for size in sizes:
        places = ring.add(_rows(range(count, count + size)))
        count += size
        assert ring.rows["value"][places].tolist() == list(range(count - len(places), count))
    kept = sorted(ring.rows["value"][: ring.size].tolist())
    assert kept == list(range(max(0, count - 10), count))


def test_every_row_is_as_likely() -> None:
    ring = Ring(8, ROW)
    ring.add(_rows(range(8)))
    drawn = ring.sample(80_000, np.random.default_rng(0)).rows["value"]
    assert np.bincount(drawn).min() > 9_500


@given(st.data(), st.integers(1, 40))
def test_the_sum_tree_finds_the_place_of_every_mark(data: st.DataObject, capacity: int) -> None:
    numbers = np.array(data.draw(st.lists(st.floats(0, 100), min_size=capacity, max_size=capacity)))
    tree = SumTree(capacity)
    tree.set(np.arange(capacity), numbers)
    assert tree.total == pytest.approx(numbers.sum())
    if numbers.sum() <= 1e-9:
        return
    ends = numbers.cumsum()
    marks = np.array([0.0, 0.25, 0.5, 0.75]) * tree.total
    found = tree.find(marks)
    assert (ends[found] >= marks - 1e-6).all()
    assert ((ends - numbers)[found] <= marks + 1e-6).all()


def test_a_large_error_is_sampled_as_often_as_its_priority_says() -> None:
    ring = PrioritizedRing(4, ROW, importance=1.0)
    places = ring.add(_rows(range(4)))
    ring.reprioritize(places, np.array([1.0, 1.0, 1.0, 10.0]))
    batch = ring.sample(40_000, np.random.default_rng(0))
    share = (batch.rows["value"] == 3).mean()
    assert share == pytest.approx(10**0.6 / (10**0.6 + 3), abs=0.01)
    seldom, often = batch.weights[batch.rows["value"] == 0], batch.weights[batch.rows["value"] == 3]
    assert seldom[0] / often[0] == pytest.approx(10**0.6, rel=1e-3)


def test_a_new_row_is_seen_soon() -> None:
    ring = PrioritizedRing(100, ROW, importance=0.2)
    ring.reprioritize(ring.add(_rows(range(99))), np.full(99, 50.0))
    ring.add(_rows([99]))
    assert 99 in ring.sample(400, np.random.default_rng(0)).rows["value"]


@pytest.mark.long
@given(
    min_rows=st.integers(0, 50),
    ratio=st.sampled_from([0.01, 0.3, 1.0, 16.0]),
    batch=st.integers(1, 64),
    insert=st.integers(1, 64),
    order=st.lists(st.booleans(), min_size=200, max_size=200),
)
def test_one_side_may_always_go_on_and_the_ratio_is_kept(
    min_rows: int, ratio: float, batch: int, insert: int, order: list[bool]
) -> None:
    buffer = insert * ratio + batch
    pace = Pace(min_rows, ratio, buffer)
    for wants_insert in order:
        may_insert, may_sample = pace.may_insert(), pace.may_sample(batch)
        assert may_insert or may_sample
        if may_insert and (wants_insert or not may_sample):
            pace.inserted += insert
        else:
            pace.sampled += batch
        if pace.inserted >= min_rows:
            assert -buffer - batch <= pace.ahead <= buffer + insert * ratio + batch
