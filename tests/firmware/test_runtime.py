"""What an export ships: the kernels it needs, no other, each with its licence and its contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from quarl.boards.core import Kernels
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.runtime import (
    ALWAYS_WITH_FPU,
    kernel_files,
    read_declared,
    runtime_files,
)
from quarl.firmware.sources import program_sources
from quarl.resources import firmware_dir
from quarl.tools import run
from tests.conftest import need
from tests.support.host_build import COMPILERS, FLAGS, compile_one, kernel_objects
from tests.support.random_policies import Builder, QuantTensor, wide_tensor
from tests.support.samples import SAMPLES, sample

WITHOUT_FPU = "-DQL_RESCALE_INTEGER=1"
ARM = ("-mthumb", "-ffreestanding", "-Os", "-std=c11", "-ffp-contract=off")
CORES: dict[str, tuple[str, ...]] = {
    "cortex-m0": ("-mcpu=cortex-m0", "-mfloat-abi=soft"),
    "cortex-m3": ("-mcpu=cortex-m3", "-mfloat-abi=soft"),
    "cortex-m4f": ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "cortex-m33": ("-mcpu=cortex-m33+nofp", "-mfloat-abi=soft"),
    "cortex-m55": ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
}


def odd_shapes() -> Iterator[Program]:
    """Layers that the samples lack: poolings, a mean, sums of both kinds, wide tensors, int4,
    products, an action that is drawn.
    """
    rng = np.random.default_rng(0)
    for kernels in get_args(Kernels):
        images = Builder(rng, (9, 9, 4), QuantTensor(np.float32(1 / 255), -128))
        images.window("conv", 8, (3, 3), (1, 1), ((1, 1), (1, 1)), images.output(), 4)
        images.pool("max", (2, 2), (1, 1), ((0, 0), (0, 0)))
        images.pool("average", (2, 2), (2, 2), ((0, 0), (0, 0)))
        images.scaled_add(images.newest, images.newest, images.output())
        images.mean(images.output())
        images.dense(6, images.output(), weight_bits=4)
        yield lower(images.build(), kernels)
        wide = Builder(rng, (8, 8, 3), QuantTensor(np.float32(1 / 255), -128))
        wide.window("conv", 8, (3, 3), (1, 1), ((0, 0), (0, 0)), wide_tensor(10, 0.01))
        wide.pool("max", (2, 2), (2, 2), ((0, 0), (0, 0)))
        wide.window("conv", 8, (2, 2), (1, 1), ((1, 1), (1, 1)), wide_tensor(10, 0.01), 4)
        wide.window("depthwise", 0, (2, 2), (1, 1), ((0, 0), (0, 0)), wide.output())
        wide.flatten()
        wide.table("relu", wide_tensor(11, 0.02))
        wide.dense(12, wide_tensor(11, 0.01))
        wide.table("relu", wide_tensor(11, 0.02))
        wide.concat([wide.newest] * 2)
        wide.dense(5, wide_tensor(11, 0.01), weight_bits=4)
        yield lower(replace(wide.build(), softmax_beta=1.0), kernels)
        gated = Builder(rng, (6,), QuantTensor(np.float32(1 / 64), 0))
        gate = gated.dense(5, gated.output())
        state = gated.rescaled(gated.table("relu", gated.output()), wide_tensor(10, 0.01))
        gated.mul(gate, gated.add(state, state), gated.output())
        gated.dense(4, gated.output())
        drawn = gated.build()
        action = replace(drawn.contract.action, sampled=True)
        yield lower(replace(drawn, contract=replace(drawn.contract, action=action)), kernels)


def programs() -> Iterator[Program]:
    shapes = [(name, 0, "int8") for name in SAMPLES]
    shapes += [("branches", 3, "int8"), ("small_images", 5, "int8"), ("tanh_mlp", 4, "int8")]
    for weights in ("int4-all", "int2-all"):
        shapes += [("stacked_frames", 0, weights), ("argmax_mlp", 5, weights)]
    for kernels in get_args(Kernels):
        yield from (lower(sample(n, r, weights=w)[1], kernels) for n, r, w in shapes)
    yield from odd_shapes()


def references(path: Path) -> set[str]:
    """Return the functions of the runtime that an object file wants from a linker."""
    names = run(["nm", "-u", path], timeout=60).stdout.decode().split()
    return {name for name in names if name in kernel_files()}


def linked(wanted: set[str], objects: dict[str, Path]) -> set[str]:
    """Return the kernels that a linker keeps: those referenced from what it keeps."""
    kept: set[str] = set()
    while wanted - kept:
        name = (wanted - kept).pop()
        kept.add(name)
        wanted = wanted | references_of(objects[name])
    return kept


references_of = cache(references)


def test_no_file_that_an_export_ships_is_unused(tmp_path: Path) -> None:
    """Linked for a core with an FPU and for one without, where the family has such cores."""
    need("gcc")
    with_fpu, without = (
        kernel_objects(tmp_path / "kernels", "gcc", extra) for extra in ((), (WITHOUT_FPU,))
    )
    shipped: set[str] = set()
    for index, program in enumerate(programs()):
        folder = tmp_path / str(index)
        folder.mkdir()
        files = program_sources(program)
        for name in ("ql_policy.h", "ql_policy.c"):
            (folder / name).write_bytes(files[name])
        flags = [*FLAGS, f"-I{firmware_dir() / 'include'}"]
        policy = compile_one(["gcc"], flags, folder / "ql_policy.c", folder / "ql_policy.o")
        used = linked(references(policy), with_fpu)
        if program.kernels not in ALWAYS_WITH_FPU:
            used |= linked(references(policy), without)
        if program.policy.contract.action.sampled:
            used.add("ql_random_seed")  # its user seeds the numbers that actions are drawn by
        kernels = {Path(name).stem for name in files if Path(name).stem in kernel_files()}
        assert kernels == used, program.kernels
        shipped |= kernels
    assert set(kernel_files()) == shipped, "a kernel that no export ships"


FAMILIES = {  # folders of kernels that compile for a core
    "cortex-m0": ("kernels",),
    "cortex-m3": ("kernels",),
    "cortex-m4f": ("kernels", "dsp"),
    "cortex-m33": ("kernels", "dsp"),
    "cortex-m55": ("kernels", "dsp", "mve"),
}


@cache
def undefined_symbols(path: Path, folder: Path, flags: tuple[str, ...]) -> frozenset[str]:
    out = folder / f"{path.stem}.o"
    include = f"-I{firmware_dir() / 'include'}"
    compile_one(
        [flags[0]], [*flags[1:], include, f"-I{firmware_dir() / 'freestanding'}"], path, out
    )
    lines = run(["arm-none-eabi-nm", "-u", out], timeout=60).stdout.decode().split()
    return frozenset(name for name in lines if name.startswith("ql_"))


@pytest.mark.parametrize("core", CORES)
def test_a_kernel_declares_what_its_object_file_needs(core: str, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    has_fpu = "-mfloat-abi=hard" in CORES[core]
    flags = ("arm-none-eabi-gcc", *ARM, *CORES[core])
    for name, path in kernel_files().items():
        if path.parent.name not in FAMILIES[core]:
            continue
        declared = read_declared(path.read_text())
        expected = set(declared.kernels)
        if not has_fpu:
            expected |= set(declared.kernels_without_fpu)
        assert undefined_symbols(path, tmp_path, flags) == expected, f"{name} on a {core}"


def test_a_kernel_of_another_family_declares_what_it_needs(tmp_path: Path) -> None:
    """Armv8-A kernels, by the compiler that builds them for a Raspberry Pi."""
    need("ziglang", "arm-none-eabi-gcc")
    target = ("-target", "aarch64-linux-musl", "-mcpu=cortex_a76+dotprod", "-fno-sanitize=all")
    include = f"-I{firmware_dir() / 'include'}"
    for name, path in kernel_files().items():
        if path.parent.name != "neon":
            continue
        out = tmp_path / f"{name}.o"
        compile_one(COMPILERS["zig"], [*target, "-O2", "-std=c11", include], path, out)
        lines = run(["nm", "-u", out], timeout=60).stdout.decode().split()
        assert {s for s in lines if s.startswith("ql_")} == set(
            read_declared(path.read_text()).kernels
        )


def test_headers_come_with_those_they_include() -> None:
    files = runtime_files(["ql_mean_s8"], "portable")
    assert {"ql_kernels.h", "ql_observe.h", "ql_rescale.h", "ql_status.h", "ql_mean_s8.c"} == set(
        files
    )


def test_every_file_of_the_runtime_says_under_which_licence_it_stands() -> None:
    paths = [p for p in firmware_dir().rglob("*") if p.suffix in (".c", ".h", ".cpp")]
    assert len(paths) > 80
    for path in paths:
        first, second = path.read_text().splitlines()[:2]
        assert first.strip("/* ") == "SPDX-License-Identifier: Apache-2.0", path
        assert second.startswith(("/*", "//")), f"{path}: the second line says what it is"


@pytest.mark.parametrize("kernels", get_args(Kernels))
def test_a_generated_file_says_whose_it_is(kernels: Kernels) -> None:
    files = program_sources(lower(sample("argmax_mlp", 0)[1], kernels))
    for name in ("ql_policy.h", "ql_policy.c"):
        text = files[name].decode()
        assert text.startswith("/* SPDX-License-Identifier: LicenseRef-owner-of-the-policy */\n")
        assert "This file is yours" in text
