"""The option of a film in the report."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

FilmOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--film",
        help="Film an episode for the report, float32 beside int8. It runs the environment that "
        "the bundle names.",
    ),
]
