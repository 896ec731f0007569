"""The report tells where quantisation costs what, and its unrounded run is what the integers would
be without rounding.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl import pipeline
from quarl.errors import InputError
from quarl.graph.policy import Policy
from quarl.graph.reference import quantize_observations, run_integers
from quarl.quantize.calibration import calibrate
from quarl.quantize.error_report import QuantReport, quant_report, run_unrounded, unrounded_input
from quarl.quantize.ladder import LADDER
from quarl.quantize.quantizer import quantize
from quarl.sources.observations import observations_of


@pytest.fixture(scope="module")
def reports() -> dict[int, QuantReport]:
    source = pipeline.import_source("cartpole_ppo")
    assert isinstance(source.policy, Policy)
    fitted, held = observations_of(source, None)
    return {
        n: quant_report(
            source.policy, quantize(source.policy, fitted, LADDER[n].settings, n), held.obs
        )
        for n in (0, 3, 5)
    }


def test_every_layer_is_there_with_its_range_and_noise(reports: dict[int, QuantReport]) -> None:
    layers = reports[0].layers
    assert [layer.operation for layer in layers] == ["dense", "table", "dense", "table", "dense"]
    assert all(
        layer.bits == 8 and layer.sqnr_db is not None and layer.sqnr_db > 5 for layer in layers
    )
    assert all(
        layer.low is not None and layer.high is not None and layer.low < layer.high
        for layer in layers
    )


def test_a_wide_head_has_no_output_step(reports: dict[int, QuantReport]) -> None:
    assert reports[3].layers[-1].bits is None
    assert reports[3].layers[-1].clip_rate == 0


def test_wider_activations_add_less_noise(reports: dict[int, QuantReport]) -> None:
    activations = {
        rung: next(part for part in report.parts if part.part == "activations")
        for rung, report in reports.items()
    }
    assert activations[5].decision_error < activations[0].decision_error / 4


def test_parts_are_input_weights_activations_and_all(reports: dict[int, QuantReport]) -> None:
    assert [part.part for part in reports[0].parts] == ["input", "weights", "activations", "all"]
    assert all(0 <= part.changed <= 1 and part.decision_error >= 0 for part in reports[0].parts)


def test_a_report_survives_its_json(reports: dict[int, QuantReport]) -> None:
    text = reports[3].to_json()
    assert QuantReport.from_json(text).to_json() == text


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[]",
        '{"format": 1}',
        '{"format": 1, "observations": "many", "layers": [], "parts": []}',
        '{"format": 1, "observations": 1, "layers": [{"layer": 3}], "parts": []}',
        '{"format": 1, "observations": NaN, "layers": [], "parts": []}',
    ],
    ids=lambda text: text[:60],
)
def test_a_report_that_says_something_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"quantization.json: is not a report"):
        QuantReport.from_json(text)


def test_the_unrounded_run_of_whole_numbers_is_the_integer_run_before_its_rounding() -> None:
    source = pipeline.import_source("pendulum_sac")
    assert isinstance(source.policy, Policy)
    fitted, held = observations_of(source, None)
    quantized = quantize(source.policy, fitted, LADDER[5].settings, 5)
    integers = quantize_observations(quantized, held.obs)
    rounded, exact = (
        run_integers(quantized, integers),
        run_unrounded(quantized, integers.astype(np.float64)),
    )
    first = quantized.nodes[0]
    assert first.output is not None
    inside = (exact[first.name] < first.output.qmax) & (exact[first.name] > first.output.qmin)
    assert np.abs(exact[first.name] - rounded[first.name])[inside].max() <= 0.5 + 1e-3


def test_values_beyond_the_calibration_are_counted_as_clipped() -> None:
    source = pipeline.import_source("cartpole_ppo")
    assert isinstance(source.policy, Policy)
    fitted, _ = observations_of(source, None)
    quantized = quantize(
        source.policy, calibrate(fitted.obs * 0.01, source.policy.contract), LADDER[0].settings, 0
    )
    far = quant_report(source.policy, quantized, fitted.obs)
    assert max(layer.clip_rate for layer in far.layers) > 0.1
    assert unrounded_input(quantized, fitted.obs).max() > quantized.observation.tensor.qmax
