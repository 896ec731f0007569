"""Every shipped policy through the whole chain, as `quarl ship` does it: what int8 keeps, and what
it saves.

python -m tests.bench.shipped [POLICY ...] [--write FILE.md]

A policy at a time if you like: Atari games take minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quarl import pipeline
from quarl.bundle.rung_result import RungResult
from quarl.evidence.agreement import BoxAgreement, DiscreteAgreement
from quarl.evidence.evidence import Evidence, evidence_from_json
from quarl.evidence.gather import PARITY
from quarl.exporter.request import ExportRequest
from quarl.profiles.host import Profile, cpu_name
from quarl.resources import models_dir
from quarl.sources.recipe import list_recipes
from quarl.stats.outcomes import MeanTest
from quarl.verdict.assess import ParityRequest
from quarl.verdict.verdict import Verdict
from quarl.workers import open_workers

RUNTIME = "litert"
MACHINE = "Machine: "
HEADER = (
    "policy",
    "verdict",
    "float32",
    "int8",
    "difference (its interval)",
    "margin",
    "pairs",
    "actions",
    "size",
    "latency",
    "ship",
    "refused",
)


@dataclass(frozen=True, slots=True)
class Shipped:
    """One policy after `quarl ship`."""

    name: str
    rung: int | None
    ladder: tuple[RungResult, ...]  # every candidate
    verdict: Verdict
    evidence: Evidence
    profile: Profile
    wall_s: float


def ship(name: str, folder: Path) -> Shipped:
    """Ship a policy with its own recipe's limits."""
    began = time.perf_counter()
    with open_workers(None, None, patient=True) as workers:
        made = pipeline.ship(
            pipeline.import_source(name),
            folder / name,
            ExportRequest(workers=workers),
            ParityRequest(workers=workers),
            trust=True,
        )
    wall_s = time.perf_counter() - began
    manifest, evidence = (
        made.release.manifest,
        evidence_from_json((made.release.folder / PARITY).read_text()),
    )
    return Shipped(
        name, manifest.rung, manifest.ladder, made.verdict, evidence, made.profile, wall_s
    )


def cells(shipped: Shipped) -> tuple[str, ...]:
    """Return the policy's row of the table."""
    loop = shipped.verdict.closed_loop
    assert loop is not None, f"{shipped.name} played no episodes"
    real, int8 = (shipped.profile.model(RUNTIME, precision) for precision in ("float32", "int8"))
    size = (
        f"{real.file_bytes / 1024:,.1f} / {int8.file_bytes / 1024:,.1f} KiB = "
        f"{real.file_bytes / int8.file_bytes:.2f} x"
    )
    times = (
        f"{real.latency.p50_us:,.1f} / {int8.latency.p50_us:,.1f} us = "
        f"{shipped.profile.speedup(RUNTIME):.2f} x"
    )
    failed = ", ".join(check.name for check in shipped.verdict.failed)
    answer = (
        f"pass, rung {shipped.rung} ({taken(shipped.ladder)})"
        if shipped.verdict.may_ship
        else f"FAIL, rung {shipped.rung}: {failed}"
    )
    pairs, wall = str(loop.mean.episodes), f"{shipped.wall_s:.0f} s"
    return (
        shipped.name,
        answer,
        *returns(loop.mean),
        pairs,
        actions(shipped.evidence),
        size,
        times,
        wall,
        refused(shipped.ladder),
    )


def taken(ladder: Sequence[RungResult]) -> str:
    """Return the name of the candidate that was taken."""
    return next(one.name for one in ladder if one.taken)


def refused(ladder: Sequence[RungResult]) -> str:
    """Return what the candidates that were played and not taken do to the mean return, how many
    decisions alone refused, and how many nobody needed to try.
    """
    played = [one for one in ladder if one.mean is not None and one.missed]
    unplayed = [one for one in ladder if one.mean is None and one.missed]
    told = [
        f"{one.name}: {one.mean.mean_source:.4g} -> {one.mean.mean_candidate:.4g} over "
        f"{one.mean.episodes}"
        for one in played
        if one.mean is not None
    ]
    if unplayed:
        told.append(f"{len(unplayed)} of {len(ladder)} unplayed")
    return "; ".join(told) or "-"


def returns(mean: MeanTest) -> tuple[str, str, str, str]:
    """Return both mean returns, their difference with its interval, and the margin."""
    difference = f"{mean.mean_difference:+.3g} ({mean.lower:+.3g} to {mean.upper:+.3g})"
    return f"{mean.mean_source:.4g}", f"{mean.mean_candidate:.4g}", difference, f"{mean.margin:.3g}"


def actions(evidence: Evidence) -> str:
    """Return how far the actions agree on held-out observations."""
    agreement = evidence.agreement
    if isinstance(agreement, DiscreteAgreement):
        return f"{agreement.agreement:.1%} equal"
    assert isinstance(agreement, BoxAgreement)
    return (
        "unbounded" if agreement.mean_share is None else f"{agreement.mean_share:.2%} of range off"
    )


def markdown(rows: Mapping[str, Sequence[str]], machine: str) -> str:
    """Return the page of the table: one row a policy, by name."""
    table = [
        "| " + " | ".join(row) + " |"
        for row in (HEADER, ["---"] * len(HEADER), *(rows[name] for name in sorted(rows)))
    ]
    return "\n".join(
        [
            "# The shipped policies in int8",
            "",
            "Written by `python -m tests.bench.shipped`: each policy shipped with its own "
            "recipe's limits, the whole chain. Returns are",
            "those of paired episodes, so they differ from a recipe's score, which was "
            "measured on others; the interval is the gate's own.",
            "Refused: candidates that paired episodes refused, float32 -> int8; unplayed those "
            "whose decisions or cost alone were enough.",
            "Size and latency (median of one inference, one thread) are those of the "
            f"`.tflite` in {RUNTIME}, float32 / int8, in one run.",
            f"{MACHINE}{machine}.",
            "",
            *table,
            "",
        ]
    )


def measured_before(page: Path, machine: str, names: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the rows of these policies on a page written earlier on the same machine; none where
    there is no such page.
    """
    lines = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    if f"{MACHINE}{machine}." not in lines:
        return {}
    rows = (line.strip("| ").split(" | ") for line in lines if line.startswith("| "))
    return {row[0]: row for row in rows if row[0] in names and len(row) == len(HEADER)}


def main(arguments: Sequence[str]) -> int:
    """Ship the policies, print their rows and write them where asked; 1 where a gate says no."""
    names = [recipe.name for recipe in list_recipes(models_dir())]
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.shipped", description="Ship every policy."
    )
    parser.add_argument(
        "policies", nargs="*", choices=[*names, []], help="all of them unless named"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE.md",
        help="write the table as Markdown too; rows of policies not named stay",
    )
    options = parser.parse_args(arguments)
    chosen = options.policies or names
    rows, passed = (
        {} if options.write is None else measured_before(options.write, cpu_name(), names),
        True,
    )
    with tempfile.TemporaryDirectory(prefix="quarl-bench-") as folder:
        for name in chosen:
            shipped = ship(name, Path(folder))
            rows[name] = cells(shipped)
            passed = passed and shipped.verdict.may_ship
            print(" | ".join(rows[name]), flush=True)
            if options.write is not None:
                options.write.write_text(markdown(rows, cpu_name()), encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
