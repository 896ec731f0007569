"""What a type checker must say of the public functions; `make lint` asks it, nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import quarl
from quarl.evidence.evidence import Evidence
from quarl.exporter.shipping import Shipment
from quarl.rollouts.episodes import Episodes
from quarl.sources.source import Source


def uses() -> None:
    source = quarl.import_policy("cartpole_ppo", env="CartPole-v1")
    assert_type(source, Source)
    release = quarl.export(source, Path("out"), rung=3, weights="int4", board="nrf52840_dk")
    assert_type(release, quarl.Release)
    assert_type(quarl.open_bundle("out"), quarl.Release)
    assert_type(quarl.parity(release, episodes=8), Evidence)
    assert_type(quarl.gate(release, {"margin": 0.05}), quarl.Verdict)
    assert_type(quarl.ship("cartpole_ppo", "out", episodes=100), Shipment)
    assert_type(quarl.parity(release, episodes="auto", budget_minutes=2.0), Evidence)
    assert_type(quarl.report(release), Path)
    assert_type(quarl.play(release, 2, int8=True), Episodes)
    quarl.export(source, "out", rnug=3)  # type: ignore[call-arg]
    quarl.gate(3)  # type: ignore[arg-type]
