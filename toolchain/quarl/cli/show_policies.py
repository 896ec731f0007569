"""What `quarl policies` shows: text for people, and plain values for --json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quarl.cli.show import policies_table, score_text
from quarl.cli.table import table

if TYPE_CHECKING:
    from quarl.sources.source import Shipped


def shipped_table(shipped: Sequence[Shipped]) -> list[dict[str, Any]]:
    """Return the shipped policies as plain values."""
    return [
        {**plain, "parameters": policy.parameters, "weights_bytes": policy.weights_bytes}
        for plain, policy in zip(
            policies_table([policy.recipe for policy in shipped]), shipped, strict=True
        )
    ]


def shipped_text(shipped: Sequence[Shipped]) -> str:
    """Return the shipped policies as text."""
    rows = [
        (
            policy.recipe.name,
            policy.recipe.algorithm,
            policy.recipe.framework,
            "-" if policy.parameters is None else f"{policy.parameters:,}",
            "-" if policy.weights_bytes is None else f"{policy.weights_bytes / 1024:,.1f}",
            score_text(policy.recipe.score),
            policy.recipe.task,
        )
        for policy in shipped
    ]
    return table(
        ("policy", "algorithm", "framework", "parameters", "file KiB", "score (measured)", "task"),
        rows,
    )
