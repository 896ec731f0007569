"""Actors: what chooses actions in an environment, built so that each row's action is independent of
the batch around it.

In: a policy. Out: a function from observations [n, *shape] in environment units to actions.
A matrix product over a batch may add up in another order than over one row, and in a chaotic
environment the last bit decides an episode.
The actors here compute every row as if it were alone, so an episode is the same in any company.
Images and large networks go through ONNX Runtime (float32), images through LiteRT too (int8), with
one runtime for each core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.emitters import emit_float_onnx
from quarl.emitters.artifact import open_artifact
from quarl.errors import InputError
from quarl.graph.contract import Action
from quarl.graph.policy import (
    Activation,
    Add,
    Concat,
    Dense,
    Mul,
    Node,
    Policy,
    Weighted,
    run_graph,
)
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import next_integers, real_outputs, start_integers
from quarl.graph.rows import start_of, state_parts
from quarl.rollouts.memory import RecurrentActor, SampledActor
from quarl.runtimes.host import BATCH_SIZES, Runtime, model_inputs, open_runtime
from quarl.workers.processors import processors

Actor: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""Observations [n, *shape] in raw environment units -> actions: int64 [n], or float32 [n, count] in
environment units.
"""

Outputs: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""Observations [n, *shape] in raw environment units -> the network's outputs [n, count]."""

# how many times the largest float32 error seen two outputs must be apart for float32 to be believed
SAFETY = 1_000
_FLOAT32_STEP = 2.0**-24
# weights from which a network is read from memory for each row that is computed alone
_LARGE = 1_000_000
_SMALLEST_SHARE = 4  # rows; below this a second thread costs more than it saves


def source_actor(policy: Policy) -> Actor:
    """Return the policy in float32: for each observation the action a batch of one gives, whatever
    the batch.
    """
    if policy.contract.state:
        return _recurrent(policy, policy.graph_input, np.float32)
    if _goes_in_batches(policy):
        return _acting(policy.contract.action, _batch_outputs(policy))
    return _acting(
        policy.contract.action, lambda obs: _row_outputs(policy.nodes, policy.graph_input(obs))
    )


def float_outputs(policy: Policy) -> Outputs:
    """Return the policy's float32 outputs; the last bits may depend on the batch."""
    return _batch_outputs(policy) if policy.contract.observation.is_image else policy.outputs


def float64_actor(policy: Policy) -> Actor:
    """Return the same weights in float64 arithmetic: the control that tells chaos from loss."""
    action = policy.contract.action
    if policy.contract.state:
        return _recurrent(policy, lambda obs: _float64_input(policy, obs), np.float64)
    exact = _float64_outputs(policy)
    if _is_screened(policy):
        return _Screened(_batch_outputs(policy), exact, _probes(policy))
    return _acting(action, exact)


def _goes_in_batches(policy: Policy) -> bool:
    """Whether a row alone costs much more than its share of a batch."""
    observation = policy.contract.observation
    is_large = policy.parameter_count >= _LARGE and not observation.has_pixels
    return observation.is_image or is_large


def _is_screened(policy: Policy) -> bool:
    """Whether float32 tells most of the float64 policy's actions."""
    action = policy.contract.action
    is_choice = action.kind == "discrete" and action.count > 1 and not action.sampled
    return _goes_in_batches(policy) and is_choice and not policy.contract.state


def source_and_control(policy: Policy) -> tuple[Actor, Actor]:
    """Return `source_actor` and `float64_actor`, for when the second is asked about what the first
    has just seen: what the float32 network says of an image is then computed once.
    """
    if not _is_screened(policy):
        return source_actor(policy), float64_actor(policy)
    outputs = _Remembered(_batch_outputs(policy))
    control = _Screened(outputs.again, _float64_outputs(policy), _probes(policy))
    return _acting(policy.contract.action, outputs), control


def artifact_actor(policy: QuantPolicy, model: bytes) -> Actor:
    """Return the int8 policy as its `.tflite` plays it in LiteRT; its integers do not depend on the
    batch.
    """
    if policy.state:
        return _recurrent_artifact(policy, open_artifact(policy, "litert", model))
    return _acting(policy.contract.action, artifact_outputs(policy, model))


def _acting(action: Action, outputs: Outputs) -> Actor:
    """Return the actor that takes the likeliest action of the outputs, or draws one."""
    if action.sampled:
        return SampledActor(action, outputs)
    return lambda obs: action.decode(outputs(obs))


def artifact_outputs(policy: QuantPolicy, model: bytes) -> Outputs:
    """Return the outputs in real units that LiteRT gives for the policy's `.tflite`."""
    threads = processors() if policy.contract.observation.is_image else 1
    runtimes = (open_artifact(policy, "litert", model) for _ in range(threads))
    outputs = _shared([_integers_of(policy, runtime) for runtime in runtimes])
    return lambda obs: real_outputs(policy, outputs(obs))


