"""Figures by matplotlib as SVG text, for pages that load nothing.

In: a function that draws on axes. Out: an SVG element without a clock: the same figures give the
same text with the same matplotlib.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from quarl.errors import ToolMissingError
from quarl.files.text import printable

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5")


def require_matplotlib() -> Any:
    """Return matplotlib, set to text as text and repeatable ids.

    Raises:
        ToolMissingError: it is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ToolMissingError("the page needs matplotlib: pip install 'quarl[plot]'") from error
    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "quarl", "svg.fonttype": "none", "font.family": "sans-serif"}
    )
    return matplotlib


def plain_label(text: str) -> str:
    """Return a name as a label that matplotlib shows as it is, without its mathematics."""
    return printable(text)[:60].replace("$", r"\$")


def svg_figure(draw: Callable[[Any], None], size: tuple[float, float] = (6.2, 3.6)) -> str:
    """Return what `draw(axes)` draws, `size` inches wide and high.

    Raises:
        ToolMissingError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure.add_subplot())
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return re.sub(r"(?s)<metadata>.*?</metadata>", "", text[text.index("<svg") :])
