"""The candidates that integers were chosen from, as a table."""

from __future__ import annotations

from quarl.bundle.manifest import Manifest
from quarl.bundle.rung_result import RungResult, pareto_front
from quarl.cli.table import table


def choice_text(manifest: Manifest) -> str:
    """Return every candidate as a table, and what the observations alone allow."""
    front = pareto_front(manifest.ladder)
    rows = [_row(result, result in front) for result in manifest.ladder]
    header = ("", "rung", "", "unlike source %", "instructions", "bytes", "cost", "play")
    lines = [table(header, rows), "> taken; * none is both cheaper and more faithful"]
    kinds = {result.counted for result in manifest.ladder if result.instructions is not None}
    if kinds:
        lines.append(f"instructions and bytes: {' and '.join(sorted(kinds))}")
    lines += [
        f"observations of {ceiling.bits} bits alone make {ceiling.differing:.2%} of the decisions "
        "unlike the source's"
        for ceiling in manifest.ceilings
    ]
    return "\n".join(lines)


def _row(result: RungResult, is_best: bool) -> tuple[str, ...]:
    if result.mean is None:
        played = "; ".join(result.missed) or "not played"
    else:
        change = f"{result.mean.mean_source:.4g} -> {result.mean.mean_candidate:.4g}"
        played = f"{change}: {'; '.join(result.missed) or 'holds'}"
    return (
        (">" if result.taken else " ") + ("*" if is_best else ""),
        str(result.rung),
        result.name,
        "" if result.differing is None else f"{100 * result.differing:.2f}",
        "" if result.instructions is None else f"{result.instructions:,}",
        "" if result.flash_bytes is None else f"{result.flash_bytes:,}",
        "" if result.cost is None else f"{result.cost:.3f}",
        played,
    )
