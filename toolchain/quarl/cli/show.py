"""What each verb shows: text for people, and plain values for --json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from quarl.bundle.manifest import made_by
from quarl.bundle.release import Release
from quarl.cli.table import table

if TYPE_CHECKING:
    from quarl.cli.doctor import Finding
    from quarl.evidence.evidence import ImportProof
    from quarl.graph.contract import Observation
    from quarl.graph.state import StateVector
    from quarl.quantize.error_report import QuantReport
    from quarl.sources.recipe import Recipe, ScoreRecipe
    from quarl.sources.source import Source
    from quarl.train.trained import Progress


def policies_table(recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    """Return the shipped policies as plain values."""
    return [
        {
            "name": recipe.name,
            "task": recipe.task,
            "algorithm": recipe.algorithm,
            "framework": recipe.framework,
            "env": recipe.env.id,
            "step_hz": recipe.step_hz,
            "score": None if recipe.score is None else asdict(recipe.score),
        }
        for recipe in recipes
    ]


def score_text(score: ScoreRecipe | None) -> str:
    """Return the score of a source policy in a few words."""
    if score is None:
        return "not trained"
    success = "" if score.success_rate is None else f", success {100 * score.success_rate:.1f} %"
    return f"{score.mean_return:.1f} +- {score.std_return:.1f} over {score.episodes}{success}"


def training_line(at: Progress) -> str:
    """Return where a training stands."""
    success = "" if at.success_rate is None else f"  success {100 * at.success_rate:5.1f} %"
    return (
        f"{at.steps:>10,} / {at.total:,}  return {at.mean_return:9.2f}{success}  "
        f"{at.cpu_s:7.1f} cpu s"
    )


def findings_table(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return the doctor's findings as plain values."""
    return [asdict(finding) for finding in findings]


def findings_text(findings: Sequence[Finding]) -> str:
    """Return the doctor's findings as text."""
    return table(
        ("what", "version", "for", "how to get it"),
        [(f.name, f.version or "missing", f.purpose, f.remedy) for f in findings],
    )


def source_table(source: Source, proof: ImportProof) -> dict[str, Any]:
    """Return an imported policy as plain values."""
    import json

    policy, layers = source.policy, _layers(source)
    return {
        "name": source.name,
        "file": source.file.name,
        "sha256": policy.source_sha256,
        "algorithm": source.algorithm,
        "framework": source.framework,
        "parameters": sum(count for *_, count in layers),
        "layers": [
            {"name": name, "operation": kind, "output": list(shape), "parameters": count}
            for name, kind, shape, count in layers
        ],
        "contract": json.loads(policy.contract.to_json()),
        "proof": asdict(proof),
    }


def _state_lines(states: tuple[StateVector, ...]) -> list[str]:
    """Return what a recurrent policy carries, in words."""
    if not states:
        return []
    parts = [
        f"{state.name} [{state.length}], {'given' if any(state.initial) else '0'} at the start"
        for state in states
    ]
    return [f"  state        {'; '.join(parts)}: carried from step to step"]


def _seen(observation: Observation) -> str:
    """Return what is observed, in words."""
    text = f"{observation.dtype} {'x'.join(map(str, observation.shape))}, {observation.layout}"
    for picture in observation.pictures:
        sides = "x".join(map(str, picture.shape))
        text += f", a picture of {sides} from value {picture.first} on"
    if observation.normalizer is not None:
        text += f", normalised and clipped to +-{observation.normalizer.clip_obs:g}"
    return text


def source_text(source: Source, proof: ImportProof) -> str:
    """Return an imported policy as text."""
    policy = source.policy
    observation, action = policy.contract.observation, policy.contract.action
    layers = _layers(source)
    rows = [
        (name, kind, "x".join(map(str, shape)), f"{count:,}") for name, kind, shape, count in layers
    ]
    seen = _seen(observation)
    if action.kind == "discrete":
        first = f", counted from {action.start}" if action.start else ""
        done = f"one of {action.count}, the largest output{first}"
    elif action.kind == "multi_discrete":
        done = (
            f"{action.width} choices of {', '.join(map(str, action.counts))}, the largest outputs"
        )
    else:
        done = (
            f"{action.count} values, "
            f"{'clipped to' if action.transform == 'clip' else 'from [-1, 1] to'} "
            f"{_bounds(action.low, action.high)}"
        )
    rate = "" if policy.contract.step_hz is None else f" at {policy.contract.step_hz:g} Hz"
    if proof.max_abs_error is None:
        proven = f"not proven: {proof.reason}"
    else:
        proven = (
            f"largest difference to {proof.framework} over {proof.observations:,} "
            f"observations: {proof.max_abs_error:.2g} (measured)"
        )
    return "\n".join(
        [
            f"{source.name}: {made_by(source.algorithm, source.framework)}, "
            f"{sum(count for *_, count in layers):,} parameters",
            f"  observation  {seen}",
            f"  action       {done}{rate}",
            *_state_lines(policy.contract.state),
            f"  import       {proven}",
            *(f"  {line}" for line in _aligned(policy.contract.stated)),
            "",
            table(("layer", "operation", "output", "parameters"), rows),
        ]
    )


