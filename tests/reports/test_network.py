"""The network as its firmware has it: shapes and bytes of layers, tensors that never collide."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarl.errors import UnsupportedError
from quarl.firmware.lower import lower
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.ladder import quantize_on_rung
from quarl.reports.network import OBSERVATION, network_of
from tests.support.recurrent_policies import calibration_of, recurrent_policy
from tests.support.samples import SAMPLES, sample


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_layers_and_lanes_are_those_of_the_firmware(name: str) -> None:
    _, quantized = sample(name, 1)
    found = network_of(quantized, "portable")
    program = lower(quantized, "portable")
    assert [layer.name for layer in found.layers] == [node.name for node in quantized.nodes]
    assert sum(layer.bytes for layer in found.layers) == program.table_bytes
    assert found.arena_bytes == program.plan.arena_bytes
    assert found.lanes[0].name == OBSERVATION
    assert all("\0" not in lane.name for lane in found.lanes)
    assert max(lane.offset + lane.bytes for lane in found.lanes) <= found.arena_bytes
    names = {OBSERVATION, *(layer.name for layer in found.layers)}
    assert all(set(layer.inputs) <= names for layer in found.layers)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_tensors_that_live_together_share_no_byte_but_where_a_layer_allows_it(name: str) -> None:
    found = network_of(sample(name, 1)[1], "dsp")
    for one in found.lanes:
        for other in found.lanes:
            together = one.first < other.last and other.first < one.last  # by more than a step
            apart = (
                one.offset + one.bytes <= other.offset or other.offset + other.bytes <= one.offset
            )
            assert one is other or apart or not together


def test_a_policy_without_firmware_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(policy: QuantPolicy, kernels: str) -> None:
        raise UnsupportedError("sum: adds a, which is wider than int8")

    monkeypatch.setattr("quarl.reports.network.lower", refuse)
    _, quantized = sample("argmax_mlp", 5)
    found = network_of(quantized, "portable")
    assert found.arena_bytes is None
    assert "wider than int8" in found.reason
    assert len(found.layers) == len(quantized.nodes)


def test_the_states_of_a_recurrent_policy_are_read_by_name(tmp_path: Path) -> None:
    policy = recurrent_policy("GRU", tmp_path)
    found = network_of(quantize_on_rung(policy, calibration_of(policy), 1), "portable")
    assert found.arena_bytes
    assert any("state" in name for layer in found.layers for name in layer.inputs)
