"""Resamples in parts: the same numbers whatever the parts, in memory that does not grow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from quarl.stats import resamples
from quarl.stats.noninferiority import compare_means
from quarl.stats.resamples import over_resamples


@pytest.mark.parametrize("values", [1, 7, 40, 1 << 20])
def test_the_parts_change_nothing(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    returns = np.random.default_rng(0).normal(size=13)
    whole = returns[np.random.default_rng(5).integers(13, size=(50, 13))].mean(axis=1)
    monkeypatch.setattr(resamples, "PART_VALUES", values)
    parts = over_resamples(
        lambda rows: returns[rows].mean(axis=1), 13, 50, np.random.default_rng(5)
    )
    assert parts.tobytes() == whole.tobytes()


def test_more_episodes_take_no_more_memory_at_once() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=64_000)
    tracemalloc.start()
    compare_means(source, source + rng.normal(size=64_000), 1.0, resamples=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 8 * resamples.PART_VALUES
