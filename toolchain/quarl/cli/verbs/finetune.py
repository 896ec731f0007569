"""`quarl finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarl.cli.options import (
    BoardOption,
    CalibrationOption,
    EnvArgOption,
    EnvOption,
    JsonOption,
    LimitsOption,
    NoObsNormOption,
    ObsNormOption,
    OutOption,
    SourceArgument,
    board_named,
    env_spec,
    import_options,
    limits_from,
    widths_from,
)
from quarl.cli.progress import progress_bar, say
from quarl.cli.result import print_result

if TYPE_CHECKING:
    from quarl.finetune.assignment import Telling


def finetune(
    source: SourceArgument,
    out: OutOption,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="int2..int8[-all]",
            help="Bits of the weights of all layers but the first and the last; -all takes those "
            "too.",
        ),
    ] = "int4",
    activations: Annotated[
        int, typer.Option("--activations", metavar="BITS", help="Bits of hidden activations.")
    ] = 8,
    inputs: Annotated[
        int | None,
        typer.Option(
            "--inputs",
            metavar="BITS",
            help="Bits of each observation feature, 3 to 16; default 12, and 8 for pixels.",
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help="Time to learn and play in.")
    ] = 3.0,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            metavar="N",
            help="Steps of each training, whatever the time: then the result can be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N")] = 0,
    runs: Annotated[
        Path, typer.Option("--runs", metavar="FOLDER", help="Where a training is kept.")
    ] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what a killed training has reached.")
    ] = False,
    calibration: CalibrationOption = None,
    obs_norm: ObsNormOption = None,
    no_obs_norm: NoObsNormOption = False,
    limits: LimitsOption = None,
    board: BoardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train integers to decide as the policy does, without a reward, and write their bundle."""
    from quarl import pipeline
    from quarl.cli import show
    from quarl.finetune.assignment import TRAINING, Assignment

    assignment = Assignment(widths_from(weights, activations, inputs), minutes, seed, steps)
    wanted, target = limits_from(limits), board_named(board)
    opened = pipeline.import_source(
        source, import_options(obs_norm, no_obs_norm), env_spec(env, env_arg), fetching=progress_bar
    )
    bundle = pipeline.finetune(
        opened,
        out,
        assignment,
        runs=runs,
        resume=resume,
        calibration=calibration,
        limits=wanted,
        board=target,
        report=say,
        tell=lambda telling: say(learning_line(telling)),
    )
    if as_json:
        print_result(
            {**show.bundle_table(bundle), "training": bundle.read(TRAINING).decode()}, as_json
        )
        return
    print(show.bundle_text(bundle))


def learning_line(telling: Telling) -> str:
    """Return where a training stands."""
    mark, played = telling.mark, telling.mean_return
    returned = "" if played is None else f"  own return {played:9.2f}"
    return (
        f"{telling.candidate:>15} {telling.done:4.0%}  {mark.step:>7,} steps  {mark.seconds:6.0f} s"
        f"  loss {mark.loss:8.4f}  agreement {mark.agreement:7.2%}  error {mark.error:9.3g}"
        f"{returned}"
    )
