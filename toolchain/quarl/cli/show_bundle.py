"""What `quarl show` prints of a bundle."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quarl.cli.table import table
from quarl.reports.network import Network, kernels_of, network_of
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.stored import verdict_on

if TYPE_CHECKING:
    from quarl.bundle.release import Release


def bundle_facts(release: Release) -> dict[str, Any]:
    """Return the bundle as plain values."""
    verdict = verdict_on(release)
    return {
        "folder": str(release.folder),
        "manifest": json.loads(release.manifest.to_json()),
        "manifest_sha256": release.manifest_sha256,
        "contract": json.loads(release.contract.to_json()),
        "network": asdict(network_of(release.quantized, kernels_of(release))),
        "bytes": {name: len(data) for name, data in release.files.items()},
        "changed_files": list(release.changed_files),
        "answer": None if verdict is None else verdict.answer.value,
    }


def bundle_shown(release: Release) -> str:
    """Return the bundle as text."""
    manifest, origin = release.manifest, release.manifest.origin
    found = network_of(release.quantized, kernels_of(release))
    verdict = verdict_on(release)
    contract = release.contract
    rung = "as they came" if manifest.rung is None else str(manifest.rung)
    observed = "x".join(map(str, contract.observation.shape))
    facts = [
        ("policy", manifest.name),
        ("source", f"{origin.file}, {origin.made_by}"),
        ("integers", f"rung {rung}, {manifest.weights} weights"),
        ("observes", f"{observed} {contract.observation.dtype}, {contract.observation.layout}"),
        ("does", f"{contract.action.kind}, {contract.action.count} outputs"),
        ("plays in", "no environment" if manifest.env is None else manifest.env.id),
        ("board", manifest.board or "none"),
        ("manifest", f"SHA-256 {release.manifest_sha256}"),
    ]
    width = max(len(name) for name, _ in facts)
    blocks = [
        "\n".join(f"{name:<{width}}  {text}" for name, text in facts),
        _layers(found),
        _memory(found),
        _files(release),
        "not judged yet: quarl gate BUNDLE" if verdict is None else str(three_lines(verdict)),
    ]
    if release.changed_files:
        blocks.append("\n".join(["changed since the export:", *release.changed_files]))
    return "\n\n".join(blocks)


def _layers(found: Network) -> str:
    rows = [
        (
            layer.name,
            layer.operation,
            ", ".join(layer.inputs),
            "x".join(map(str, layer.shape)),
            "-" if layer.bits is None else str(layer.bits),
            f"{layer.multiply_accumulates:,}",
            f"{layer.bytes:,}",
        )
        for layer in found.layers
    ]
    return table(("layer", "operation", "reads", "output", "bits", "MAC", "flash B"), rows)


def _memory(found: Network) -> str:
    if found.arena_bytes is None:
        return f"no firmware holds it: {found.reason}"
    rows = [
        (lane.name, f"{lane.offset:,}", f"{lane.bytes:,}", f"{lane.first + 1} to {lane.last + 1}")
        for lane in found.lanes
    ]
    title = f"one arena of {found.arena_bytes:,} B ({found.kernels} kernels)"
    return f"{title}\n{table(('tensor', 'at byte', 'bytes', 'layers'), rows)}"


def _files(release: Release) -> str:
    rows: dict[str, int] = {}
    for name, data in release.files.items():
        head, slash, _ = name.partition("/")
        rows[head + slash] = rows.get(head + slash, 0) + len(data)
    return table(("file", "bytes"), [(name, f"{count:,}") for name, count in sorted(rows.items())])
