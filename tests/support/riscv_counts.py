"""Instructions of one inference on an ESP32-C3 (RV32IMC), by quarl's kernels and by plain C."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from quarl.boards.core import Kernels
from quarl.boards.microcontroller import find_board
from quarl.firmware import image
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.sources import program_sources
from quarl.graph.reference import quantize_observations
from quarl.links.count import merged
from quarl.links.unicorn import UnicornDevice
from quarl.resources import targets_dir
from quarl.runtimes.host import NumpyRuntime
from tests.support.samples import observations, sample

TIMEOUT_S = 600.0  # plain C takes 67 million instructions for the Nature CNN
PLAIN = b"""#include "ql_kernels.h"
const int8_t *ql_mac_s8(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len,
                        int32_t rows, int32_t *acc)
{
    const int8_t *values = (const int8_t *)in;
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *own = &weights[row / 4 * 4 * in_len + row % 4];
        int32_t sum = bias[row];
        for (int32_t i = 0; i < in_len; i++) {
            sum += own[4 * i] * values[i];
        }
        acc[row] = sum;
    }
    return &weights[(rows + 3) / 4 * 4 * in_len];
}
"""


def tuned_count(name: str, cache: Path) -> int:
    """Return what quarl's RV32 kernels take for the sample, compiled for size as they ship."""
    return _count(name, "rv32", {}, cache)


def plain_count(name: str, cache: Path) -> int:
    """Return what a plain loop over products takes in the same harness, compiled with -O2."""
    fast = tuple("-O2" if flag == "-Os" else flag for flag in image.FLAGS)
    with patch.object(image, "FLAGS", fast):
        return _count(name, "portable", {"ql_mac_s8.c": PLAIN}, cache)


def _count(name: str, kernels: Kernels, extra: dict[str, bytes], cache: Path) -> int:
    policy, quantized = sample(name, 0)
    board = replace(find_board("nucleo_l4r5zi", targets_dir()), cpu="esp32-c3", fpu="none")
    program = lower(quantized, kernels)
    files = program_sources(program) | harness_sources(board) | extra
    built_image = read_image(build_image(files, board, cache), board)
    device = UnicornDevice(built_image, board, interface_of(program), TIMEOUT_S)
    integers = quantize_observations(quantized, observations(policy, np.random.default_rng(0), 1))
    np.testing.assert_array_equal(device.run(integers), NumpyRuntime(quantized).run(integers))
    return merged(device.count_calls(integers)).instructions
