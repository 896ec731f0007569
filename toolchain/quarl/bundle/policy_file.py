"""Policies as files of a bundle: `source.npz` (float) and `policy.npz` (integers), plain numbers
and one JSON document.

The document lists the nodes; arrays are stored beside it under `<node>.<field>`. Format:
toolchain/docs/formats.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.npz import npz_arrays, npz_bytes
from quarl.files.open import read_file
from quarl.files.text import digest_text
from quarl.graph.contract import Contract
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import (
    Activation,
    Add,
    Columns,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Mul,
    Node,
    Op,
    Policy,
)
from quarl.graph.quant_policy import (
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantNode,
    QuantOp,
    QuantPolicy,
    QuantRescale,
    QuantTable,
    QuantTensor,
)
from quarl.graph.state import QuantState

FORMAT = 1
DOCUMENT = "document"
OMITTED = (
    "weight_bits",
    8,
)  # not written, so that files without int4 layers are as they always were
OPS: dict[str, type[Any]] = {
    op.__name__: op
    for op in (
        *(Dense, Conv2D, DepthwiseConv2D, MaxPool2D, Activation, Flatten, Concat, Add, Mul),
        Columns,
        *(
            QuantDense,
            QuantConv2D,
            QuantDepthwiseConv2D,
            QuantTable,
            QuantMul,
            QuantRescale,
            QuantAveragePool2D,
            QuantMean,
            QuantAdd,
        ),
    )
}


def policy_bytes(policy: Policy) -> bytes:
    """Return the bytes of `source.npz`."""
    return _bytes(*_pack(policy))


def quant_policy_bytes(policy: QuantPolicy) -> bytes:
    """Return the bytes of `policy.npz`."""
    return _bytes(*_pack_quant(policy))


def policy_from(data: bytes, where: str) -> Policy:
    """Return the float policy in the bytes of `source.npz`; `where` names the file in messages.

    Raises:
        InputError: not such a file, one of another format, or one that says more than this quarl
            understands.
    """
    with _reporting(where):
        document, arrays = _open(data, where, "float")
        nodes = tuple(
            Node(n["name"], cast(Op, _unpack_op(n, arrays)), tuple(n["inputs"]))
            for n in document["nodes"]
        )
        contract = Contract.from_json(document["contract"])
        policy = Policy(
            nodes,
            contract,
            _text(document, "algorithm"),
            _text(document, "framework"),
            digest_text(document["source_sha256"], "source_sha256"),
            tuple(document.get("next_state", ())),
        )
        _check_nothing_else(document, arrays, *_pack(policy))
        return policy


def quant_policy_from(data: bytes, where: str) -> QuantPolicy:
    """Return the quantised policy in the bytes of `policy.npz`; every limit of the arithmetic is
    checked again.

    Raises:
        InputError: not such a file, one of another format, or one that says more than this quarl
            understands.
    """
    with _reporting(where):
        document, arrays = _open(data, where, "int8")
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
            arrays["observation.inv_scale"],
            arrays["observation.zero_point"],
            _unpack_tensor(document["observation"]),
        )
        if document["rung"] is not None and type(document["rung"]) is not int:
            raise InputError(f"rung is {document['rung']!r}, it must be a whole number, or null")
        beta = document.get("softmax_beta")
        if beta is not None and type(beta) is not float:
            raise InputError(f"softmax_beta is {beta!r}, it must be a number")
        contract = Contract.from_json(document["contract"])
        policy = QuantPolicy(
            observation,
            nodes,
            contract,
            document["rung"],
            digest_text(document["source_sha256"], "source_sha256"),
            beta,
            tuple(
                QuantState(state["name"], _unpack_tensor(state["tensor"]), state["next"])
                for state in document.get("state", ())
            ),
        )
        _check_nothing_else(document, arrays, *_pack_quant(policy))
        return policy


def read_any_policy(path: Path) -> Policy | QuantPolicy:
    """Return the policy in either kind of file.

    Raises:
        InputError: neither.
    """
    data, where = read_file(path), str(path)
    with _reporting(where):
        document = json.loads(npz_arrays(data, where)[DOCUMENT].tobytes().decode())
        is_integers = document["kind"] == "int8"
    return quant_policy_from(data, where) if is_integers else policy_from(data, where)


def read_policy_file(path: Path) -> Policy:
    """Return the float policy in a `source.npz`; errors as `policy_from`."""
    return policy_from(read_file(path), str(path))


def read_quant_policy_file(path: Path) -> QuantPolicy:
    """Return the integers in a `policy.npz`; errors as `quant_policy_from`."""
    return quant_policy_from(read_file(path), str(path))


@contextmanager
def _reporting(where: str) -> Iterator[None]:
    """Turns what a malformed document raises into one message that names the file."""
    try:
        yield
    except InputError as error:
        if where in str(error):
            raise
        raise type(error)(f"{where}: {error}") from error
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{where}: not a policy written by quarl ({error!r}): export the bundle again"
        ) from error


def _open(data: bytes, where: str, kind: str) -> tuple[Mapping[str, Any], dict[str, NDArray[Any]]]:
    arrays = npz_arrays(data, where)
    document = json.loads(arrays.pop(DOCUMENT).tobytes().decode())
    if (document["format"], document["kind"]) != (FORMAT, kind):
        found = f"format {document['format']} of kind {document['kind']}"
        raise InputError(
            f"is {found}, this quarl reads format {FORMAT} of kind {kind}: export the bundle again"
        )
    return document, arrays


def _check_nothing_else(
    document: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    wanted: Mapping[str, Any],
    wanted_arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Check that what was read is all there was, so that nothing in the file is silently
    dropped.
    """
    where = _difference(document, json.loads(json.dumps(wanted)))
    others = sorted(set(arrays) ^ set(wanted_arrays))
    if where is not None or others:
        raise InputError(
            f"holds something this quarl does not understand, at {where or others[0]}: export "
            "the bundle again"
        )


