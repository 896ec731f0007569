"""What one inference executes on Cortex-M: the shapes that published runtimes were measured on,
beside peers built and counted in the same run, and constants where a peer cannot be built here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from quarl.boards.core import Fpu
from quarl.boards.microcontroller import Board, find_board
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.sources import program_sources
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy, QuantTensor
from quarl.links.unicorn import UnicornDevice
from quarl.profiles.emulated import FirmwareProfile, LayerCost, profile_emulated
from quarl.resources import default_cache_dir, targets_dir
from tests.bench import peer_bakenn
from tests.bench.row import Row
from tests.support.random_policies import Builder
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for

M4_BOARD, M55_BOARD = "nucleo_l4r5zi", "mps3_an547"
# TFLM with CMSIS-NN of summer 2026, GCC 12, counted in this harness once: constants
TFLM = {
    (M4_BOARD, "mlp"): 19_944,
    (M4_BOARD, "mlp256"): 162_300,
    (M4_BOARD, "nature"): 18_232_092,
    (M55_BOARD, "mlp"): 11_020,
    (M55_BOARD, "mlp256"): 82_332,
    (M55_BOARD, "nature"): 3_726_183,
}
# instructions, bytes of flash and of tensors of the kernels before packed rows: flash and memory
# may grow by a hundredth
BEFORE = {
    "mlp": (10_914, 10_168, 256),
    "mlp256": (99_302, 79_928, 1_024),
    "nature": (9_961_383, 1_723_488, 29_536),
}
GROWN = 1.01


@dataclass(frozen=True, slots=True)
class Goal:
    """The most instructions of a shape on a core."""

    board: str
    shape: str
    most: int
    cpu: tuple[str, Fpu] | None = None  # in place of the board's own


GOALS = (
    Goal(M4_BOARD, "mlp", 8_300),
    Goal(M4_BOARD, "mlp256", 75_000),
    Goal(M4_BOARD, "nature", 8_100_000),
    Goal(M55_BOARD, "mlp", 2_900),
    Goal(M55_BOARD, "mlp256", 19_200),
    Goal(M55_BOARD, "nature", 1_400_000),
    Goal(M4_BOARD, "mlp", 23_000, ("cortex-m3", "none")),
    Goal(M4_BOARD, "mlp256", 205_000, ("cortex-m3", "none")),
    Goal(M4_BOARD, "mlp256", 325_000, ("cortex-m0plus", "none")),
)
MOST_NATURE_CYCLES = 11_000_000
LEAST_CONV, LEAST_DENSE = 0.86, 0.75  # products a cycle on a Cortex-M4, estimated
MOST_OF_DEPTHWISE = 3.5  # instructions a product, without those that store results
MOST_INT4 = 0.10  # more than int8
INT4_FLASH_BYTES = 900_000  # of the Nature CNN: whole firmware, one frame of example included


def bench_firmware(folder: Path) -> list[Row]:
    """Instructions of one inference on Cortex-M (emulated, they repeat exactly; cycles are
    estimated). bakenn is built and counted in the same run; figures of TFLM + CMSIS-NN are
    constants, counted once in the same harness.
    """
    rows = []
    for goal in GOALS:
        board = find_board(goal.board, targets_dir())
        if goal.cpu is not None:
            board = replace(board, cpu=goal.cpu[0], fpu=goal.cpu[1])
        policy, quantized = sample(goal.shape, 0)
        counted = _counted(policy, quantized, board)
        rows.append(_row(goal, board, counted))
        if goal.cpu is None:
            rows.append(_bakenn_row(quantized, policy, board, counted))
        if board.cpu == "cortex-m4":
            rows += [_size_row(goal.shape, counted), _int4_row(goal.shape, board, counted)]
            rows += _rate_rows(counted) if goal.shape == "nature" else []
    return [*rows, _depthwise_row()]


def _counted(policy: Policy, quantized: QuantPolicy, board: Board) -> FirmwareProfile:
    obs = observations(policy, np.random.default_rng(3), 2)
    return profile_emulated(workload_for(quantized, obs, board), board, default_cache_dir())


def _row(goal: Goal, board: Board, counted: FirmwareProfile) -> Row:
    peer = TFLM.get((goal.board, goal.shape)) if goal.cpu is None else None
    beside = "" if peer is None else f" (TFLM + CMSIS-NN, a constant: {peer:,})"
    found = (
        f"{counted.instructions:,} instructions{_cycles(counted)}, "
        f"{counted.flash_bytes:,} B flash, {counted.arena_bytes:,} B tensors"
    )
    holds = counted.instructions <= goal.most and counted.differing == 0
    return Row(f"{goal.shape} on {board.cpu}{beside}", found, f"<= {goal.most:,}", holds)


def _cycles(counted: FirmwareProfile) -> str:
    cycles = counted.cycles
    return "" if cycles is None else f", {cycles.mid:,} cycles ({cycles.low:,} to {cycles.high:,})"


def _size_row(shape: str, counted: FirmwareProfile) -> Row:
    _, flash, tensors = BEFORE[shape]
    holds = counted.flash_bytes <= GROWN * flash and counted.arena_bytes <= GROWN * tensors
    return Row(
        "  flash and tensors, of those before packed rows",
        f"{counted.flash_bytes / flash:.3f}, {counted.arena_bytes / tensors:.3f}",
        f"<= {GROWN}",
        holds,
    )


def _rate_rows(counted: FirmwareProfile) -> Iterator[Row]:
    """Yield cycles, and products a cycle of the convolutions and of the large dense layer."""
    assert counted.cycles is not None
    mid = counted.cycles.mid
    yield Row(
        "  cycles, estimated", f"{mid:,}", f"<= {MOST_NATURE_CYCLES:,}", mid <= MOST_NATURE_CYCLES
    )
    products = (3_276_800, 2_654_208, 1_806_336, 1_605_632)  # of the convolutions and the dense one
    layers = [layer for layer in counted.layers if "ql_conv2d" in layer.kernel]
    dense = next(layer for layer in counted.layers if "ql_dense" in layer.kernel)
    parts: tuple[tuple[str, int, list[LayerCost], float], ...] = (
        ("convolutions", sum(products[:3]), layers, LEAST_CONV),
        ("the layer of 3,136 inputs", products[3], [dense], LEAST_DENSE),
    )
    for what, count, own, least in parts:
        cycles = sum(layer.cycles.mid for layer in own if layer.cycles is not None)
        rate = round(count / cycles, 2)
        yield Row(
            f"  products a cycle of {what}, estimated", f"{rate:.2f}", f">= {least}", rate >= least
        )


def _bakenn_row(quantized: QuantPolicy, policy: Policy, board: Board, ours: FirmwareProfile) -> Row:
    obs = observations(policy, np.random.default_rng(3), 2)
    cost = peer_bakenn.measure(quantized, obs, board)
    cycles = "" if cost.cycles is None else f", {cost.cycles:,} cycles"
    found = (
        f"{cost.instructions:,} instructions{cycles}, {cost.flash_bytes:,} B flash, "
        f"{cost.tensor_bytes:,} B tensors; ours {ours.instructions / cost.instructions:.2f} times"
    )
    return Row(f"  bakenn {version('bakenn')} + CMSIS-NN, by {cost.compiler}", found, "", None)


def _int4_row(name: str, board: Board, int8: FirmwareProfile) -> Row:
    """The same network with int4 weights; the Nature CNN must fit a part of 1 MB."""
    counted = _counted(*sample(name, 0, weights="int4"), board)
    more = counted.instructions / int8.instructions - 1
    found = (
        f"{counted.instructions:,} instructions ({more:+.1%}), {counted.flash_bytes:,} B "
        f"flash, {counted.arena_bytes:,} B tensors"
    )
    if name != "nature":
        return Row("  int4 weights but in the first and the last layer", found, "", None)
    holds = more <= MOST_INT4 and counted.flash_bytes < INT4_FLASH_BYTES and counted.differing == 0
    return Row(
        "  int4 weights but in the first and the last layer",
        found,
        f"<= {MOST_INT4:+.0%}, < {INT4_FLASH_BYTES:,} B flash",
        holds,
    )


def _depthwise_row() -> Row:
    """3 x 3 over 12 x 12 x 32, padded."""
    rng = np.random.default_rng(0)
    board = find_board(M4_BOARD, targets_dir())
    builder = Builder(rng, (12, 12, 32), QuantTensor(np.float32(1 / 255), -128))
    builder.window("depthwise", 0, (3, 3), (1, 1), ((1, 1), (1, 1)), builder.output())
    builder.flatten()
    builder.dense(2, builder.output())
    policy = builder.build()
    integers = rng.integers(-128, 128, (1, 12, 12, 32)).astype(np.int8)
    program = lower(policy, "dsp")
    files = program_sources(program) | harness_sources(board)
    image = read_image(build_image(files, board, default_cache_dir()), board)
    layer = UnicornDevice(image, board, interface_of(program)).count_calls(integers)[0]
    store = image.symbols["ql_store_s8"]
    stores = sum(
        len(block.instructions) * times
        for block, times, _ in layer.blocks
        if store.address <= block.address < store.address + store.bytes
    )
    products = 12 * 12 * 32 * 9
    rate = round((layer.instructions - stores) / products, 2)
    return Row(
        "depthwise 3 x 3 on cortex-m4: instructions a product",
        f"{rate:.2f} without the stores of results, {layer.instructions / products:.2f} with them",
        f"<= {MOST_OF_DEPTHWISE}",
        rate <= MOST_OF_DEPTHWISE,
    )
