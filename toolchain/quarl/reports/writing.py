"""Writes the report of a bundle; jinja2 is loaded only then."""

from __future__ import annotations

from pathlib import Path

from quarl.bundle.release import Release
from quarl.errors import ToolMissingError
from quarl.files.atomic import write_whole

REPORT_PAGE = "report.html"


def write_report(release: Release, out: Path | None = None, *, film: bool = False) -> Path:
    """Return where the report was written: `out`, or report.html in the bundle.

    Args:
        film: whether an episode is filmed in the environment that the bundle names.
    Raises:
        InputError: a file of the bundle is not what its name says, `out` cannot be written, or
            nothing can be filmed.
        ToolMissingError: jinja2 is not installed.
    """
    try:
        from quarl.reports.render import render_report  # other verbs work without jinja2
    except ModuleNotFoundError as error:
        remedy = f"the report needs the Python package {error.name}: pip install {error.name}"
        raise ToolMissingError(remedy) from error
    path = release.folder / REPORT_PAGE if out is None else out
    write_whole(path, render_report(release, film=film).encode())
    return path
