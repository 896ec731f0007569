"""Convolutions over windows of vectors, and zeros around chosen axes, as ONNX Runtime computes
them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.importers.test_onnx import assert_equal_to_onnxruntime, node, numbers, save


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("stride", "size"), [(1, 4), (2, 3), (3, 4)])
def test_automatic_padding_of_a_window_is_that_of_onnx(
    mode: str, stride: int, size: int, tmp_path: Path
) -> None:
    nodes = [
        node("Conv", ["x", "w"], "c", auto_pad=mode, strides=[stride]),
        node("Flatten", ["c"], "f"),
        node("Gemm", ["f", "d"], "y"),
    ]
    length = -(-10 // stride) if mode != "VALID" else (10 - size) // stride + 1
    constants = {"w": numbers(2, 3, size), "d": numbers(2 * length, 3)}
    assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", 3, 10]))


@pytest.mark.parametrize("axes", [[2], [-1], [1, 2], [2, 1]])
def test_zeros_around_chosen_axes_are_those_of_onnx(axes: list[int], tmp_path: Path) -> None:
    nodes = [
        node("Pad", ["x", "pads", "", "axes"], "p"),
        node("Conv", ["p", "w"], "c"),
        node("Flatten", ["c"], "f"),
        node("Gemm", ["f", "d"], "y"),
    ]
    pads = [1, 2] if len(axes) == 1 else [0, 1, 0, 2] if axes == [1, 2] else [1, 0, 2, 0]
    constants = {
        "pads": np.array(pads, np.int64),
        "axes": np.array(axes, np.int64),
        "w": numbers(2, 3, 3),
        "d": numbers(2 * 11, 3),
    }
    assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", 3, 10]))


def test_zeros_around_chosen_axes_of_a_picture(tmp_path: Path) -> None:
    nodes = [
        node("Div", ["x", "k"], "u"),
        node("Pad", ["u", "pads", "", "axes"], "p"),
        node("Conv", ["p", "w"], "c"),
        node("Flatten", ["c"], "f"),
        node("Gemm", ["f", "d"], "y"),
    ]
    constants = {
        "k": np.array(255, np.float32),
        "pads": np.array([1, 0, 0, 2], np.int64),
        "axes": np.array([2, 3], np.int64),
        "w": numbers(2, 3, 3, 3),
        "d": numbers(2 * 10 * 8, 3),
    }
    assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", 3, 11, 8]))
