"""Why a release does not pass: where int8 differs from its source, in sentences with their numbers,
and what was measured to help.

In: the evidence, the judged closed loop, the bundle's report of its layers. Out: `Reason`s, what
helps first.
They point, they do not decide: a layer may be noisy and harmless.
"""

from __future__ import annotations

from collections.abc import Iterator

from quarl.evidence.agreement import DiscreteAgreement, WorstDecision
from quarl.evidence.closed_loop import ClosedLoop
from quarl.evidence.evidence import Evidence
from quarl.quantize.error_report import LayerReport, QuantReport
from quarl.verdict.verdict import Reason

SATURATED = 0.1  # share of a layer's range by which what is seen must lie outside it
TIES = 0.01  # share of observations
CLIPPED = 0.001  # share of observation values met in play


def reasons(
    evidence: Evidence, loop: ClosedLoop | None, report: QuantReport | None
) -> tuple[Reason, ...]:
    """Return what points at the loss; nothing where nothing was gathered."""
    return (
        *_trial_reasons(evidence),
        *_calibration_reasons(evidence),
        *(_divergence_reasons(loop) if loop is not None else ()),
        *(_layer_reasons(report) if report is not None else ()),
        *_tie_reasons(evidence),
        *_decision_reasons(evidence.worst),
    )


def _trial_reasons(evidence: Evidence) -> Iterator[Reason]:
    """Return the cheapest change that helps and, if another one, the one that helps most."""
    useful = [trial for trial in evidence.trials if trial.helps]
    if not useful:
        if evidence.trials:
            tried = ", ".join(trial.change for trial in evidence.trials)
            yield Reason("trial", f"tried without gain on the held-out observations: {tried}")
        return
    best = min(useful, key=lambda trial: trial.after)
    for trial in (useful[0], best) if best != useful[0] else (best,):
        was, now = (
            f"{100 * value:.2f} %" if trial.unit.startswith("of ") else f"{value:.4g}"
            for value in (trial.before, trial.after)
        )
        text = (
            f"{trial.change}: {was} {trial.unit} -> {now} on {trial.observations:,} "
            f"held-out observations, {trial.extra_bytes:+,} B"
        )
        yield Reason("trial", f"measured to help: {text}", helps=True)


def _calibration_reasons(evidence: Evidence) -> Iterator[Reason]:
    clipped = evidence.clipped
    if clipped is not None and clipped.outside > CLIPPED * clipped.values:
        yield Reason(
            "calibration",
            "the calibration does not cover what is met in play: "
            f"{clipped.outside / clipped.values:.2%} of the observation values are"
            f" clipped, {clipped.worst_share:.2%} of {clipped.worst_feature} alone",
        )


def _divergence_reasons(loop: ClosedLoop) -> Iterator[Reason]:
    parted = loop.divergence
    if parted is None or parted.first_step is None:
        return
    yield Reason(
        "divergence",
        f"source and int8 act differently in {parted.diverged} of {loop.episodes} episodes, "
        f"first at step {parted.first_step}, on median at"
        f" step {parted.median_step:g}; {parted.lost} of these lose return, {parted.gained} gain",
    )


def _layer_reasons(report: QuantReport) -> Iterator[Reason]:
    parts = {part.part: part for part in report.parts}
    alone = sorted(
        (parts[name] for name in ("input", "weights", "activations") if name in parts),
        key=lambda part: -part.decision_error,
    )
    if alone and alone[0].decision_error > 0:
        shown = ", ".join(
            f"{part.part} {part.decision_error:.3g} ({part.changed:.1%} of the actions changed)"
            for part in alone
        )
        yield Reason("part", f"decision error with one part rounded alone, largest first: {shown}")
    noisy = [layer for layer in report.layers if layer.sqnr_db is not None]
    if noisy:
        worst = min(noisy, key=lambda layer: layer.sqnr_db or 0.0)
        yield Reason(
            "layer",
            f"layer {worst.layer} ({worst.operation}) loses most: {worst.sqnr_db:.1f} dB of "
            "signal to rounding noise",
        )
    for layer, following in zip(report.layers, (*report.layers[1:], None), strict=True):
        if _is_saturated(layer) and (
            following is None or following.operation != "table"
        ):  # a table's own ends are flat anyway
            yield Reason(
                "saturation",
                f"layer {layer.layer} clips {layer.clip_rate:.2%} of its values: it can say "
                f"{layer.low:.4g} to {layer.high:.4g}, the"
                f" held-out observations give {layer.seen_low:.4g} to {layer.seen_high:.4g}: "
                "the calibration does not cover them",
            )


def _is_saturated(layer: LayerReport) -> bool:
    if layer.low is None or layer.high is None or layer.clip_rate == 0:
        return False
    beyond = max(layer.low - layer.seen_low, layer.seen_high - layer.high)
    return beyond > SATURATED * (layer.high - layer.low)


def _tie_reasons(evidence: Evidence) -> Iterator[Reason]:
    agreement = evidence.agreement
    if (
        isinstance(agreement, DiscreteAgreement)
        and agreement.candidate_tie_rate > agreement.source_tie_rate + TIES
    ):
        gap = (
            ""
            if agreement.median_gap_steps is None
            else f"; the median gap of the best two is {agreement.median_gap_steps:.3g} "
            "output steps"
        )
        yield Reason(
            "ties",
            "int8 cannot tell its best two actions apart on "
            f"{agreement.candidate_tie_rate:.2%} of the observations"
            f" (source {agreement.source_tie_rate:.2%}){gap}: a wide head (rung 3) has no "
            "output step",
        )


def _decision_reasons(worst: tuple[WorstDecision, ...]) -> Iterator[Reason]:
    if worst:
        shown = "; ".join(
            f"{decision.observation} ({_action(decision.source)} -> {_action(decision.candidate)})"
            for decision in worst[:3]
        )
        yield Reason("decisions", f"the actions differ most on the example's observations {shown}")


def _action(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
