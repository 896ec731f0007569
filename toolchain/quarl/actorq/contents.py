"""What a block holds: its integers as a `QuantPolicy`, its floats as weights and biases.

In: a block that was checked. Out: values that the rest of quarl knows, and what NumPy makes of
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import CLAMP, REAL, TANH, Block, header_of, label_of, layers_of, part
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.policy import INPUT, Activation, Dense, Op, Policy, activate, linear_chain
from quarl.graph.quant_policy import (
    ObservationQuantizer,
    QuantDense,
    QuantNode,
    QuantPolicy,
    QuantTable,
    QuantTensor,
)
from quarl.graph.reference import integer_outputs, real_outputs


def reference_of(block: Block) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return what the NumPy reference makes of an int8 block: outputs in real units."""
    policy = policy_of(block, plain_contract(block))
    return lambda obs: real_outputs(policy, integer_outputs(policy, obs))


def float_reference_of(block: Block) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return what NumPy makes of an fp16 or fp32 block, in float32."""
    layers = float_layers_of(block)
    kinds = layers_of(block)["kind"].tolist()

    def outputs(obs: NDArray[Any]) -> NDArray[np.float32]:
        values = obs.astype(np.float32)
        for (weights, bias), kind in zip(layers, kinds, strict=True):
            values = values @ weights.T + bias
            if kind != REAL:
                values = activate("relu" if kind == CLAMP else "tanh", values)
        return values

    return outputs


def float_layers_of(block: Block) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return weights [out, in] and bias [out] of each layer of an fp16 or fp32 block, in
    float32.
    """
    dtype = np.float32 if label_of(block).precision == "fp32" else np.float16
    layers = []
    for row in layers_of(block):
        inputs, outputs = int(row["in_padded"]), int(row["out_padded"])
        stored = part(block, int(row["weights"]), dtype, inputs * outputs)
        matrix = stored.reshape(-1, inputs, 64).transpose(0, 2, 1).reshape(outputs, inputs)
        weights = matrix[: row["out_len"], : row["in_len"]].astype(np.float32)
        bias = part(block, int(row["bias"]), np.float32, int(row["out_len"])).copy()
        layers.append((np.ascontiguousarray(weights), bias))
    return layers


def float_policy_of(block: Block, contract: Contract, algorithm: str, framework: str) -> Policy:
    """Return the float policy in an fp16 or fp32 block."""
    layers: list[tuple[str, Op]] = []
    kinds = layers_of(block)["kind"].tolist()
    for index, ((weights, bias), kind) in enumerate(
        zip(float_layers_of(block), kinds, strict=True)
    ):
        layers.append((f"layer{index}", Dense(weights, bias)))
        if kind != REAL:
            function = "relu" if kind == CLAMP else "tanh"
            layers.append((f"{function}{index}", Activation(function)))
    nodes = linear_chain(layers)
    return Policy(nodes, contract, algorithm, framework, label_of(block).digest)


def plain_contract(block: Block) -> Contract:
    """Return a contract that fits the block's lengths and says nothing of the environment."""
    header = header_of(block)[0]
    count = int(header["out_len"])
    return Contract(
        Observation((int(header["obs_len"]),), "float32", "vector"),
        Action("box", count, (float("-inf"),) * count, (float("inf"),) * count),
    )


def policy_of(block: Block, contract: Contract, source_sha256: str = "") -> QuantPolicy:
    """Return the block's integers as a QuantPolicy; every limit of the arithmetic is checked.

    Raises:
        QuantizationError: a limit is broken.
    """
    header = header_of(block)[0]
    count = int(header["obs_len"])
    observation = ObservationQuantizer(
        part(block, int(header["inv_scale"]), np.float32, count).copy(),
        part(block, int(header["zero_point"]), np.int32, count).copy(),
        QuantTensor(np.float32(1), 0),
    )
    nodes: list[QuantNode] = []
    name, tensor = INPUT, observation.tensor
    for index, row in enumerate(layers_of(block)):
        op = _dense_of(block, row, tensor.zero_point)
        if int(row["kind"]) == REAL:
            nodes.append(QuantNode(f"layer{index}", op, (name,), None))
            break
        bounds = int(row["zero_point"]), int(row["qmin"]), int(row["qmax"])
        sums = QuantTensor(np.float32(row["sum_scale"]), *bounds)
        nodes.append(QuantNode(f"layer{index}", op, (name,), sums))
        name, tensor = f"layer{index}", sums
        if int(row["kind"]) == TANH:
            tensor = QuantTensor(np.float32(row["out_scale"]), int(row["out_zero_point"]))
            stored = part(block, int(row["table"]), np.uint8, 256).astype(np.int16) - 128
            table = QuantTable("tanh", stored[sums.qmin + 128 : sums.qmax + 129].copy())
            nodes.append(QuantNode(f"tanh{index}", table, (name,), tensor))
            name = f"tanh{index}"
    return QuantPolicy(observation, tuple(nodes), contract, None, source_sha256)


def _dense_of(block: Block, row: Any, in_zero_point: int) -> QuantDense:
    inputs, outputs, count = int(row["in_padded"]), int(row["out_padded"]), int(row["out_len"])
    stored = part(block, int(row["weights"]), np.int8, inputs * outputs)
    matrix = stored.reshape(-1, inputs // 4, 64, 4).transpose(0, 2, 1, 3).reshape(outputs, inputs)
    weights = np.ascontiguousarray(matrix[:count, : row["in_len"]])
    # the block's bias counts activations from -128, the policy's from their zero point
    sums = weights.astype(np.int64).sum(axis=1) * (in_zero_point + 128)
    bias = part(block, int(row["bias"]), np.int32, count) + sums
    return QuantDense(
        weights,
        bias.astype(np.int32),
        part(block, int(row["multiplier"]), np.float32, count).copy(),
        part(block, int(row["step"]), np.float32, count).copy(),
    )
