"""`quarl finetune`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.command import takes
from quarl.cli.option_groups import BundleOptions
from quarl.cli.options import WeightsOption, widths_from
from quarl.cli.progress import TERMINAL, say
from quarl.cli.result import print_result, put


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(BundleOptions):
    """How long integers learn, and where."""

    weights: WeightsOption = "int4"
    activations: Annotated[
        int, typer.Option("--activations", metavar="BITS", help="Bits of hidden activations.")
    ] = 8
    inputs: Annotated[
        int | None,
        typer.Option(
            "--inputs",
            metavar="BITS",
            help="Bits of each observation feature, 3 to 16; default 12, and 8 for pixels.",
        ),
    ] = None
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help="Time to learn and play in.")
    ] = 3.0
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            metavar="N",
            help="Steps of each training, whatever the time: then the result can be repeated.",
        ),
    ] = None
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N")] = 0
    runs: Annotated[
        Path, typer.Option("--runs", metavar="FOLDER", help="Where a training is kept.")
    ] = Path("runs")
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what a killed training has reached.")
    ] = False


@takes(FinetuneOptions)
def finetune(options: FinetuneOptions) -> None:
    """Train integers to decide as the policy does, without a reward, and write their bundle."""
    from quarl import pipeline
    from quarl.cli import show
    from quarl.exporter.export import FinetuneRequest
    from quarl.finetune.assignment import TRAINING, Assignment

    widths = widths_from(options.weights, options.activations, options.inputs)
    exported = options.request()
    source = options.open(TERMINAL.stage)
    with options.open_workers() as workers:
        request = FinetuneRequest(
            assignment=Assignment(widths, options.minutes, options.seed, options.steps),
            runs=options.runs,
            resume=options.resume,
            tell=lambda standing: say(standing.sentence()),
            export=replace(exported, workers=workers),
        )
        release = pipeline.finetune(source, options.out, request, TERMINAL)
    if options.as_json:
        training = release.file(TRAINING).decode()
        print_result({**show.bundle_table(release), "training": training}, as_json=True)
        return
    put(show.bundle_text(release))
