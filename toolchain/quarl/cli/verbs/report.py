"""`quarl report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.film_option import FilmOption
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
    card: Annotated[
        Path | None,
        typer.Option(
            "--card", metavar="FILE.md", help="Also write a model card for the Hugging Face Hub."
        ),
    ] = None,
    film: FilmOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write what is known about a bundle as one HTML page that loads nothing."""
    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.files.atomic import write_whole
    from quarl.reports.model_card import model_card

    release = open_bundle(bundle)
    if card is not None:
        write_whole(card, model_card(release).encode())
    path = pipeline.report(release, out, film=film)
    count = path.stat().st_size
    print_result(
        {"file": str(path), "bytes": count} if as_json else f"{path}: {count:,} B", as_json
    )
