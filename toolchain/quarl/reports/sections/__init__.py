"""The sections of the page in reading order: each is one function from `Contents` to a
`Section`.
"""

from __future__ import annotations

from collections.abc import Callable

from quarl.reports.contents import Contents
from quarl.reports.page import Section
from quarl.reports.sections.board import board
from quarl.reports.sections.checks import checks
from quarl.reports.sections.flights import episodes
from quarl.reports.sections.latency import latency
from quarl.reports.sections.layers import layers
from quarl.reports.sections.network import network
from quarl.reports.sections.provenance import contract, provenance
from quarl.reports.sections.quantisation import quantisation
from quarl.reports.sections.returns import returns
from quarl.reports.sections.why import why

SECTIONS: tuple[Callable[[Contents], Section], ...] = (
    checks,
    returns,
    episodes,
    why,
    latency,
    board,
    network,
    layers,
    quantisation,
    contract,
    provenance,
)
