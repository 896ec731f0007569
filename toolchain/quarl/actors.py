"""Actors: what chooses actions in an environment, built so that each row's action is independent of the batch around it.

In: a policy. Out: a function from observations [n, *shape] in environment units to actions.
A matrix product over a batch may add up in another order than over one row, and in a chaotic environment the last bit decides an episode.
The actors here compute every row as if it were alone (a stack of one-row products), so an episode is the same in any company.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.emitters import emit_float_onnx
from quarl.integer import real_outputs
from quarl.links.host import model_inputs, open_runtime
from quarl.policy import Activation, Add, Concat, Dense, Policy, run_graph
from quarl.quant_policy import QuantPolicy

Actor: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""Observations [n, *shape] in raw environment units -> actions: int64 [n], or float32 [n, count] in environment units."""


def source_actor(policy: Policy) -> Actor:
    """Return the policy in float32: for each observation the action a batch of one gives, whatever the batch.

    Convolutions run in ONNX Runtime, one observation at a time, ten times faster than here.
    """
    decode = policy.contract.action.decode
    if not policy.contract.observation.is_image:
        return lambda obs: decode(_row_outputs(policy, policy.graph_input(obs)))
    runtime = open_runtime("onnxruntime", emit_float_onnx(policy))
    return row_by_row(lambda obs: decode(runtime.run(policy.graph_input(obs))))


def float64_actor(policy: Policy) -> Actor:
    """Return the same weights in float64 arithmetic: the control that tells chaos from loss.

    What a batch adds up in another order moves the 16th digit, which no float32 action shows.
    """
    decode = policy.contract.action.decode
    if not policy.contract.observation.is_image:
        return lambda obs: decode(_row_outputs(policy, _float64_input(policy, obs)))
    last = policy.nodes[-1].name
    return lambda obs: decode(run_graph(policy.nodes, _float64_input(policy, obs))[last])


def artifact_actor(policy: QuantPolicy, model: bytes) -> Actor:
    """Return the int8 policy as its `.tflite` plays it in LiteRT; its integers do not depend on the batch."""
    runtime = open_runtime("litert", model)
    return lambda obs: policy.contract.action.decode(real_outputs(policy, runtime.run(model_inputs(policy, obs))))


def row_by_row(actor: Actor) -> Actor:
    """Return an actor that shows `actor` one observation at a time; for actors whose rows depend on the batch."""
    return lambda obs: np.concatenate([actor(obs[row : row + 1]) for row in range(len(obs))])


def _float64_input(policy: Policy, obs: NDArray[Any]) -> NDArray[np.float64]:
    observation = policy.contract.observation
    values = observation.to_graph(obs)
    if observation.is_image:
        return values.astype(np.float64) / 255
    if observation.normalizer is not None:
        return observation.normalizer.apply(values)
    return values.astype(np.float64)


def _row_outputs(policy: Policy, graph_input: NDArray[Any]) -> NDArray[Any]:
    """Return outputs [n, count], in the float type of `graph_input`, each row as a batch of one gives it."""
    last = policy.nodes[-1].name
    outputs: NDArray[Any]
    if all(isinstance(node.op, Dense | Activation | Concat | Add) for node in policy.nodes):
        # [n, 1, features] @ [features, out] is a stack of one-row products: 20 times faster than a loop, the same bits
        outputs = run_graph(policy.nodes, graph_input[:, None, :])[last][:, 0, :]
    else:
        outputs = np.concatenate([run_graph(policy.nodes, graph_input[row : row + 1])[last] for row in range(len(graph_input))])
    return outputs
