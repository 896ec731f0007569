"""Options of how integers are chosen."""

from __future__ import annotations

from typing import Annotated

import typer

CostOption = Annotated[
    float | None,
    typer.Option(
        "--cost",
        metavar="FACTOR",
        min=1.0,
        help="What the integers may cost a device, times the cheapest ones; default: what the "
        "board's deadline and memory allow, or 1.05.",
    ),
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Show every candidate with its cost and its fidelity.")
]
