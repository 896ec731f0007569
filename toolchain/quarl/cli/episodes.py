"""How many paired episodes a command line asks for.

Goes in: nothing. Comes out: options, whose words `quarl.verdict.planning.asked_episodes` reads.
"""

from __future__ import annotations

from typing import Annotated

import typer

EpisodesOption = Annotated[
    str | None,
    typer.Option(
        "--episodes",
        metavar="N|auto",
        help="Paired episodes to play; auto plays as many as the margin needs.",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget",
        metavar="MINUTES",
        help="With --episodes auto: how long they may take; default: 10.",
    ),
]
