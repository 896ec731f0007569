"""`quarl convert-normalizer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def convert_normalizer(
    pickle: Annotated[
        Path, typer.Argument(metavar="PICKLE", help="File written by VecNormalize.save.")
    ],
    out: Annotated[Path, typer.Argument(metavar="FILE.npz", help="File for --obs-norm.")],
    as_json: JsonOption = False,
) -> None:
    """Turn a VecNormalize pickle into plain numbers; nothing in it is run."""
    from quarl.sources.normalizer_file import convert_vecnormalize

    normalizer = convert_vecnormalize(pickle, out)
    count = len(normalizer.mean)
    print_result(
        {"file": str(out), "features": count}
        if as_json
        else f"{out}: statistics of {count} features",
        as_json,
    )