def _recurrent(
    policy: Policy, graph_input: Callable[[NDArray[Any]], NDArray[Any]], dtype: type[Any]
) -> RecurrentActor:
    """Return a recurrent policy in a float type, each row as a batch of one gives it."""
    contract, last = policy.contract, policy.nodes[-1].name

    def step(obs: NDArray[Any], state: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        parts = state_parts(contract, state)
        results = run_graph(
            policy.nodes,
            graph_input(obs)[:, None, :],
            {name: part[:, None, :] for name, part in parts.items()},
        )
        made = policy.next_of(results, len(obs))[:, 0, :]
        return results[last][:, 0, :], made

    return RecurrentActor(contract.action, step, start_of(contract).astype(dtype))


def _recurrent_artifact(policy: QuantPolicy, runtime: Runtime) -> RecurrentActor:
    """Return a recurrent policy as its artifact plays it; the state is carried in integers."""

    def step(obs: NDArray[Any], state: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        integers = policy.observation.quantize(obs)
        outputs = runtime.run(np.concatenate([integers, state], axis=1).astype(policy.input_dtype))
        return real_outputs(policy, outputs), next_integers(policy, outputs)

    return RecurrentActor(policy.contract.action, step, start_integers(policy))


def row_by_row(actor: Actor) -> Actor:
    """Return an actor that shows `actor` one observation at a time; for actors whose rows depend on
    the batch.
    """
    return lambda obs: np.concatenate([actor(obs[row : row + 1]) for row in range(len(obs))])


class _Screened:
    """The float64 policy's action at nearly the price of float32: only rows whose best two outputs
    are close are computed in float64.

    Float32 is believed where the gap is SAFETY times the largest error, relative to the row's
    largest output, that was seen on the probes or on any row computed both ways since. A proven
    worst-case bound would be some 10^7 times the error and would believe no row at all.
    """

    def __init__(self, fast: Outputs, exact: Outputs, probes: NDArray[np.uint8]) -> None:
        self._fast, self._exact = fast, exact
        self._error = _FLOAT32_STEP
        self._learn(fast(probes), exact(probes))

    def __call__(self, obs: NDArray[Any]) -> NDArray[np.int64]:
        outputs = self._fast(obs)
        actions: NDArray[np.int64] = outputs.argmax(axis=1)
        best = np.partition(outputs, -2, axis=1)[:, -2:].astype(np.float64)
        is_clear = best[:, 1] - best[:, 0] > SAFETY * self._error * np.abs(outputs).max(axis=1)
        close = np.flatnonzero(~is_clear)  # NaN is not clear either
        if close.size:
            exact = self._exact(obs[close])
            actions[close] = exact.argmax(axis=1)
            self._learn(outputs[close], exact)
        return actions

    def _learn(self, fast: NDArray[Any], exact: NDArray[Any]) -> None:
        size = np.maximum(np.abs(exact).max(axis=1), np.finfo(np.float32).tiny)
        self._error = max(self._error, float((np.abs(fast - exact).max(axis=1) / size).max()))


class _Remembered:
    """Outputs of which the last ones are kept."""

    def __init__(self, compute: Outputs) -> None:
        self._compute = compute
        self._obs: NDArray[Any] | None = None
        self._made: NDArray[Any] | None = None

    def __call__(self, obs: NDArray[Any]) -> NDArray[Any]:
        self._obs, self._made = obs, self._compute(obs)
        return self._made

    def again(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of observations: those kept where they are all of the last ones, in
        their order.
        """
        places = self._places(obs)
        if places is None or self._made is None:
            return self._compute(obs)
        return self._made[places]

    def _places(self, obs: NDArray[Any]) -> list[int] | None:
        if self._obs is None or len(obs) > len(self._obs):
            return None
        places: list[int] = []
        kept = iter(enumerate(self._obs))
        for row in obs:
            place = next((at for at, one in kept if np.array_equal(one, row)), None)
            if place is None:
                return None
            places.append(place)
        return places


def _batch_outputs(policy: Policy) -> Outputs:
    """Return the float32 outputs by ONNX Runtime: in batches where these give what single rows
    give, otherwise one row at a time.
    """
    model = emit_float_onnx(policy)
    runtimes = [open_runtime("onnxruntime", model) for _ in range(processors())]
    in_batches = _rows_are_independent(runtimes[0], policy)
    return _shared([_outputs_of(policy, runtime, in_batches) for runtime in runtimes])


def _outputs_of(policy: Policy, runtime: Runtime, in_batches: bool) -> Outputs:
    run = runtime.run if in_batches else row_by_row(runtime.run)
    return lambda obs: run(policy.graph_input(obs))


def _integers_of(policy: QuantPolicy, runtime: Runtime) -> Outputs:
    count = policy.contract.action.count

    def outputs(obs: NDArray[Any]) -> NDArray[Any]:
        integers = runtime.run(model_inputs(policy, obs))
        if integers.shape != (len(obs), count):
            raise InputError(
                f"model.tflite: answers {len(obs)} observations with an array of shape "
                f"{integers.shape}, the contract says ({len(obs)}, {count}): export the bundle "
                "again"
            )
        return integers

    return outputs


def _rows_are_independent(runtime: Runtime, policy: Policy) -> bool:
    """Whether each place of each batch size in use gives the bits a batch of one gives.

    The order in which a kernel adds up depends on shapes and never on values, and another order
    shows in the last bits of nearly every sum: a row of noise in each place decides the question.
    """
    noise = _noise(policy, max(BATCH_SIZES))
    inputs = np.ascontiguousarray(policy.graph_input(noise))
    alone = np.concatenate([runtime.infer(inputs[row : row + 1]) for row in range(len(inputs))])
    return all(np.array_equal(runtime.infer(inputs[:size]), alone[:size]) for size in BATCH_SIZES)


def _float64_outputs(policy: Policy) -> Outputs:
    """Return the outputs in float64, each row as a batch of one gives it."""
    nodes = tuple(
        replace(
            node,
            op=replace(
                node.op,
                weights=node.op.weights.astype(np.float64),
                bias=node.op.bias.astype(np.float64),
            ),
        )
        if isinstance(node.op, Weighted)
        else node
        for node in policy.nodes
    )
    return lambda obs: _row_outputs(nodes, _float64_input(policy, obs))


def _noise(policy: Policy, count: int) -> NDArray[Any]:
    """Return observations [count, *shape]: pixels of any value, or numbers about as large as the
    policy's own where it tells.
    """
    observation, rng = policy.contract.observation, np.random.default_rng(0)
    if observation.is_image:
        return rng.integers(0, 256, (count, *observation.shape), np.uint8)
    values = rng.normal(0, 1, (count, *observation.shape))
    normalizer = observation.normalizer
    if normalizer is not None:
        values = values * np.array(normalizer.std) + np.array(normalizer.mean)
    return values.astype(np.float32)


def _probes(policy: Policy) -> NDArray[Any]:
    """Return 16 observations: noise; of images 8 are patches of even colour, as a screen shows
    them.
    """
    if not policy.contract.observation.is_image:
        return _noise(policy, 16)
    shape = policy.contract.observation.shape
    noise, rng = _noise(policy, 8), np.random.default_rng(1)
    patches = rng.integers(0, 256, (8, *shape), np.uint8)
    for axis, length in enumerate(shape, start=1):
        patches = patches.take(np.arange(length) // 12 * 12, axis=axis)
    return np.concatenate([noise, patches])


def _shared(workers: Sequence[Outputs]) -> Outputs:
    """Return one function that cuts its rows into consecutive parts, one for each worker, each in a
    thread of its own.
    """
    if len(workers) == 1:
        return workers[0]
    pool = ThreadPoolExecutor(len(workers))

    def run(obs: NDArray[Any]) -> NDArray[Any]:
        count = min(len(workers), max(1, len(obs) // _SMALLEST_SHARE))
        if count == 1:
            return workers[0](obs)
        parts = np.array_split(obs, count)
        return np.concatenate(
            list(pool.map(lambda worker, part: worker(part), workers[:count], parts))
        )

    return run


def _float64_input(policy: Policy, obs: NDArray[Any]) -> NDArray[np.float64]:
    observation = policy.contract.observation
    values = observation.to_graph(obs)
    if observation.is_image:
        return values.astype(np.float64) / 255
    if observation.normalizer is not None:
        return observation.normalizer.apply(values)
    return values.astype(np.float64)


def _row_outputs(nodes: tuple[Node, ...], graph_input: NDArray[Any]) -> NDArray[Any]:
    """Return outputs [n, count], in the float type of `graph_input`, each row as a batch of one
    gives it.
    """
    last = nodes[-1].name
    outputs: NDArray[Any]
    if all(isinstance(node.op, Dense | Activation | Concat | Add | Mul) for node in nodes):
        # [n, 1, features] @ [features, out] is a stack of one-row products: 20 times faster than a
        # loop, the same bits
        outputs = run_graph(nodes, graph_input[:, None, :])[last][:, 0, :]
    else:
        outputs = np.concatenate(
            [run_graph(nodes, graph_input[row : row + 1])[last] for row in range(len(graph_input))]
        )
    return outputs
