"""MLPerf Tiny's four reference networks, by their shapes, on a NUCLEO-L4R5ZI, beside what was
published for that board.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quarl.boards.microcontroller import Board, find_board
from quarl.bundle.release import open_bundle
from quarl.profiles.emulated import FirmwareProfile, profile_emulated
from quarl.profiles.platforms import platform_of
from quarl.profiles.workload import release_workload
from quarl.resources import default_cache_dir, targets_dir
from quarl.tools import ONE_THREAD
from tests.bench import peer_bakenn
from tests.bench.row import Row
from tests.support.tiny_networks import NETWORKS as NETWORKS_OF
from tests.support.tiny_networks import tiny_tflite

BOARD = "nucleo_l4r5zi"
PUBLISHERS = "X-CUBE-AI 10.2, Plumerai 2023.05, ONNC + CMSIS-NN, TFLM reference"


@dataclass(frozen=True, slots=True)
class Network:
    """One network, and what was published of it: constants, measured on silicon by others."""

    name: str
    title: str
    action: str
    published_ms: tuple[float, float, float, float]  # by PUBLISHERS, rounds v1.3, v1.1, v1.1, v0.5


OTHERS_MS = (8.07, 8.6)  # ONNC + CMSIS-NN of round v1.1, microTVM + CMSIS-NN of v1.0
NETWORKS = (
    Network("autoencoder", "AD, dense autoencoder", "box:640", (4.79, 4.05, 8.07, 10.1)),
    Network("resnet8", "IC, ResNet-8", "discrete:10", (166, 168, 299, 704)),
    Network("depthwise_speech", "KWS, DS-CNN 49 x 10", "discrete:12", (43.4, 47.8, 82, 182)),
    Network("mobilenet", "VWW, MobileNet 0.25 at 96", "discrete:2", (89.4, 98.8, 172, 601)),
)


def bench_tiny(folder: Path) -> list[Row]:
    """MLPerf Tiny's four shapes as int8 files of others, exported without observations by `quarl
    export model.tflite --board nucleo_l4r5zi`: estimated milliseconds of an inference at 120 MHz
    beside those published for the board (constants, measured on silicon by others).
    """
    board = find_board(BOARD, targets_dir())
    rows = []
    for network in NETWORKS:
        counted = _counted(network, folder, board)
        assert counted.cycles is not None
        low, mid, high = (us / 1e3 for us in counted.cycles.latency_us(board.clock_hz))
        rate = counted.multiply_accumulates / counted.cycles.mid
        published = ", ".join(f"{ms:g}" for ms in network.published_ms)
        rows.append(
            Row(
                f"{network.title} ({counted.multiply_accumulates:,} products)",
                f"{mid:.3g} ms ({low:.3g} to {high:.3g}, estimated), {rate:.2f} products a cycle, "
                f"{counted.instructions:,} instructions, {counted.flash_bytes:,} B flash, "
                f"{counted.arena_bytes:,} B tensors; published: {published} ms",
                "0 differing",
                counted.differing == 0,
            )
        )
    return [
        *rows,
        _peer_row(board),
        Row(f"published: {PUBLISHERS}", "measured by others on silicon", "", None),
    ]


def _peer_row(board: Board) -> Row:
    """bakenn's CMSIS-NN, built here, beside what others published of CMSIS-NN on the board: how far
    the estimate may be from silicon.
    """
    policy = NETWORKS_OF["autoencoder"](np.random.default_rng(0))
    cost = peer_bakenn.measure(policy, np.zeros((1, 640), np.float32), board)
    assert cost.cycles is not None
    ms = cost.cycles * 1e3 / board.clock_hz
    off = [f"{100 * (ms / published - 1):+.0f} %" for published in OTHERS_MS]
    found = f"{ms:.3g} ms (estimated), {cost.instructions:,} instructions: {' and '.join(off)}"
    what = "AD by bakenn with CMSIS-NN, of 8.07 and 8.6 ms published for CMSIS-NN"
    return Row(what, found, "", None)


def _counted(network: Network, folder: Path, board: Board) -> FirmwareProfile:
    model, out = folder / f"{network.name}.tflite", folder / network.name
    model.write_bytes(tiny_tflite(network.name))
    command = ["-m", "quarl", "export", model, "--action", network.action, "--board", BOARD]
    threads = [f"{name}={value}" for name, value in ONE_THREAD.items()]
    argv = ["env", *threads, sys.executable, *map(str, command), "--out", str(out)]
    subprocess.run(argv, check=True, capture_output=True, timeout=600)
    workload = release_workload(open_bundle(out), platform_of(board))
    return profile_emulated(workload, board, default_cache_dir())
