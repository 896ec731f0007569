"""Kernels in assembler against the reference, on every kind of core, for shapes that do not fit
their blocks: borders, lines and rows that are no whole words, odd last pixels, a few inputs.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl.graph.quant_policy import QuantTensor
from quarl.runtimes.host import NumpyRuntime
from tests.support.core_build import on_a_core
from tests.support.random_policies import Builder, wide_tensor

PIXELS = QuantTensor(np.float32(1 / 255), -128)
CORES = ["cortex-m4", "cortex-m3", "cortex-m0", "cortex-m55", "riscv32-imc"]
SHAPES = [  # height, width, channels; kernel, stride, padding
    ((9, 9, 4), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((7, 9, 3), (3, 3), (2, 2), ((0, 1), (1, 0))),
    ((8, 8, 1), (8, 8), (1, 1), ((0, 0), (0, 0))),
    ((5, 6, 2), (2, 2), (1, 2), ((1, 0), (0, 1))),
    ((6, 5, 8), (1, 1), (1, 1), ((0, 0), (0, 0))),
    ((4, 4, 5), (4, 3), (1, 1), ((2, 2), (2, 2))),
]
NO_PADDING = ((0, 0), (0, 0))


@pytest.mark.every(3)
@pytest.mark.parametrize("bits", [8, 2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("wide", [False, True], ids=["int8", "int16"])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
@pytest.mark.parametrize("cpu", CORES)
def test_windows_of_every_shape_are_exact(cpu: str, shape: int, wide: bool, bits: int) -> None:
    size, kernel, stride, padding = SHAPES[shape]
    rng = np.random.default_rng(shape)
    builder = Builder(rng, size, PIXELS)
    if wide:
        builder.window("conv", size[2], (1, 1), (1, 1), NO_PADDING, wide_tensor(10, 0.01, 3), 8)
    count = int(rng.integers(1, 70))
    builder.window("conv", count, kernel, stride, padding, builder.output(), bits)
    builder.window("depthwise", 0, (2, 2), (1, 2), ((1, 1), (0, 1)), builder.output())
    builder.flatten()
    builder.dense(5, builder.output(qmin=-100, qmax=90), weight_bits=bits)
    policy = builder.build()
    x = rng.integers(-128, 128, (6, *size)).astype(np.int32)
    np.testing.assert_array_equal(on_a_core(policy, cpu, x), NumpyRuntime(policy).run(x))


@pytest.mark.every(2)
@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("wide", [False, True], ids=["int8", "int16"])
@pytest.mark.parametrize("cpu", CORES)
def test_dense_layers_of_every_length_are_exact(cpu: str, wide: bool, bits: int) -> None:
    """Layers of 1 to 9 and of 33 inputs, one after the other, so one firmware tries all lengths."""
    rng = np.random.default_rng(bits)
    builder = Builder(rng, (7,))
    for count in (1, 2, 3, 4, 5, 6, 8, 9, 33, 7):
        target = wide_tensor(10, 0.01, 3) if wide else builder.output()
        builder.dense(count, target, weight_bits=bits)
    builder.dense(3, builder.output(), weight_bits=bits)
    policy = builder.build()
    x = rng.integers(-128, 128, (20, 7)).astype(np.int32)
    for compiler in ("zig", "gcc"):
        made = on_a_core(policy, cpu, x, compiler)  # type: ignore[arg-type]
        np.testing.assert_array_equal(made, NumpyRuntime(policy).run(x))
