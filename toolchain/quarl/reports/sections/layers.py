"""Where rounding costs what: noise, ranges and clipping of each layer, and what each part does to
the decisions.
"""

from __future__ import annotations

from markupsafe import Markup

from quarl.quantize.error_report import LayerReport, PartReport
from quarl.reports import svg
from quarl.reports.contents import Contents
from quarl.reports.numbers import fixed, number, percent
from quarl.reports.page import Cell, Column, Note, Section, Table
from quarl.reports.sections.board import share_bar

_TITLE = "Error of each layer"
_NOISE_DB = 50.0  # the bar's full length: the noise of ideal 8-bit rounding over the whole range
_PARTS = {
    "input": "observations alone",
    "weights": "weights alone",
    "activations": "activations alone",
    "all": "everything, as shipped",
}


def layers(contents: Contents) -> Section:
    """Return the section of the quantisation report."""
    report = contents.quantization
    if report is None:
        words = (
            "The policy came as an int8 file: without its float source the error of a "
            "layer cannot be known."
        )
        return Section(
            "layers", _TITLE, "What rounding does inside the policy.", (Note(words, True),)
        )
    lead = (
        f"On {report.observations:,} held-out observations, each layer beside what it would "
        "give if nothing were rounded."
        " Exact: the same on every run."
    )
    unit = (
        "value lost per decision"
        if contents.contract.action.is_choice
        else "mean error of the action"
    )
    return Section(
        "layers", _TITLE, lead, (_layer_table(report.layers), _part_table(report.parts, unit))
    )


def _layer_table(found: tuple[LayerReport, ...]) -> Table:
    columns = (
        Column("layer"),
        Column("signal to noise", "number"),
        Column("clipped", "number"),
        Column("range: integers (band) and seen (line)", "number"),
        Column("integers can say", "number"),
        Column("seen", "number"),
    )
    rows = []
    for layer in found:
        bits = "float32, a wide head" if layer.bits is None else f"{layer.bits} bits"
        bits += "" if layer.weight_bits is None else f", weights {layer.weight_bits} bits"
        noise = (
            Cell("none added")
            if layer.sqnr_db is None
            else Cell(f"{fixed(layer.sqnr_db, 1)} dB", strip=share_bar(layer.sqnr_db / _NOISE_DB))
        )
        clipped = Cell(
            percent(layer.clip_rate), strip=share_bar(min(10 * layer.clip_rate, 1.0), "fill-fail")
        )
        can_say = (
            "anything" if layer.low is None or layer.high is None else _span(layer.low, layer.high)
        )
        rows.append(
            (
                Cell(layer.layer, note=f"{layer.operation}, {bits}"),
                noise,
                clipped,
                Cell(strip=_range(layer)),
                Cell(can_say),
                Cell(_span(layer.seen_low, layer.seen_high)),
            )
        )
    caption = (
        "Bars: signal to noise up to 50 dB, clipped values up to 10 %. Red parts of the "
        "line are seen but cannot be said: they are clipped"
    )
    return Table(caption, columns, tuple(rows))


def _span(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"


def _range(layer: LayerReport) -> Markup:
    """Draw what was seen as a line over what the integers can say; what sticks out is clipped."""
    if layer.low is None or layer.high is None:
        return svg.strip(100, 12, [svg.rectangle(0, 5, 100, 2, "fill-int8")])
    low, high = min(layer.low, layer.seen_low), max(layer.high, layer.seen_high)
    width = high - low or 1.0

    def at(value: float) -> float:
        return 100 * (value - low) / width

    inside = max(layer.seen_low, layer.low), min(layer.seen_high, layer.high)
    return svg.strip(
        100,
        12,
        [
            svg.rectangle(at(layer.low), 0, at(layer.high) - at(layer.low), 12, "track"),
            svg.rectangle(
                at(layer.seen_low), 5, at(inside[0]) - at(layer.seen_low), 2, "fill-fail"
            ),
            svg.rectangle(at(inside[0]), 4, at(inside[1]) - at(inside[0]), 4, "fill-int8"),
            svg.rectangle(at(inside[1]), 5, at(layer.seen_high) - at(inside[1]), 2, "fill-fail"),
        ],
    )


def _part_table(parts: tuple[PartReport, ...], unit: str) -> Table:
    most = max((part.decision_error for part in parts), default=0.0) or 1.0
    rows = tuple(
        (
            Cell(_PARTS[part.part]),
            Cell(number(part.decision_error), strip=share_bar(part.decision_error / most)),
            Cell(percent(part.changed)),
        )
        for part in parts
    )
    columns = (
        Column("rounded"),
        Column(unit, "number"),
        Column("observations with another action", "number"),
    )
    return Table("What each part does to the decisions when only it is rounded", columns, rows)
