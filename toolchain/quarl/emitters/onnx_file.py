"""Builds one `.onnx` file: nodes and constants in standard operators. The same calls in the same
order give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from quarl.graph.policy import INPUT, Padding

OPSET = 17  # of 2022; nothing newer is needed, and old runtimes read it
IR_VERSION = 8
BATCH = "batch"  # name of the open dimension
OUTPUT = "output"


class OnnxFile:
    """One graph under construction. Values are addressed by name; constants with equal content are
    stored once.
    """

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._name_of: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._taken: set[str] = set()

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Return the name of a constant with these values."""
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._name_of:
            self._name_of[key] = self._free_name(name)
            self._constants.append(
                numpy_helper.from_array(np.asarray(values, order="C"), self._name_of[key])
            )
        return self._name_of[key]

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add an operator and return the name of its result: `name`, or one made from it where it
        is taken.
        """
        name = self._free_name(name)
        self._nodes.append(
            helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        )
        return name

    def flattened(self, value: str, name: str, is_image: bool) -> str:
        """Add what makes [batch, length] of a value, row-major over [height, width, channels], and
        return its name.
        """
        if is_image:
            value = self.node("Transpose", [value], f"{name}/channels_last", perm=[0, 2, 3, 1])
        return self.node("Flatten", [value], name)

    def columns(self, value: str, name: str, first: int, shape: tuple[int, ...]) -> str:
        """Add what takes the values of a vector from `first` on, as a picture [channels, height,
        width] where `shape` [height, width, channels] has three axes, and return its name.
        """
        ends = (first, first + prod(shape), 1)
        numbers = [self.constant("bound", np.array([end], np.int64)) for end in ends]
        if len(shape) == 1:
            return self.node("Slice", [value, *numbers], name)
        part = self.node("Slice", [value, *numbers], f"{name}/columns")
        sizes = self.constant("shape", np.array([-1, *shape], np.int64))
        picture = self.node("Reshape", [part, sizes], f"{name}/picture")
        return self.node("Transpose", [picture], name, perm=[0, 3, 1, 2])

    def finish(
        self,
        graph_input: Value,
        result: str,
        graph_output: Value,
        metadata: dict[str, str],
        state: Sequence[tuple[Value, str, Value]] = (),
    ) -> bytes:
        """Return the file's bytes; the value called `result`, which an operator made, becomes the
        output.

        Args:
            state: input, result and output of each state.
        """
        renamed = {result: graph_output[0], **{made: out[0] for _, made, out in state}}
        for node in self._nodes:
            node.output[:] = [renamed.get(name, name) for name in node.output]
            node.input[:] = [renamed.get(name, name) for name in node.input]
        graph = helper.make_graph(
            self._nodes,
            "quarl",
            [_value_info(value) for value in (graph_input, *(held for held, _, _ in state))],
            [_value_info(value) for value in (graph_output, *(out for _, _, out in state))],
            initializer=self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="quarl"
        )
        helper.set_model_props(model, metadata)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _free_name(self, name: str) -> str:
        free, turn = name, 1
        while free in self._taken or free in (INPUT, OUTPUT):
            turn += 1
            free = f"{name}_{turn}"
        self._taken.add(free)
        return free


def metadata_of(model: bytes) -> dict[str, str]:
    """Return the entries that `OnnxFile.finish` wrote, empty where another tool made the file, or
    where it is none.
    """
    try:
        return {e.key: e.value for e in onnx.load_model_from_string(model).metadata_props}
    except (DecodeError, ValueError):
        return {}  # a damaged file says nothing of itself


Value = tuple[str, np.dtype[Any], tuple[int, ...]]  # name, element type, shape without the batch


def onnx_type(dtype: np.dtype[Any] | type[np.generic]) -> int:
    """Return ONNX's number for an element type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def onnx_pads(padding: Padding) -> list[int]:
    """Return the padding in ONNX's order: top, left, bottom, right."""
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


def _value_info(value: Value) -> onnx.ValueInfoProto:
    name, dtype, shape = value
    return helper.make_tensor_value_info(name, onnx_type(dtype), [BATCH, *shape])
