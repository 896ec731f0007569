"""The sections of the page in reading order: each is one function from `Contents` to a `Section`."""

from __future__ import annotations

from collections.abc import Callable

from quarl.report.contents import Contents
from quarl.report.page import Section
from quarl.report.sections.board import board
from quarl.report.sections.checks import checks
from quarl.report.sections.flights import episodes
from quarl.report.sections.latency import latency
from quarl.report.sections.layers import layers
from quarl.report.sections.provenance import contract, provenance
from quarl.report.sections.quantisation import quantisation
from quarl.report.sections.returns import returns
from quarl.report.sections.why import why

SECTIONS: tuple[Callable[[Contents], Section], ...] = (
    checks,
    returns,
    episodes,
    why,
    latency,
    board,
    layers,
    quantisation,
    contract,
    provenance,
)
