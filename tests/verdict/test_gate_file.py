"""A gate.toml at the gate: its word stands, the defaults stand behind it, bundles ask for more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarl.bundle.limits import BACKENDS, DEFAULT_LIMITS, Limits
from quarl.bundle.manifest import ARTIFACTS
from quarl.errors import InputError
from quarl.profiles.linux_computer import BACKENDS as PI_BACKENDS
from quarl.profiles.microcontroller import DEVICE
from quarl.verdict.limits import read_gate_file
from tests.support.release import LIMITS

OWN = replace(LIMITS, margin=0.5, alpha=0.01, failure="success", without_source=True)


def beside(text: str, own: Limits = OWN, mean_source: float | None = None) -> Limits:
    return read_gate_file(f"[gate]\n{text}", "gate.toml").beside(own, mean_source)


def test_a_gate_file_stands_on_the_defaults_and_a_bundle_may_only_ask_for_more() -> None:
    limits = beside("budgets = { flash_bytes = 1000, latency_p99_us = 90 }")
    assert (limits.margin, limits.alpha) == (DEFAULT_LIMITS.margin, OWN.alpha)
    assert (limits.failure, limits.without_source) == ("return", False)
    assert limits.budgets == {**OWN.budgets, "flash_bytes": 1000, "latency_p99_us": 90}
    assert (limits.min_agreement, limits.failure_return) == (0.95, 475.0)
    assert limits.random_return == OWN.random_return
    board = replace(OWN, backends=(*OWN.backends, "firmware"))
    assert beside("margin = 0.1", board).backends == board.backends


def test_what_a_gate_file_says_stands() -> None:
    limits = beside('margin = 0.1\nalpha = 0.2\nfailure = "success"\nwithout_source = true')
    assert (limits.margin, limits.alpha) == (0.1, 0.2)
    assert (limits.failure, limits.without_source) == ("success", True)


def test_a_bundle_cannot_lower_what_a_failure_is() -> None:
    low = replace(OWN, failure_return=-1e9)
    assert beside("margin = 0.1", low, mean_source=480.0).failure_return == 250.0
    assert beside("margin = 0.1", OWN, mean_source=480.0).failure_return == 475.0
    assert beside("failure_return = 3", low, mean_source=480.0).failure_return == 3.0


@pytest.mark.parametrize(
    ("backends", "problem"),
    [
        ('["x"]', "lacks litert, lacks onnxruntime, 'x': unknown"),
        ('["litert"]', "lacks onnxruntime"),
        ('["litert", "onnxruntime", "gpu"]', "'gpu': unknown"),
    ],
)
def test_both_backends_of_a_host_are_always_compared_and_an_unknown_one_never(
    backends: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        beside(f"backends = {backends}")


def test_the_backends_there_are_stand_in_the_limits() -> None:
    names = (*ARTIFACTS, DEVICE, *PI_BACKENDS)
    assert names == BACKENDS
