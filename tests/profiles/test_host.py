"""The profile measures both precisions in both runtimes, keeps what it measured, and says so when
int8 does not pay.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from quarl.emitters import FLOAT_EMITTERS, emit_tflite
from quarl.errors import InputError
from quarl.graph.contract import Contract
from quarl.graph.policy import Activation, Dense, Policy, linear_chain
from quarl.profiles.host import (
    Latency,
    Memory,
    ModelProfile,
    Profile,
    profile_from,
    profile_host,
)
from tests.support.random_policies import random_policy
from tests.support.workloads import subject_of, workload_for


def latency(*samples_us: float) -> Latency:
    """Return a latency with these samples."""
    return Latency(first_call_us=900.0, samples_us=samples_us, calls_per_sample=1, warm_up_calls=10)


def profile_of(int8_us: float, float32_us: float) -> Profile:
    """Return a profile of one runtime with these medians."""
    memory = Memory(40_000_000, 1_000_000, 45_000_000)
    models = (
        ModelProfile("litert", "2.3.0", "float32", 4000, 100.0, latency(float32_us), memory),
        ModelProfile("litert", "2.3.0", "int8", 1000, 100.0, latency(int8_us), memory),
    )
    return Profile(
        subject_of(None, None),
        "measured",
        "a cpu",
        2,
        "Linux x86_64",
        {"numpy": "2.4"},
        "0" * 64,
        5000,
        {"int8": 900, "float32": 3600},
        models,
    )


def float_twin(contract: Contract) -> Policy:
    """Return a float policy of the same shape as the "dense chain"."""
    rng = np.random.default_rng(0)
    layers = [
        Dense(rng.normal(size=(rows, columns)).astype(np.float32), np.zeros(rows, np.float32))
        for rows, columns in ((64, 24), (48, 64), (8, 48))
    ]
    return Policy(
        linear_chain(
            [("a", layers[0]), ("relu", Activation("relu")), ("b", layers[1]), ("c", layers[2])]
        ),
        contract,
        "DQN",
        "",
        "",
    )


@pytest.mark.long
def test_a_profile_holds_both_precisions_of_both_runtimes_and_survives_json() -> None:
    quantized = random_policy("dense chain", np.random.default_rng(0))
    source = float_twin(quantized.contract)
    profile = profile_host(
        workload_for(
            quantized,
            np.random.default_rng(1).normal(size=(100, 24)).astype(np.float32),
            None,
            source,
        )
    )
    assert [(m.runtime, m.precision) for m in profile.models] == [
        ("litert", "float32"),
        ("litert", "int8"),
        ("onnxruntime", "float32"),
        ("onnxruntime", "int8"),
    ]
    for model in profile.models:
        assert len(model.latency.samples_us) >= 5
        assert (
            0
            < model.latency.p50_us
            <= model.latency.p90_us
            <= model.latency.p99_us
            <= model.latency.max_us
        )
        assert model.latency.warm_up_calls > 0
        assert model.memory.peak_bytes >= model.memory.runtime_bytes > 1_000_000
        assert model.runtime_version
    assert profile.model("litert", "int8").file_bytes == len(emit_tflite(quantized))
    assert profile.model("onnxruntime", "float32").file_bytes == len(FLOAT_EMITTERS["onnx"](source))
    assert profile.multiply_accumulates == 24 * 64 + 64 * 48 + 48 * 8
    assert profile.parameter_bytes == {
        "int8": quantized.parameter_bytes,
        "float32": 4 * source.parameter_count,
    }
    assert profile.kind == "measured"
    assert profile.cpu
    assert profile_from(profile.to_json(), "profile.json") == profile


def test_figures_name_their_kind_and_cover_the_int8_models() -> None:
    figures = {figure.name: figure for figure in profile_of(10.0, 30.0).figures}
    assert (figures["litert_p50_us"].value, figures["litert_p50_us"].kind) == (10.0, "measured")
    assert (figures["parameter_bytes"].value, figures["parameter_bytes"].kind) == (900, "exact")
    assert figures["litert_peak_memory_bytes"].value == 45_000_000


@pytest.mark.parametrize(
    ("int8_us", "float32_us", "words"),
    [
        (10.0, 30.0, "litert: int8 is 3.00 times as fast as float32"),
        (10.0, 10.2, "litert: int8 is not faster than float32"),
        (10.0, 9.8, "litert: int8 is not faster than float32"),
        (30.0, 15.0, "litert: int8 is slower than float32 on this host, 2.00 times the time"),
    ],
)
def test_a_remark_says_whether_int8_pays(int8_us: float, float32_us: float, words: str) -> None:
    (remark,) = profile_of(int8_us, float32_us).remarks()
    assert remark.startswith(words)


def test_percentiles_come_from_the_raw_samples() -> None:
    measured = latency(*map(float, range(1, 102)))
    assert (measured.p50_us, measured.p90_us, measured.p99_us, measured.max_us) == (
        51.0,
        91.0,
        100.0,
        101.0,
    )


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2, "models": [{}]}', '{"format": 2}'])
def test_a_file_that_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"here.json: is not a profile"):
        profile_from(text.encode(), "here.json")


@pytest.mark.parametrize(
    ("text", "changed", "words"),
    [
        ('"precision": "int8"', '"precision": "float32"', "without the int8 model"),
        ('"int8": ', '"float32": ', "twice|without the int8"),
        ("[\n     1.0\n    ]", "[]", "without samples"),
        ("[\n     1.0\n    ]", "[0.0]", "of no time"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(text: str, changed: str, words: str) -> None:
    document = profile_of(1.0, 2.0).to_json().decode()
    assert text in document
    with pytest.raises(InputError, match=words):
        profile_from(document.replace(text, changed, 1).encode(), "profile.json")


def test_a_profile_of_another_format_is_refused() -> None:
    document = json.loads(profile_of(1.0, 2.0).to_json())
    with pytest.raises(InputError, match="format 99; this quarl reads format 2"):
        profile_from(json.dumps({**document, "format": 99}).encode(), "profile.json")


def test_a_model_that_was_not_measured_is_named() -> None:
    profile = profile_of(1.0, 2.0)
    with pytest.raises(InputError, match="litert without the int8 model"):
        replace(profile, models=profile.models[:1]).model("litert", "int8")
