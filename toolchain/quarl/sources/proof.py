"""The proof of an import: our graph beside the framework that the policy comes from."""

from __future__ import annotations

from quarl.evidence.evidence import ImportProof
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers.proofs import NotProven, prove_import, prove_integers
from quarl.sources.source import Source


def prove(source: Source, *, trust: bool) -> ImportProof:
    """Return how far the imported policy is from its own framework, where that is installed.

    Args:
        trust: the file may run code of its own on loading, as some frameworks let it.
    """
    policy, trusted = source.policy, trust or source.is_shipped
    if isinstance(policy, QuantPolicy):
        proof = prove_integers(source.file, policy, output=source.output)
    else:
        proof = prove_import(source.file, policy, trusted, source.output)
    if isinstance(proof, NotProven):
        return ImportProof(source.framework, 0, None, proof.reason)
    error = proof.max_abs_error / max(1.0, proof.largest_output)
    return ImportProof(proof.against, proof.observations, error)
