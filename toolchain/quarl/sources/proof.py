"""The proof of an import: our graph beside the framework that the policy comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from quarl.errors import DeviceError
from quarl.evidence.evidence import ImportProof
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers.proofs import ImportProof as Found
from quarl.importers.proofs import NotProven, prove_import, prove_integers
from quarl.sources.source import Source
from quarl.workers.processes import beside

PATIENT = 5  # how far a proof stands back behind what is played meanwhile, in steps of niceness


def prove(source: Source, *, trust: bool) -> ImportProof:
    """Return how far the imported policy is from its own framework, where that is installed.

    Args:
        trust: the file may run code of its own on loading, as some frameworks let it.
    """
    with proving(source, trust=trust) as proof:
        return proof()


@contextmanager
def proving(source: Source, *, trust: bool) -> Iterator[Callable[[], ImportProof]]:
    """Start the proof in a process of its own; give what waits for it.

    The framework is loaded there: what it prints, takes or breaks does not touch this process.
    """
    with beside(
        _proof, source.file, source.policy, trust or source.is_shipped, source.output
    ) as it:

        def proof() -> ImportProof:
            try:
                found = it()
            except DeviceError as error:
                found = NotProven(f"the framework ended its process: {error}")
            if isinstance(found, NotProven):
                return ImportProof(source.framework, 0, None, found.reason)
            off = found.max_abs_error / max(1.0, found.largest_output)
            return ImportProof(found.against, found.observations, off)

        yield proof


def _proof(
    file: Path, policy: Policy | QuantPolicy, trusted: bool, output: str | None
) -> Found | NotProven:
    if hasattr(os, "nice"):
        os.nice(PATIENT)
    if isinstance(policy, QuantPolicy):
        return prove_integers(file, policy, output=output)
    return prove_import(file, policy, trusted, output)
