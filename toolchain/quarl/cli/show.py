"""What each verb shows: text for people, and plain values for --json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from quarl.cli.table import table

if TYPE_CHECKING:
    from pathlib import Path

    from quarl.boards.cortex_m import Board
    from quarl.bundle.bundle import Bundle
    from quarl.doctor import Finding
    from quarl.evidence.evidence import Evidence, ImportProof
    from quarl.profiles.device import DeviceProfile
    from quarl.profiles.emulated import FirmwareProfile
    from quarl.profiles.host import Profile
    from quarl.quantize.error_report import QuantReport
    from quarl.sources.recipe import Recipe, ScoreRecipe
    from quarl.sources.source import Source
    from quarl.train.trained import Progress
    from quarl.verdict.baseline import Baseline
    from quarl.verdict.explanations import Explanation
    from quarl.verdict.limits import Limits
    from quarl.verdict.verdict import Check, Verdict


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


def boards_table(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Return the boards as plain values."""
    return [asdict(board) for board in boards]


def boards_text(boards: Sequence[Board]) -> str:
    """Return the boards as text."""
    kib = [(f"{b.flash.bytes / 1024:,.0f}", f"{b.ram.bytes / 1024:,.0f}") for b in boards]
    rows = [
        (b.name, b.cpu, b.fpu, f"{b.clock_hz / 1e6:g}", *sizes, b.title)
        for b, sizes in zip(boards, kib, strict=True)
    ]
    return table(("board", "core", "fpu", "MHz", "flash KiB", "RAM KiB", "what it is"), rows)


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


def source_text(source: Source, proof: ImportProof) -> str:
    """Return an imported policy as text."""
    policy = source.policy
    observation, action = policy.contract.observation, policy.contract.action
    layers = _layers(source)
    rows = [
        (name, kind, "x".join(map(str, shape)), f"{count:,}") for name, kind, shape, count in layers
    ]
    seen = f"{observation.dtype} {'x'.join(map(str, observation.shape))}, {observation.layout}"
    if observation.normalizer is not None:
        seen += f", normalised and clipped to +-{observation.normalizer.clip_obs:g}"
    if action.kind == "discrete":
        done = f"one of {action.count}, the largest output"
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
            f"{source.name}: {source.algorithm} of {source.framework}, "
            f"{sum(count for *_, count in layers):,} parameters",
            f"  observation  {seen}",
            f"  action       {done}{rate}",
            f"  import       {proven}",
            "",
            table(("layer", "operation", "output", "parameters"), rows),
        ]
    )


SOFTMAX = (
    "its softmax is outside the exact set: left out of the integers, which decide "
    "alike; ql_policy_probabilities computes it in float"
)


def bundle_table(bundle: Bundle) -> dict[str, Any]:
    """Return a bundle as plain values."""
    return {"bundle": str(bundle.folder), **asdict(bundle.manifest)}


