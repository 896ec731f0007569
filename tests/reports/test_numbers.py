"""Numbers, axes and pictures of the report."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.reports import svg
from quarl.reports.axes import Scale, even_ticks, log_ticks, spread
from quarl.reports.numbers import count, micro, number, percent, signed, size, time, with_unit
from quarl.reports.png import png_bytes
from tests.conftest import need


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (-3, "−3"),
        (39.79592, "39.8"),
        (0.0065118, "0.006512"),
        (12345.678, "12,346"),
        (0.00001, "1e-5"),
        (2.476e-7, "2.476e-7"),
        (1.5e9 + 0.5, "1.5e9"),
        (float("inf"), "∞"),
        (float("nan"), "not a number"),
    ],
)
def test_a_number_keeps_four_digits(value: float, text: str) -> None:
    assert number(value) == text.replace("-", "−")


def test_units_suit_their_size() -> None:
    plain = [
        words.replace("\N{NO-BREAK SPACE}", " ")
        for words in (time(1.332), time(1500), time(2e6), size(816), size(12472), size(2**20 * 12))
    ]
    assert plain == ["1.33 µs", "1.5 ms", "2 s", "816 B", "12.18 KiB", "12 MiB"]
    assert percent(0.00001).endswith("0.01\N{NO-BREAK SPACE}%")
    assert percent(0.123456).startswith("12.3")
    assert (signed(0.5), signed(-0.5), signed(0)) == ("+0.5", "−0.5", "0")
    assert with_unit(0.05, "of range").endswith("of the range")
    assert (count(1, "episode"), count(2, "episode"), count(2, "is", "are")) == (
        "1 episode",
        "2 episodes",
        "2 are",
    )
    assert (
        micro("8.4 us against 4.5 us of use")
        == "8.4\N{NO-BREAK SPACE}µs against 4.5\N{NO-BREAK SPACE}µs of use"
    )


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_lie_on_the_axis(low: float, width: float) -> None:
    ticks = even_ticks(low, low + width)
    assert 1 <= len(ticks) <= 11
    assert all(low - 1e-6 * width <= tick <= low + width + 1e-6 * width for tick in ticks)


@given(st.floats(1e-3, 1e3), st.floats(1.5, 1e6))
def test_ticks_of_a_logarithmic_axis_lie_on_it(low: float, factor: float) -> None:
    assert all(low * 0.99 <= tick <= low * factor * 1.01 for tick in log_ticks(low, low * factor))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_ends_hold_every_value_and_are_never_equal(values: list[float]) -> None:
    low, high = spread(values)
    assert low < high
    assert low <= min(values) <= max(values) <= high


def test_a_scale_maps_its_ends() -> None:
    for scale in (Scale(2, 10, 0, 100), Scale(2, 10, 0, 100, is_log=True)):
        assert (scale(2), round(scale(10), 9)) == (0, 100)


def test_attributes_and_words_of_a_drawing_are_escaped() -> None:
    assert (
        str(svg.text(1, 2.005, "<b>&", "name"))
        == '<text x="1" y="2" class="name">&lt;b&gt;&amp;</text>'
    )
    assert 'aria-label="a&#34;b"' in str(svg.drawing(1, 1, 'a"b', []))
    assert svg.coordinate(-0.001) == "0"


def test_a_picture_is_a_png() -> None:
    need("PIL")
    from PIL import Image

    picture = np.arange(84 * 84, dtype=np.int64).reshape(84, 84).astype(np.uint8)
    with Image.open(io.BytesIO(png_bytes(picture))) as opened:
        assert np.array_equal(np.asarray(opened), picture)
