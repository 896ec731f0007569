"""ONNX graphs made of other files, so that one walk reads them all.

In: nodes, constants, inputs and outputs, as the reader of a `.tflite`, a TorchScript archive or a
`torch.export` file meets them. Out: an `OnnxFile`, which never touches a disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from quarl.importers.onnx.file import OnnxFile

OPSET, IR_VERSION = 20, 10


class MadeGraph:
    """Collects one graph; names of results are those of the file it is made of."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append one operator and return the name of its result."""
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def split(self, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Append an operator with several results."""
        self.nodes.append(
            helper.make_node("Split", list(inputs), list(outputs), name=outputs[0], **attributes)
        )

    def constant(self, values: Any, name: str = "") -> str:
        """Return the name of a constant."""
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(values)
        return name

    def numbers(self, *values: int) -> str:
        """Return the name of a constant of whole numbers: axes, a shape."""
        return self.constant(np.array(values, np.int64))

    def input(self, name: str, shape: Sequence[int | None]) -> None:
        """Add an input of floats; None is an open length."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def output(self, name: str) -> None:
        """Add an output."""
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def file(self, path: Path, digest: hashlib._Hash, framework: str) -> OnnxFile:
        """Return the graph as a file of that path would be read."""
        graph = helper.make_graph(
            self.nodes,
            "policy",
            self.inputs,
            self.outputs,
            [
                numpy_helper.from_array(np.ascontiguousarray(v), k)
                for k, v in self.constants.items()
            ],
        )
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        return OnnxFile(
            path,
            helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION),
            digest,
            framework,
        )
