"""Policies as files of a bundle: `source.npz` (float) and `policy.npz` (integers), plain numbers and one JSON document.

The document lists the nodes; arrays are stored beside it under `<node>.<field>`. Format: toolchain/docs/formats.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quarl.contract import Contract
from quarl.errors import InputError
from quarl.npz import npz_bytes, read_npz
from quarl.policy import Activation, Add, Concat, Conv2D, Dense, DepthwiseConv2D, Flatten, Node, Op, Policy
from quarl.quant_policy import (
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantOp,
    QuantPolicy,
    QuantTable,
    QuantTensor,
)

FORMAT = 1
DOCUMENT = "document"
OPS: dict[str, type[Any]] = {
    op.__name__: op
    for op in (Dense, Conv2D, DepthwiseConv2D, Activation, Flatten, Concat, Add, QuantDense, QuantConv2D, QuantDepthwiseConv2D, QuantTable)
}


def policy_bytes(policy: Policy) -> bytes:
    """Return the bytes of `source.npz`."""
    nodes, arrays = _pack_nodes(policy.nodes)
    document = {
        "format": FORMAT,
        "kind": "float",
        "nodes": nodes,
        "contract": policy.contract.to_json(),
        "algorithm": policy.algorithm,
        "framework": policy.framework,
        "source_sha256": policy.source_sha256,
    }
    return npz_bytes({DOCUMENT: _text_array(document), **arrays}, compress=False)  # weights hardly compress


def quant_policy_bytes(policy: QuantPolicy) -> bytes:
    """Return the bytes of `policy.npz`."""
    nodes, arrays = _pack_nodes(policy.nodes)
    for entry, node in zip(nodes, policy.nodes, strict=True):
        entry["output"] = None if node.output is None else _pack_tensor(node.output)
    quantizer = policy.observation
    document = {
        "format": FORMAT,
        "kind": "int8",
        "nodes": nodes,
        "observation": _pack_tensor(quantizer.tensor),
        "contract": policy.contract.to_json(),
        "rung": policy.rung,
        "source_sha256": policy.source_sha256,
    }
    observation = {"observation.inv_scale": quantizer.inv_scale, "observation.zero_point": quantizer.zero_point}
    return npz_bytes({DOCUMENT: _text_array(document), **observation, **arrays}, compress=False)


def read_policy_file(path: Path) -> Policy:
    """Return the float policy in `source.npz`.

    Raises:
        InputError: not such a file, or one of another format.
    """
    document, arrays = _open(path, "float")
    with _reporting(path):
        nodes = tuple(Node(n["name"], cast(Op, _unpack_op(n, arrays)), tuple(n["inputs"])) for n in document["nodes"])
        contract = Contract.from_json(document["contract"])
        return Policy(nodes, contract, document["algorithm"], document["framework"], document["source_sha256"])


def read_quant_policy_file(path: Path) -> QuantPolicy:
    """Return the quantised policy in `policy.npz`; every limit of the arithmetic is checked again.

    Raises:
        InputError: not such a file, or one of another format.
    """
    document, arrays = _open(path, "int8")
    with _reporting(path):
        nodes = tuple(
            QuantNode(
                n["name"],
                cast(QuantOp, _unpack_op(n, arrays)),
                tuple(n["inputs"]),
                None if n["output"] is None else _unpack_tensor(n["output"]),
            )
            for n in document["nodes"]
        )
        observation = ObservationQuantizer(
            _typed(arrays["observation.inv_scale"], np.float32),
            _typed(arrays["observation.zero_point"], np.int32),
            _unpack_tensor(document["observation"]),
        )
        contract = Contract.from_json(document["contract"])
        return QuantPolicy(observation, nodes, contract, int(document["rung"]), document["source_sha256"])


class _reporting:  # noqa: N801 (reads as a statement)
    """Turns what a malformed document raises into one message."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError | IndexError):
            raise InputError(f"{self.path}: not a policy written by quarl ({error!r}): export the bundle again") from error


def _open(path: Path, kind: str) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    arrays = read_npz(path)
    with _reporting(path):
        document = json.loads(arrays[DOCUMENT].tobytes().decode())
        if (document["format"], document["kind"]) != (FORMAT, kind):
            found = f"format {document['format']} of kind {document['kind']}"
            raise InputError(f"{path}: is {found}, this quarl reads format {FORMAT} of kind {kind}: export the bundle again")
    return document, arrays


def _pack_nodes(nodes: Sequence[Node | QuantNode]) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    entries: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for index, node in enumerate(nodes):
        entry: dict[str, Any] = {"name": node.name, "op": type(node.op).__name__, "inputs": list(node.inputs)}
        for field in dataclasses.fields(node.op):
            value = getattr(node.op, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{index:03d}.{field.name}"] = value
                entry[field.name] = {"array": f"{index:03d}.{field.name}"}
            else:
                entry[field.name] = value
        entries.append(entry)
    return entries, arrays


def _unpack_op(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> object:
    op = OPS[entry["op"]]
    values = {}
    for field in dataclasses.fields(op):
        value = entry[field.name]
        values[field.name] = arrays[value["array"]] if isinstance(value, dict) else _tuples(value)
    return op(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _pack_tensor(tensor: QuantTensor) -> list[float | int]:
    return [float(tensor.scale), tensor.zero_point, tensor.qmin, tensor.qmax]


def _unpack_tensor(values: list[float]) -> QuantTensor:
    scale, zero_point, qmin, qmax = values
    return QuantTensor(np.float32(scale), int(zero_point), int(qmin), int(qmax))


def _typed(array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    if array.dtype != dtype:
        raise ValueError(f"an array is {array.dtype}, it must be {np.dtype(dtype)}")
    return array


def _text_array(document: object) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(document, sort_keys=True).encode(), np.uint8)
