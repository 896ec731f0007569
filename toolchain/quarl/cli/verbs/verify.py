"""`quarl verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.options import BundleArgument, JsonOption
from quarl.cli.result import Exit, print_result


def verify(
    bundle: BundleArgument,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE.npz",
            help="Observations of the export, where they were a file of your own.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Export a bundle again from its source.npz and say which file differs; exit code 1 where one
    does.
    """
    from quarl import pipeline
    from quarl.bundle.release import open_bundle

    found = pipeline.verify(open_bundle(bundle), calibration)
    if as_json:
        print_result(asdict(found), as_json)
    else:
        ending = "differs" if found.differing else "is the same"
        lines = (*found.differing, *found.notes, f"{len(found.same)} files are the same")
        print_result("\n".join([*lines, f"{bundle}: a new export {ending}"]), as_json)
    raise typer.Exit(Exit.GATE_SAYS_NO if found.differing else Exit.PASS)
