"""`quarl actorq`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.command import takes
from quarl.cli.options import JsonOption
from quarl.cli.progress import say
from quarl.cli.result import print_result


@dataclass(frozen=True, slots=True)
class ActorqOptions:
    """What `quarl actorq` was asked for."""

    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A recipe.toml, a folder that holds one, or a shipped policy."
        ),
    ]
    out: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="Folder of the run; it must be new.")
    ]
    ray: Annotated[
        str,
        typer.Option(
            "--ray", metavar="ADDRESS", help="A Ray cluster to join; local: this machine."
        ),
    ] = "local"
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="int8|fp16|fp32", help="Of the actors.")
    ] = None
    actors: Annotated[int | None, typer.Option("--actors", min=1, help="How many.")] = None
    pull_every: Annotated[
        int | None,
        typer.Option("--pull-every", min=1, help="Steps of an actor between two policies."),
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the training.")] = None
    quick: Annotated[
        bool, typer.Option("--quick", help="Train for quick_steps only, along the same path.")
    ] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in RUN.")] = (
        False
    )
    as_json: JsonOption = False


@takes(ActorqOptions)
def actorq(asked: ActorqOptions) -> None:
    """Train a policy whose actors play in int8 while it learns."""
    from quarl.actorq.recipes import recipe_at
    from quarl.actorq.release import write_policy
    from quarl.actorq.run import Wishes, returns_text, run_actorq

    recipe, text = recipe_at(asked.recipe)
    changes: dict[str, object] = {
        "precision": asked.precision,
        "count": asked.actors,
        "pull_every": asked.pull_every,
    }
    if asked.seed is not None:
        recipe = replace(recipe, train=replace(recipe.train, seed=asked.seed))
    wishes = Wishes(asked.ray, asked.resume, asked.quick, changes)
    outcome = run_actorq(recipe, asked.out, wishes, say)
    folder = write_policy(outcome, recipe, text)
    if asked.as_json:
        result: object = {
            "policy": str(folder),
            "points": [asdict(point) for point in outcome.points],
            "wall_s": outcome.wall_s,
            "compared": outcome.compared,
            "differing": outcome.differing,
            "restarts": list(outcome.restarts),
        }
        print_result(json.loads(json.dumps(result)), asked.as_json)
        return
    print_result(
        f"{folder}: {returns_text(outcome.points)}\n{outcome.compared:,} int8 outputs compared "
        f"with the reference, {outcome.differing} differ; now: quarl ship {folder} --out BUNDLE",
        asked.as_json,
    )
