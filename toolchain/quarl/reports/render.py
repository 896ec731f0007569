"""`render_report`: a bundle in, one HTML document out."""

from __future__ import annotations

from quarl.bundle.release import Release
from quarl.reports.contents import Contents, read_contents
from quarl.reports.page import render_page
from quarl.reports.sections import SECTIONS
from quarl.reports.sections.summary import summary
from quarl.resources import VERSION


def render_report(release: Release, *, film: bool = False) -> str:
    """Return the report of a bundle; the same bundle gives the same text on the same machine.

    Args:
        film: whether an episode is filmed in the environment that the bundle names.
    Raises:
        InputError: a file of the bundle that is not what its name says, or nothing to film.
    """
    return render_contents(read_contents(release, film=film))


def render_contents(contents: Contents) -> str:
    """Return the report of what a bundle holds."""
    return render_page(summary(contents), tuple(section(contents) for section in SECTIONS), VERSION)
