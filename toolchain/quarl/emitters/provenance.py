"""What every written model says about itself, so that a file found alone can be traced to its
bundle.
"""

from __future__ import annotations

from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.resources import VERSION


def provenance(policy: QuantPolicy | Policy) -> dict[str, str]:
    """Return the metadata entries of an artifact, sorted by key; no clock, no path."""
    entries = {
        "quarl.contract_sha256": policy.contract.digest,
        "quarl.source_sha256": policy.source_sha256,
        "quarl.version": VERSION,
    }
    if isinstance(policy, QuantPolicy) and policy.rung is not None:
        entries["quarl.rung"] = str(policy.rung)
    return dict(sorted(entries.items()))