SOFTMAX = (
    "its softmax is outside the exact set: left out of the integers, which decide "
    "alike; ql_policy_probabilities computes it in float"
)


def bundle_table(release: Release) -> dict[str, Any]:
    """Return a bundle as plain values."""
    return {"bundle": str(release.folder), **asdict(release.manifest)}


def bundle_text(release: Release) -> str:
    """Return a bundle as text."""
    manifest, covered = release.manifest, release.manifest.calibration
    sizes = ", ".join(
        f"{name} {len(release.file(name)):,} B" for name in ("model.tflite", "model.onnx")
    )
    if covered is None:
        text = (
            f"{release.folder}: {manifest.name}, the integers of {manifest.origin.file} as "
            f"they are; {sizes}"
        )
        return text if release.quantized.softmax_beta is None else f"{text}\n{SOFTMAX}"
    where = f" from {covered.episodes} episodes" if covered.episodes else ""
    is_varied = covered.distinct == covered.observations
    alike = "" if is_varied else f", {covered.distinct:,} of them different"
    constant = ", ".join(covered.constant_features)
    still = f"; never moved: {constant}" if constant else ""
    return (
        f"{release.folder}: {manifest.name} on rung {manifest.rung}, {manifest.weights} "
        f"weights; {sizes}\n"
        f"calibrated on {covered.observations:,} observations{where}{alike}{still}"
    )


def quantization_text(report: QuantReport) -> str:
    """Return where quantisation costs what, as text."""
    rows = [
        (
            layer.layer,
            layer.operation,
            "-" if layer.weight_bits is None else str(layer.weight_bits),
            "-" if layer.bits is None else str(layer.bits),
            "-"
            if layer.low is None or layer.high is None
            else f"{layer.low:.4g} to {layer.high:.4g}",
            f"{layer.seen_low:.4g} to {layer.seen_high:.4g}",
            f"{100 * layer.clip_rate:.2f}",
            "-" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
        )
        for layer in report.layers
    ]
    parts = [
        (part.part, f"{part.decision_error:.4g}", f"{100 * part.changed:.1f}")
        for part in report.parts
    ]
    return "\n".join(
        [
            f"on {report.observations:,} held-out observations:",
            table(
                (
                    "layer",
                    "operation",
                    "weight bits",
                    "bits",
                    "can say",
                    "seen",
                    "clipped %",
                    "SQNR dB",
                ),
                rows,
            ),
            "",
            table(("rounded alone", "decision error", "actions changed %"), parts),
        ]
    )


def _layers(source: Source) -> list[tuple[str, str, tuple[int, ...], int]]:
    from quarl.graph.policy import Activation, Weighted, node_shapes
    from quarl.graph.quant_policy import QuantPolicy, QuantTable, QuantWeighted
    from quarl.graph.shapes import quant_shapes

    policy = source.policy
    shapes = quant_shapes(policy) if isinstance(policy, QuantPolicy) else node_shapes(policy)
    rows = []
    for node in policy.nodes:
        kind = (
            node.op.function
            if isinstance(node.op, Activation | QuantTable)
            else type(node.op).__name__.removeprefix("Quant").lower()
        )
        count = (
            node.op.weights.size + node.op.bias.size
            if isinstance(node.op, Weighted | QuantWeighted)
            else 0
        )
        rows.append((node.name, kind, shapes[node.name], count))
    return rows


def _aligned(lines: Sequence[str]) -> Iterator[str]:
    """Yield who stated what, one line each, as the lines above are written."""
    for line in lines:
        yield f"stated       {line}"


def _bounds(low: Sequence[float], high: Sequence[float]) -> str:
    pairs = sorted(set(zip(low, high, strict=True)))
    return ", ".join(f"[{np.float32(a):g}, {np.float32(b):g}]" for a, b in pairs)
