"""Quantisers beside each other: same episodes, honest figures, nothing lost on the way out."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from quarl.boards.microcontroller import find_board
from quarl.errors import InputError
from quarl.importers import ImportOptions
from quarl.quantize.widths import widths_named
from quarl.resources import targets_dir
from quarl.sources.source import open_source
from quarl.study.compare import Grid, OnBoard, Row, compare_source, methods_named
from quarl.study.compare_outputs import (
    comparison_csv,
    comparison_markdown,
    comparison_svg,
    problems_of,
    table_of,
)
from tests.conftest import need

ROW = Row(
    policy="arm|x",
    method="quarl",
    weights="int8",
    rung=3,
    episodes=100,
    source_return=12.5,
    mean_return=12.25,
    loss_percent=2.0,
    loss_low=-1.0,
    loss_high=5.0,
    agreement=0.98,
    model_bytes=12_345,
    packed_bytes=9_876,
    latency_us=7.25,
    boards=(
        OnBoard("pico", (10.0, 20.0, 30.0), 1_000, 9_000, 800),
        OnBoard("tiny", reason="tiny: the image needs 9,000 B of flash"),
    ),
)


@pytest.mark.play
def test_candidates_play_the_episodes_of_their_source() -> None:
    source = open_source("cartpole_ppo", ImportOptions(), None)
    grid = Grid(
        methods=("float", "quarl", "ort"),
        weights=(widths_named("int8"), widths_named("int2-all")),
        rungs=(3,),
        episodes=3,
    )
    rows = compare_source(source, grid)
    assert [(row.method, row.weights) for row in rows] == [
        ("float", "float32"),
        ("quarl", "int8"),
        ("quarl", "int2-all"),
        ("ort", "int8"),
    ]
    assert not problems_of(rows)
    assert {row.source_return for row in rows} == {rows[0].mean_return}
    assert rows[0].agreement == 1.0
    assert rows[1].agreement > rows[2].agreement, "two bits decide worse than eight"  # type: ignore[operator]
    assert all(row.latency_us and row.model_bytes for row in rows)
    float_bytes, int8, int2, ort = (row.packed_bytes for row in rows)
    assert float_bytes is None
    assert ort is None
    assert int8 - int2 == (4 * 64 + 64 * 64 + 64 * 2) * 3 // 4  # type: ignore[operator]


def test_without_an_environment_decisions_are_compared_and_auto_is_a_problem() -> None:
    source = replace(open_source("cartpole_ppo", ImportOptions(), None), env=None)
    rows = compare_source(source, Grid(methods=("quarl",), rungs=(3, None)))
    assert rows[0].mean_return is None
    assert rows[0].agreement
    assert "--rungs auto plays to choose" in rows[1].problem
    head, body = table_of(rows)
    assert body[0][head.index("return")] == "not played"


def test_tflite_converter_is_a_candidate() -> None:
    need("tensorflow")
    source = replace(open_source("cartpole_ppo", ImportOptions(), None), env=None)
    (row,) = compare_source(source, Grid(methods=("tflite",)))
    assert not row.problem
    assert 0.5 < row.agreement <= 1  # type: ignore[operator]


def test_boards_are_counted_in_their_emulator() -> None:
    need("ziglang", "unicorn")
    source = replace(open_source("pendulum_sac", ImportOptions(), None), env=None)
    board = find_board("nrf52840_dk", targets_dir())
    (row,) = compare_source(source, Grid(methods=("quarl",), boards=(board,)))
    (place,) = row.boards
    assert place.instructions
    assert place.latency_us
    assert place.latency_us[0] <= place.latency_us[1] <= place.latency_us[2]


def test_an_int8_file_is_refused() -> None:
    source = open_source("cartpole_ppo", ImportOptions(), None)
    from quarl.quantize.ladder import quantize_on_rung
    from quarl.sources.observations import observations_of

    quantized = quantize_on_rung(source.policy, observations_of(source, None)[0], 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds integers already"):
        compare_source(replace(source, policy=quantized), Grid())


def test_methods_are_named_and_the_closest_is_offered() -> None:
    assert methods_named("ort,quarl,ort") == ("ort", "quarl")
    with pytest.raises(InputError, match="tflite"):
        methods_named("quarl,tflight")


def test_csv_has_every_figure() -> None:
    problem = Row("leg", "ort", "int8", None, problem="no, this")
    table = list(csv.DictReader(io.StringIO(comparison_csv([ROW, problem]))))
    assert table[0]["mean_return"] == "12.25"
    assert (table[0]["model_bytes"], table[0]["packed_bytes"]) == ("12345", "9876")
    assert table[1]["packed_bytes"] == ""
    assert table[0]["pico_latency_high_us"] == "30"
    assert table[0]["tiny_flash_bytes"] == ""
    assert table[1]["problem"] == "no, this"
    assert table[1]["agreement"] == ""


def test_markdown_is_a_table_whatever_the_names() -> None:
    text = comparison_markdown([ROW])
    lines = text.splitlines()
    count = lines[1].count("---")
    assert all(line.replace("\\|", "").count("|") == count + 1 for line in lines[:3])
    assert "2.00 (-1.00 to 5.00)" in text
    assert "12,345, 9,876" in text
    assert "does not fit" in text
    assert "9,000 B of flash" in text


@pytest.mark.long
def test_plot_is_svg_and_repeats() -> None:
    need("matplotlib")
    svg = comparison_svg([ROW, replace(ROW, method="ort", rung=None, model_bytes=20_000)])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "quarl int8 rung 3" in svg
    assert svg == comparison_svg([ROW, replace(ROW, method="ort", rung=None, model_bytes=20_000)])
