"""int8 against float32 on this host for the sizes of the networks that QuaRL (arXiv 1910.01055) put
on a Raspberry Pi.

Latency and memory are measured with one model per process. QuaRL reports 18.85 times for its third
size; where such a figure comes from is shown by giving the same two models less memory than the
float one needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.emitters import EMITTERS, FLOAT_EMITTERS
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.profiles.host import Profile, profile_host
from quarl.profiles.workload import Workload
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import rung_numbered
from quarl.quantize.quantizer import quantize
from tests.bench.row import Row
from tests.support.samples import observations, peer
from tests.support.workloads import workload_for

INPUTS, ACTIONS = 44, 25  # of nav_dqn_large
SIZES = {"I": (64, 64, 64), "II": (256, 256, 256), "III": (4096, 512, 1024)}
LEAST_MEMORY_RATIO = 3.5
# makes the third size outgrow a limit that leaves room for Python and a runtime; the paper's own
# had 39,427
WIDE_INPUTS = 8192
LIMIT_BYTES = 128 << 20
CONTROLLERS = (
    (Path("/sys/fs/cgroup"), "memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
)


def bench_sizes(folder: Path) -> list[Row]:
    """QuaRL's three sizes, float32 against int8 on this host: median latency, and memory with one
    model per process.
    """
    rows = []
    for size, widths in SIZES.items():
        profile = profile_host(_workload(*made((INPUTS, *widths, ACTIONS))))
        for runtime in ("litert", "onnxruntime"):
            real, int8 = (profile.model(runtime, precision) for precision in ("float32", "int8"))
            times = (
                f"{real.latency.p50_us:,.1f} us / {int8.latency.p50_us:,.1f} us = "
                f"{profile.speedup(runtime):.2f} x"
            )
            rows.append(
                Row(
                    f"{size} ({' x '.join(map(str, widths))}), {runtime}: float32 / int8",
                    times,
                    "",
                    None,
                )
            )
        rows += memory_rows(profile) if size == "III" else []
    return [*rows, *limited_rows(folder)]


def _workload(source: Policy, quantized: QuantPolicy, obs: NDArray[Any]) -> Workload:
    return workload_for(quantized, obs, None, source)


def memory_rows(profile: Profile) -> list[Row]:
    """Return what loading the model and its first call add to a process, beyond what a network of
    next to no weights adds.
    """
    empty = profile_host(_workload(*made((INPUTS, *(1 for _ in SIZES["III"]), ACTIONS))))
    rows = []
    for runtime in ("litert", "onnxruntime"):
        whole, least = (
            [found.model(runtime, name).memory.model_bytes for name in ("float32", "int8")]
            for found in (profile, empty)
        )
        real, int8 = (
            of_model - of_runtime for of_model, of_runtime in zip(whole, least, strict=True)
        )
        found = f"{real / 1e6:.1f} MB / {int8 / 1e6:.1f} MB = {real / int8:.2f} x"
        is_held = (
            real / int8 >= LEAST_MEMORY_RATIO if runtime == "litert" else None
        )  # ONNX Runtime keeps copies of either
        rows.append(
            Row(
                f"  memory of the weights, {runtime}",
                found,
                f">= {LEAST_MEMORY_RATIO} x" if is_held is not None else "",
                is_held,
            )
        )
        found = f"{whole[0] / 1e6:.1f} MB / {whole[1] / 1e6:.1f} MB = {whole[0] / whole[1]:.2f} x"
        rows.append(Row("    with what the runtime needs for any network", found, "", None))
    return rows


def limited_rows(folder: Path) -> list[Row]:
    """Return the latencies of a size III with a long observation, with all the memory of this
    machine and with too little for float32.
    """
    source, quantized, _ = made((WIDE_INPUTS, *SIZES["III"], ACTIONS))
    files = {"float32": folder / "float32.tflite", "int8": folder / "int8.tflite"}
    files["float32"].write_bytes(FLOAT_EMITTERS["tflite"](source))
    files["int8"].write_bytes(EMITTERS["tflite"](quantized))
    rows: list[Row] = []
    for limit in (None, LIMIT_BYTES):
        what = f"III on {WIDE_INPUTS:,} inputs, weights read from the file, " + (
            "all memory" if limit is None else f"{limit >> 20} MiB"
        )
        with memory_group(limit) as group:
            if limit is not None and group is None:
                return [
                    *rows,
                    Row(
                        what,
                        "cannot be shown: this user may not make a memory control group",
                        "",
                        None,
                    ),
                ]
            found = {name: limited_job(file, group) for name, file in files.items()}
        real, int8 = (found[name]["median_us"] / 1e3 for name in ("float32", "int8"))
        read = ", ".join(
            f"{found[name]['bytes_from_disk_per_call'] / 1e6:,.0f} MB {name}" for name in files
        )
        rows.append(
            Row(
                what,
                f"{real:,.1f} ms / {int8:,.1f} ms = {real / int8:.1f} x; read from disk a "
                f"call: {read}",
                "",
                None,
            )
        )
    return rows


def limited_job(model: Path, group: Path | None) -> dict[str, float]:
    """Return the figures of one model in a process of its own, in a control group."""
    argv = [sys.executable, "-m", "tests.bench.limited_job", str(model), str(group or "")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def memory_group(limit_bytes: int | None) -> Iterator[Path | None]:
    """Give a control group that may hold so much memory; None where none is wanted, or where the
    kernel lets this user make none.
    """
    made_group = None
    for root, limit_file in CONTROLLERS if limit_bytes is not None else ():
        group = root / f"quarl-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit_file).exists():  # the kernel has filled the folder
            (group / limit_file).write_text(str(limit_bytes))
            made_group = group
            break
        group.rmdir()
    try:
        yield made_group
    finally:
        if made_group is not None:
            made_group.rmdir()


def made(widths: tuple[int, ...]) -> tuple[Policy, QuantPolicy, NDArray[Any]]:
    """Return a ReLU network of random weights, its integers, and observations."""
    rng = np.random.default_rng(0)
    policy = peer(widths)(rng)
    obs = observations(policy, rng, 64)
    return (
        policy,
        quantize(policy, Calibration(obs, np.zeros(0, np.int32)), rung_numbered(0).settings, 0),
        obs,
    )
