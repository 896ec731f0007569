"""Random graphs of odd shapes, strides and paddings: every family of kernels equals the reference,
under sanitizers; so do its loops in assembler, on cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from quarl.boards.core import Kernels
from quarl.firmware.lower import lower
from quarl.graph.quant_policy import QuantPolicy, QuantTensor
from quarl.runtimes.host import NumpyRuntime
from tests.conftest import need
from tests.support.core_build import on_a_core
from tests.support.host_build import filter_outputs
from tests.support.random_policies import Builder, random_integers, wide_tensor

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def random_graph(rng: np.random.Generator) -> QuantPolicy:
    if rng.random() < 0.65:
        shape = tuple(int(rng.integers(1, 12)) for _ in range(3))
        builder = Builder(rng, shape, QuantTensor(np.float32(1 / 255), -128))
        for _ in range(int(rng.integers(1, 4))):
            add_window(builder, rng)
        if builder.is_narrow and rng.random() < 0.3:
            builder.scaled_add(builder.newest, builder.newest, builder.output())
            builder.mean(builder.output())
        else:
            builder.flatten()
    else:
        builder = Builder(rng, (int(rng.integers(1, 40)),))
    for _ in range(int(rng.integers(0, 3))):
        if rng.random() < 0.2 and len(builder.shapes[builder.newest]) == 1:
            builder.concat([builder.newest] * int(rng.integers(2, 4)))
        target = wide_tensor(10, 0.01) if rng.random() < 0.3 else builder.output()
        builder.dense(int(rng.integers(1, 70)), target, weight_bits=random_bits(rng))
        if rng.random() < 0.4:
            builder.table("relu", wide_tensor(10, 0.01) if rng.random() < 0.3 else builder.output())
        if rng.random() < 0.3:
            builder.mul(builder.newest, builder.newest, random_target(rng, builder))
        if rng.random() < 0.2:
            builder.rescaled(builder.newest, random_target(rng, builder))
        if rng.random() < 0.2:
            builder.add(builder.newest, builder.newest)
    builder.dense(
        int(rng.integers(1, 9)),
        None if rng.random() < 0.3 else builder.output(),
        weight_bits=random_bits(rng),
    )
    return builder.build()


def random_target(rng: np.random.Generator, builder: Builder) -> QuantTensor:
    return wide_tensor(12, 0.5) if rng.random() < 0.5 else builder.output(2.0)


def random_bits(rng: np.random.Generator) -> int:
    return int(rng.integers(2, 8)) if rng.random() < 0.4 else 8


def add_window(builder: Builder, rng: np.random.Generator) -> None:
    height, width, _ = builder.shapes[builder.newest]
    kernel = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    top, bottom, left, right = (int(rng.integers(0, 3)) for _ in range(4))
    if height + top + bottom < kernel[0] or width + left + right < kernel[1]:
        return
    stride = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    tensor = builder.tensors[builder.newest]
    assert tensor is not None
    if rng.random() < 0.35:
        padding = (
            (min(top, kernel[0] - 1), min(bottom, kernel[0] - 1)),
            (min(left, kernel[1] - 1), min(right, kernel[1] - 1)),
        )
        if height + sum(padding[0]) >= kernel[0] and width + sum(padding[1]) >= kernel[1]:
            builder.pool(
                "average" if tensor.is_int8 and rng.random() < 0.5 else "max",
                kernel,
                stride,
                padding,
            )
        return
    target = (
        wide_tensor(int(rng.integers(9, 12)), 0.01, int(rng.integers(-4, 5)))
        if rng.random() < 0.3
        else builder.output()
    )
    kind = "depthwise" if rng.random() < 0.3 else "conv"
    count, padding = int(rng.integers(1, 40)), ((top, bottom), (left, right))
    builder.window(kind, count, kernel, stride, padding, target, random_bits(rng))  # type: ignore[arg-type]


def check(seed: int, folder: Path) -> None:
    need("gcc")
    rng = np.random.default_rng(seed)
    policy = random_graph(rng)
    integers = random_integers(policy, rng, 20)
    expected = NumpyRuntime(policy).run(integers)
    for kernels in get_args(Kernels):
        made = filter_outputs(lower(policy, kernels), folder / kernels, SANITIZERS, integers)
        np.testing.assert_array_equal(made, expected)


@pytest.mark.every(2)
@pytest.mark.parametrize("seed", range(4))
def test_a_random_graph_gives_the_reference_outputs_with_every_family_of_kernels(
    seed: int, tmp_path: Path
) -> None:
    check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 100))
def test_many_random_graphs_give_the_reference_outputs(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cpu", ["cortex-m4", "cortex-m3", "cortex-m0", "cortex-m55", "riscv32-imc"]
)
@pytest.mark.parametrize("seed", range(200, 220))
def test_random_graphs_give_the_reference_outputs_on_cores(seed: int, cpu: str) -> None:
    rng = np.random.default_rng(seed)
    policy = random_graph(rng)
    integers = random_integers(policy, rng, 20)
    made = on_a_core(policy, cpu, integers, "gcc" if seed % 2 else "zig")
    np.testing.assert_array_equal(made, NumpyRuntime(policy).run(integers))
