"""How many paired episodes a command line asks for.

Goes in: the words of --episodes and --budget. Comes out: what `quarl.verdict.planning` takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quarl.verdict.planning import Asked

MOST_EPISODES = 1_000_000
MOST_MINUTES = 100_000  # ten weeks

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


def episodes_from(text: str | None, budget: float | None) -> Asked:
    """Return how many paired episodes the options ask for.

    Raises:
        InputError: no such number, or a budget without auto or of no time.
    """
    from quarl.errors import InputError
    from quarl.files.text import shortened
    from quarl.verdict.planning import BUDGET_MINUTES, AutoEpisodes

    if budget is not None and (text != "auto" or not 0 < budget <= MOST_MINUTES):
        raise InputError(
            f"--budget {budget:g}: is the time of --episodes auto, above 0 and at most "
            f"{MOST_MINUTES:,} minutes"
        )
    if text == "auto":
        return AutoEpisodes(BUDGET_MINUTES if budget is None else budget)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 7 or not 2 <= int(text) <= MOST_EPISODES:
        raise InputError(
            f"--episodes {shortened(text)}: must be auto or a number from 2 to {MOST_EPISODES:,}"
        )
    return int(text)
