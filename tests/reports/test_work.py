"""The work of a layer, counted by hand."""

from __future__ import annotations

from quarl.boards.cores import CORES
from quarl.bundle.release import Release
from quarl.graph.shapes import multiply_accumulates
from quarl.reports.contents import Contents
from quarl.reports.work import layer_work


def test_a_dense_layer_touches_weights_biases_factors_inputs_and_outputs(release: Release) -> None:
    policy = release.quantized
    first, *_ = work = layer_work(policy)
    assert first.multiply_accumulates == 44 * 64
    assert first.bytes == 44 * 64 + 64 * 4 + 64 * 4 + 44 + 64
    assert sum(layer.multiply_accumulates for layer in work) == multiply_accumulates(policy)
    assert [layer.layer for layer in work] == [node.name for node in policy.nodes]


def test_no_layer_beats_its_core(contents: Contents) -> None:
    assert contents.firmware is not None
    costs = {layer.layer: layer.cycles for layer in contents.firmware.layers}
    limit = CORES["cortex-m4"].limit
    for layer in contents.work:
        cycles = costs[layer.layer]
        assert cycles is not None
        assert layer.multiply_accumulates / cycles.low <= min(
            limit.mac_per_cycle, layer.intensity * limit.bytes_per_cycle
        )