def _difference(found: Any, wanted: Any, at: str = "") -> str | None:
    """Return the path of the first place where two JSON values differ, None where they are
    equal.
    """
    if isinstance(found, dict) and isinstance(wanted, dict) and (keys := set(found) ^ set(wanted)):
        return f"{at}.{min(keys)}"
    if isinstance(found, dict | list) and type(found) is type(wanted) and len(found) == len(wanted):
        for key in found if isinstance(found, dict) else range(len(found)):
            where = _difference(found[key], wanted[key], f"{at}.{key}")
            if where is not None:
                return where
        return None
    return None if found == wanted and type(found) is type(wanted) else at


def _text(document: Mapping[str, Any], field: str) -> str:
    value = document[field]
    if not isinstance(value, str):
        raise InputError(f"{field} is {value!r}, it must be text")
    return value


def _bytes(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    text = np.frombuffer(json.dumps(document, sort_keys=True).encode(), np.uint8)
    return npz_bytes({DOCUMENT: text, **arrays}, compress=False)  # weights hardly compress


def _pack(policy: Policy) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    nodes, arrays = _pack_nodes(policy.nodes)
    document = {
        "format": FORMAT,
        "kind": "float",
        "nodes": nodes,
        "contract": policy.contract.to_json(),
        "algorithm": policy.algorithm,
        "framework": policy.framework,
        "source_sha256": policy.source_sha256,
        **({"next_state": list(policy.next_state)} if policy.next_state else {}),
    }
    return document, arrays


def _pack_quant(policy: QuantPolicy) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
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
        **({} if policy.softmax_beta is None else {"softmax_beta": policy.softmax_beta}),
        **({"state": [_pack_state(state) for state in policy.state]} if policy.state else {}),
    }
    observation = {
        "observation.inv_scale": quantizer.inv_scale,
        "observation.zero_point": quantizer.zero_point,
    }
    return document, {**observation, **arrays}


def _pack_nodes(
    nodes: Sequence[Node | QuantNode],
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    entries: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {}
    for index, node in enumerate(nodes):
        entry: dict[str, Any] = {
            "name": node.name,
            "op": type(node.op).__name__,
            "inputs": list(node.inputs),
        }
        for field in dataclasses.fields(node.op):
            value = getattr(node.op, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{index:03d}.{field.name}"] = value
                entry[field.name] = {"array": f"{index:03d}.{field.name}"}
            elif (field.name, value) != OMITTED:
                entry[field.name] = value
        entries.append(entry)
    return entries, arrays


def _unpack_op(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> object:
    op = OPS[entry["op"]]
    values = {}
    for field in dataclasses.fields(op):
        value = entry.get(*OMITTED) if field.name == OMITTED[0] else entry[field.name]
        values[field.name] = arrays[value["array"]] if isinstance(value, dict) else _tuples(value)
    return op(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _pack_tensor(tensor: QuantTensor) -> list[float | int]:
    return [float(tensor.scale), tensor.zero_point, tensor.qmin, tensor.qmax]


def _pack_state(state: QuantState) -> dict[str, Any]:
    return {"name": state.name, "tensor": _pack_tensor(state.tensor), "next": state.next}


def _unpack_tensor(values: list[float]) -> QuantTensor:
    scale, zero_point, qmin, qmax = values
    return QuantTensor(np.float32(scale), int(zero_point), int(qmin), int(qmax))
