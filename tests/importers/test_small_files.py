"""A small file cannot ask for much: each of these took gigabytes, or a traceback."""

from __future__ import annotations

import zipfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from quarl.importers import ImportOptions
from quarl.importers.onnx import read_onnx
from quarl.pipeline import import_source
from quarl.rollouts.vector_env import EnvSpec
from quarl.sources.observations import observations_of
from tests.support.bombs import zip_bytes
from tests.support.memory import refusal

MOST = 1_000_000_000


def onnx_file(path: Path, nodes: list[onnx.NodeProto], shape: list[int], *, output: str) -> Path:
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", floats, ["batch", *shape])],
        [helper.make_tensor_value_info(output, floats, None)],
        [
            helper.make_tensor("one", floats, [1, 1, 1, 1], [1.0]),
            helper.make_tensor("row", floats, [1, 20_000], [0.5] * 20_000),
            helper.make_tensor("column", floats, [20_000, 1], [0.5] * 20_000),
            helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
            helper.make_tensor("many", TensorProto.INT64, [60_000], [0] * 60_000),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def doubled(count: int) -> list[onnx.NodeProto]:
    names = ["x", *(f"t{i}" for i in range(count))]
    return [
        helper.make_node("Concat", [before, before], [after], axis=1)
        for before, after in pairwise(names)
    ]


def padded() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Conv", ["x", "one"], ["c"], pads=[9000] * 4),
        helper.make_node("Flatten", ["c"], ["f"]),
    ]


def outer(times: int) -> list[onnx.NodeProto]:
    products = [helper.make_node("Mul", ["column", "row"], [f"m{i}"]) for i in range(times)]
    sums = [helper.make_node("Add", [f"m{i}", f"m{i + 1}"], [f"s{i}"]) for i in range(times - 1)]
    return [*products, *sums, helper.make_node("MatMul", ["x", f"s{times - 2}"], ["y"])]


def gathered() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Gather", ["row", "many"], ["g"], axis=0),
        helper.make_node("MatMul", ["x", "g"], ["y"]),
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("nodes", "shape", "output"),
    [
        (doubled(27), [4], "t26"),
        (doubled(40), [4], "t39"),
        (doubled(23), [4], "t22"),
        (padded(), [1, 1, 1], "f"),
        (outer(2), [20_000], "y"),
        (outer(20), [20_000], "y"),
        (gathered(), [60_000], "y"),
        ([helper.make_node("Relu", ["x"], ["y"])], [1 << 40], "y"),
        ([helper.make_node("Flatten", ["x"], ["y"])], [1 << 12, 1 << 12, 3], "y"),
    ],
    ids=["27 sums", "40 sums", "23 sums", "pads", "outer", "20 outer", "gather", "wide", "image"],
)
def test_a_small_onnx_file_is_refused_in_little_memory(
    tmp_path: Path, nodes: list[onnx.NodeProto], shape: list[int], output: str
) -> None:
    path = onnx_file(tmp_path / "p.onnx", nodes, shape, output=output)
    assert path.stat().st_size < 1 << 20
    said, peak = refusal(partial(read_onnx, path, ImportOptions()))
    assert said.startswith("p.onnx"), said
    assert peak < MOST


def npy(shape: tuple[int, ...], dtype: str) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(size)


def _export(path: Path) -> None:
    source = import_source("cartpole_ppo")
    observations_of(source, path)


@pytest.mark.long
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((33_000_000, 4), "<i1"), ((10_000_000, 4), "<f4"), ((6_000_000, 4), "<f8")],
)
def test_a_small_file_of_observations_is_refused_in_little_memory(
    tmp_path: Path, shape: tuple[int, ...], dtype: str
) -> None:
    data = bytearray(npy(shape, dtype))
    data[-1] = 1  # one of them differs from the others
    path = tmp_path / "o.npz"
    path.write_bytes(zip_bytes({"obs.npy": bytes(data)}, zipfile.ZIP_DEFLATED))
    del data
    said, peak = refusal(partial(_export, path))
    assert "o.npz" in said, said
    assert "defect" not in said
    assert peak < MOST


def test_honest_observations_are_used(tmp_path: Path) -> None:
    obs = np.random.default_rng(0).normal(0, 1, (20_000, 4)).astype(np.float32)
    np.savez(tmp_path / "o.npz", obs=obs)
    fitted, held = observations_of(import_source("cartpole_ppo"), tmp_path / "o.npz")
    assert len(fitted.obs) + len(held.obs) == 20_000


def test_more_episodes_than_memory_holds_are_refused() -> None:
    from quarl.rollouts.episodes import run_episodes

    def play() -> None:
        run_episodes(EnvSpec("CartPole-v1"), lambda obs: obs, range(10**9))

    with pytest.raises(Exception, match="at most 1,000,000"):
        play()