def bundle_text(bundle: Bundle) -> str:
    """Return a bundle as text."""
    manifest = bundle.manifest
    sizes = ", ".join(
        f"{name} {(bundle.folder / name).stat().st_size:,} B"
        for name in ("model.tflite", "model.onnx")
    )
    covered = manifest.calibration
    if covered is None:
        text = (
            f"{bundle.folder}: {manifest.name}, the integers of {manifest.origin.file} as "
            f"they are; {sizes}"
        )
        return text if bundle.quantized().softmax_beta is None else f"{text}\n{SOFTMAX}"
    where = f" from {covered['episodes']} episodes" if covered["episodes"] else ""
    distinct = covered.get(
        "distinct", covered["observations"]
    )  # bundles of earlier releases do not say
    alike = f", {distinct:,} of them different" if distinct < covered["observations"] else ""
    still = (
        f"; never moved: {', '.join(covered['constant_features'])}"
        if covered["constant_features"]
        else ""
    )
    return (
        f"{bundle.folder}: {manifest.name} on rung {manifest.rung}, {manifest.weights} "
        f"weights; {sizes}\n"
        f"calibrated on {covered['observations']:,} observations{where}{alike}{still}"
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


def profile_text(profile: Profile) -> str:
    """Return a profile as text."""
    rows = []
    for model in profile.models:
        latency, memory = model.latency, model.memory
        times = (
            f"{t:.1f}"
            for t in (
                latency.first_call_us,
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.max_us,
            )
        )
        sizes = (
            f"{b / 1024:,.1f}" for b in (model.file_bytes, memory.model_bytes, memory.peak_bytes)
        )
        rows.append((f"{model.runtime} {model.runtime_version}", model.precision, *times, *sizes))
    head = (
        f"measured on {profile.cpu}, one thread, one process per model; "
        f"{profile.multiply_accumulates:,} MAC per decision"
    )
    columns = (
        "runtime",
        "type",
        "first us",
        "p50 us",
        "p90 us",
        "p99 us",
        "max us",
        "file KiB",
        "model KiB",
        "peak KiB",
    )
    return "\n".join([head, table(columns, rows), *profile.remarks()])


def firmware_text(profile: FirmwareProfile) -> str:
    """Return the profile of a firmware as text."""
    rows = [
        (
            c.layer,
            c.kernel,
            f"{c.instructions:,}",
            "" if c.cycles is None else f"{c.cycles.mid:,}",
            f"{c.table_bytes:,}",
        )
        for c in profile.layers
    ]
    latency = profile.latency_us
    time = (
        ""
        if latency is None
        else f", {latency[1]:,.1f} us ({latency[0]:,.1f} to {latency[2]:,.1f}, estimated)"
    )
    stack = "" if profile.stack_bytes is None else f"; stack {profile.stack_bytes:,} B"
    decision = (
        profile.instructions if profile.act_instructions is None else profile.act_instructions
    )
    return "\n".join(
        [
            f"{profile.board}: {profile.cpu} at {profile.clock_hz / 1e6:g} MHz, firmware by "
            f"{profile.compiler}, run in {profile.link}",
            table(("layer", "kernel", "instructions", "cycles", "table B"), rows),
            f"one decision: {decision:,} instructions (emulated){time}",
            f"flash {profile.flash_bytes:,} B, of it tables {profile.table_bytes:,} B; RAM "
            f"{profile.ram_bytes:,} B, of it tensors "
            f"{profile.arena_bytes:,} B{stack}",
            f"{profile.compared} observations answered, {profile.differing} of them otherwise "
            "than the reference",
            f"cycles: {profile.cycle_assumptions}",
        ]
    )


def device_text(profile: DeviceProfile) -> str:
    """Return the profile of a real board as text."""
    head = f"{profile.board}: {profile.cpu} on {profile.port}, firmware by {profile.compiler}"
    latency = profile.latency_us
    time = f"one {profile.what}: this core counts no cycles, so no time was measured"
    if latency is not None:
        time = (
            f"one {profile.what}: {int(np.median(profile.cycles)):,} cycles by "
            f"{profile.counter}, measured {len(profile.cycles)} times at "
            f"{profile.core_hz / 1e6:g} MHz: {latency[0]:,.1f} us, p99 {latency[1]:,.1f} us, "
            f"at most {latency[2]:,.1f} us"
        )
    return "\n".join(
        [
            head + (f", flashed by {profile.flashed_by}" if profile.flashed_by else ""),
            time,
            f"flash {profile.flash_bytes:,} B, RAM {profile.ram_bytes:,} B without the stack",
            f"{profile.compared} observations answered, {profile.differing} of them otherwise "
            "than the reference; "
            f"{profile.repeated} requests sent again",
        ]
    )


def evidence_text(evidence: Evidence, bundle: Bundle, limits: Limits | None = None) -> str:
    """Return the evidence as text: the gate's checks against the limits, or the bundle's own,
    without a verdict.
    """
    from quarl.pipeline import limits_of
    from quarl.verdict.judge import judge

    return checks_text(
        judge(evidence, limits or limits_of(bundle), policy=bundle.manifest.name).checks
    )


def explanation_text(explanation: Explanation, checks: Sequence[Check] = ()) -> str:
    """Return what a check means as text, and what was found where it was made."""
    parts = (
        ("", explanation.meaning),
        ("Limit: ", explanation.limit),
        ("If it fails: ", explanation.remedy),
    )
    texts = [
        fill(f"{head}{text}", 100, initial_indent="  ", subsequent_indent="  ")
        for head, text in parts
    ]
    details = [f"{check.name}: {check.detail}" for check in checks]
    return "\n".join(
        [explanation.name, *texts, *([checks_text(checks), *details] if checks else [])]
    )


def baseline_text(baseline: Baseline, path: Path) -> str:
    """Return a baseline as text: its figures that a later release is held against."""
    rung = "" if baseline.rung is None else f" on rung {baseline.rung}"
    board = "" if baseline.board is None else f" for {baseline.board}"
    tools = ", ".join(f"{name} {release}" for name, release in sorted(baseline.tools.items()))
    return "\n".join(
        [
            f"{path}: {baseline.policy}{rung}{board}",
            *([tools] if tools else []),
            checks_text(baseline.checks),
        ]
    )


def verdict_text(verdict: Verdict) -> str:
    """Return the verdict as text."""
    failed = verdict.failed
    head = (
        f"PASS: {verdict.policy} may be released"
        if verdict.passed
        else f"FAIL: {verdict.policy} must not be released"
    )
    lines = [f"  {check.name}: {check.detail}\n    {check.advice}" for check in failed]
    if verdict.int8_fails:
        lines += ["Where the loss sits:", *(f"  {reason.text}" for reason in verdict.why)]
    return "\n".join([checks_text(verdict.checks), "", head, *lines])


def checks_text(checks: Sequence[Check]) -> str:
    """Return checks as a table: found beside allowed, and how the figure was made; below it why
    some could not be judged.
    """
    from quarl.verdict.formats.wording import found_text, limit_text

    word = {True: "pass", False: "FAIL", None: "-"}
    rows = [(word[c.passed], c.name, found_text(c), limit_text(c), c.kind) for c in checks]
    open_questions = [
        f"{c.name}: {c.detail}" for c in checks if c.passed is None and c.found is None
    ]
    return "\n".join([table(("", "check", "found", "allowed", "how"), rows), *open_questions])


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


def _bounds(low: Sequence[float], high: Sequence[float]) -> str:
    pairs = sorted(set(zip(low, high, strict=True)))
    return ", ".join(f"[{np.float32(a):g}, {np.float32(b):g}]" for a, b in pairs)
