"""`quarl report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.bundle.release import open_bundle
from quarl.cli.options import BundleArgument, JsonOption
from quarl.cli.result import print_result


def report(
    bundle: BundleArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.html", help="Default: report.html in the bundle."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write what is known about a bundle as one HTML page that loads nothing."""
    from quarl import pipeline

    path = pipeline.report(open_bundle(bundle), out)
    count = path.stat().st_size
    print_result(
        {"file": str(path), "bytes": count} if as_json else f"{path}: {count:,} B", as_json
    )
