"""`quarl train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.options import JsonOption
from quarl.cli.progress import say
from quarl.cli.result import print_result


def train(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY", help="Name of a shipped policy, or a folder with a recipe.toml."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Default: RUNS/POLICY/policy/POLICY."),
    ] = None,
    runs: Annotated[
        Path,
        typer.Option("--runs", metavar="FOLDER", help="Where checkpoints and curves are kept."),
    ] = Path("runs"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Train for quick_steps only, along the same path.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a policy again from its recipe."""
    from quarl.cli import show
    from quarl.sources.recipe import read_recipe
    from quarl.sources.source import recipe_folder
    from quarl.train import train as train_policy
    from quarl.train.bf16_units import bf16_sentence, bf16_units

    folder = recipe_folder(policy)
    if read_recipe(folder).train.precision == "bf16":
        say(bf16_sentence(bf16_units()))
    target = out or runs / folder.name / "policy" / folder.name
    recipe = train_policy(
        folder,
        target,
        runs=runs,
        quick=quick,
        resume=resume,
        progress=lambda at: say(show.training_line(at)),
    )
    print_result(
        show.policies_table([recipe])[0]
        if as_json
        else f"{target}: {show.score_text(recipe.score)}",
        as_json,
    )
