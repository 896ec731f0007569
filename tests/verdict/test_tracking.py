"""Trackers of experiments, with a stand-in for the package at the place where it is imported."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.verdict.history import Occasion
from quarl.verdict.judge import judge
from quarl.verdict.tracking import metrics_of, track
from tests.support.release import GOOD, LIMITS

VERDICT = judge(GOOD, LIMITS, policy="cartpole_ppo")
OCCASION = Occasion(
    datetime(2026, 1, 1, tzinfo=UTC), "1.2", "ab" * 32, "pico", "c0ffee1", 3, "desk"
)


def test_mlflow_gets_parameters_metrics_and_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    fake = SimpleNamespace(
        start_run=lambda run_name: nullcontext(told.update(name=run_name)),
        log_params=lambda values: told.update(parameters=values),
        log_metrics=lambda values: told.update(metrics=values),
        set_tag=lambda name, value: told.update({name: value}),
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    track("mlflow", VERDICT, OCCASION)
    assert told["name"] == "quarl cartpole_ppo"
    assert told["quarl.answer"] == "pass"
    assert told["parameters"]["commit"] == "c0ffee1"
    assert told["parameters"]["rung"] == "3"
    assert told["metrics"] == metrics_of(VERDICT)
    assert told["metrics"]["may_ship"] == 1.0
    assert all(isinstance(value, float) for value in told["metrics"].values())


def test_wandb_gets_one_run_which_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    run = SimpleNamespace(log=told.append, finish=lambda: told.append("finished"))
    fake = SimpleNamespace(init=lambda **words: (told.append(words), run)[1])
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    track("wandb", VERDICT, OCCASION)
    words, metrics, end = told
    assert words["project"] == "quarl"
    assert words["config"]["board"] == "pico"
    assert metrics == metrics_of(VERDICT)
    assert end == "finished"


def test_what_is_missing_or_refused_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="mlflow"):
        track("mlfow", VERDICT, OCCASION)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ToolMissingError, match="pip install wandb"):
        track("wandb", VERDICT, OCCASION)

    def refuse(**words: Any) -> None:
        raise RuntimeError("no server\nmore")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse))
    with pytest.raises(DeviceError, match=r"RuntimeError: no server$"):
        track("wandb", VERDICT, OCCASION)
