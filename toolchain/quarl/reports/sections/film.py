"""The film of one episode, float32 beside int8, as a figure."""

from __future__ import annotations

import base64

from markupsafe import Markup

from quarl.reports import svg
from quarl.reports.animation import Animation
from quarl.reports.numbers import number
from quarl.reports.page import Figure


def film_figure(animation: Animation) -> Figure:
    """Return the figure; a reader who wants no motion sees the first frame."""
    words = (
        f"Left float32: return {number(animation.source.total)} in {animation.source.steps:,} "
        f"steps. Right int8: return {number(animation.int8.total)} in {animation.int8.steps:,} "
        f"steps."
    )
    longest = max(animation.source.steps, animation.int8.steps)
    if animation.frames <= longest:
        words += f" The film shows the first {animation.frames:,} steps."
    label = f"Film of {animation.env}, seed {animation.seed}. {words}"
    return Figure(
        f"Film of seed {animation.seed}: {animation.reason}", _picture(animation, label), words
    )


def _picture(animation: Animation, label: str) -> Markup:
    still = svg.element(
        "source",
        media="(prefers-reduced-motion: reduce), print",
        srcset=_uri("png", animation.still),
    )
    film = svg.element(
        "img",
        class_="film",
        src=_uri("gif", animation.gif),
        width=animation.width,
        height=animation.height,
        alt=label,
    )
    return svg.element("picture", still, film)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
