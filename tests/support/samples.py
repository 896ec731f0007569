"""Small policies of every shape the runtime knows, quantised on observations they meet."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Action, Contract, Normalizer, Observation
from quarl.graph.policy import (
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Node,
    Op,
    Policy,
    linear_chain,
)
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import rung_numbered
from quarl.quantize.quantizer import quantize
from quarl.quantize.widths import widths_named


def dense(rng: np.random.Generator, inputs: int, outputs: int) -> Dense:
    weights = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
    return Dense(weights, rng.normal(0, 0.1, outputs).astype(np.float32))


def conv(
    rng: np.random.Generator, shape: tuple[int, int, int, int], stride: int, pad: int = 0
) -> Conv2D:
    weights = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
    return Conv2D(
        weights,
        rng.normal(0, 0.1, shape[0]).astype(np.float32),
        (stride, stride),
        ((pad, pad), (pad, pad)),
    )


def depthwise(
    rng: np.random.Generator, channels: int, size: int, stride: int, pad: int
) -> DepthwiseConv2D:
    weights = rng.normal(0, 1 / size, (channels, size, size)).astype(np.float32)
    bias = rng.normal(0, 0.1, channels).astype(np.float32)
    return DepthwiseConv2D(weights, bias, (stride, stride), ((pad, pad), (pad, pad)))


def mlp(rng: np.random.Generator, widths: tuple[int, ...], function: str) -> list[tuple[str, Op]]:
    layers: list[tuple[str, Op]] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append((f"dense{index}", dense(rng, inputs, outputs)))
        if index < len(widths) - 2:
            layers.append((f"{function}{index}", Activation(function)))
    return layers


def vector(count: int, normalizer: Normalizer | None = None) -> Observation:
    return Observation((count,), "float32", "vector", normalizer=normalizer)


def discrete(count: int) -> Action:
    return Action("discrete", count)


def box(count: int, transform: str = "clip") -> Action:
    low, high = (
        tuple(-0.7 - 0.1 * i for i in range(count)),
        tuple(0.5 + 0.3 * i for i in range(count)),
    )
    return Action("box", count, low, high, transform)  # type: ignore[arg-type]


def argmax_mlp(rng: np.random.Generator) -> Policy:
    return Policy(
        linear_chain(mlp(rng, (17, 33, 30, 5), "relu")),
        Contract(vector(17), discrete(5), 10.0),
        "none",
        "none",
        "0" * 64,
    )


def tanh_mlp(rng: np.random.Generator) -> Policy:
    mean, var = rng.normal(0, 3, 24), rng.uniform(0.1, 9, 24)
    normalizer = Normalizer(tuple(map(float, mean)), tuple(map(float, var)), 1e-8, 10.0)
    return Policy(
        linear_chain(mlp(rng, (24, 16, 40, 3), "tanh")),
        Contract(vector(24, normalizer), box(3)),
        "none",
        "none",
        "1" * 64,
    )


def squashed(rng: np.random.Generator) -> Policy:
    layers = [*mlp(rng, (8, 32, 2), "relu"), ("squash", Activation("tanh"))]
    return Policy(
        linear_chain(layers), Contract(vector(8), box(2, "unscale")), "none", "none", "2" * 64
    )


def branches(rng: np.random.Generator) -> Policy:
    """Two branches over the observation, joined, and a residual connection."""
    nodes = (
        Node("left", dense(rng, 12, 10), ("observation",)),
        Node("left_relu", Activation("relu6"), ("left",)),
        Node("right", dense(rng, 12, 7), ("observation",)),
        Node("right_elu", Activation("elu"), ("right",)),
        Node("joined", Concat(), ("left_relu", "right_elu")),
        Node("inner", dense(rng, 17, 17), ("joined",)),
        Node("inner_sigmoid", Activation("sigmoid"), ("inner",)),
        Node("outer", dense(rng, 17, 17), ("inner_sigmoid",)),
        Node("residual", Add(), ("outer", "joined")),
        Node("head", dense(rng, 17, 1), ("residual",)),
    )
    return Policy(nodes, Contract(vector(12), box(1)), "none", "none", "3" * 64)


def image(shape: tuple[int, int, int], layout: str) -> Observation:
    return Observation(shape, "uint8", layout)  # type: ignore[arg-type]


def small_images(rng: np.random.Generator) -> Policy:
    """Odd sizes, padding on every side, a depthwise layer, three channels."""
    layers: list[tuple[str, Op]] = [
        ("conv0", conv(rng, (6, 3, 3, 3), 2, 1)),
        ("relu0", Activation("relu")),
        ("depthwise", depthwise(rng, 6, 3, 1, 1)),
        ("relu1", Activation("relu")),
        ("conv1", conv(rng, (5, 2, 2, 6), 1)),
        ("tanh", Activation("tanh")),
        ("flatten", Flatten()),
        ("head", dense(rng, 5 * 4 * 6, 4)),
    ]
    return Policy(
        linear_chain(layers),
        Contract(image((9, 13, 3), "hwc"), discrete(4)),
        "none",
        "none",
        "4" * 64,
    )


def stacked_frames(rng: np.random.Generator) -> Policy:
    """The Nature network on frames of a third of the size, channels first."""
    layers: list[tuple[str, Op]] = [
        ("conv0", conv(rng, (8, 8, 8, 4), 4)),
        ("relu0", Activation("relu")),
        ("conv1", conv(rng, (12, 3, 3, 8), 2)),
        ("relu1", Activation("relu")),
        ("flatten", Flatten()),
        ("dense0", dense(rng, 4 * 12, 40)),
        ("relu2", Activation("relu")),
        ("head", dense(rng, 40, 6)),
    ]
    return Policy(
        linear_chain(layers),
        Contract(image((4, 28, 28), "chw"), discrete(6)),
        "none",
        "none",
        "5" * 64,
    )


def nature(rng: np.random.Generator) -> Policy:
    layers: list[tuple[str, Op]] = [
        ("conv0", conv(rng, (32, 8, 8, 4), 4)),
        ("relu0", Activation("relu")),
        ("conv1", conv(rng, (64, 4, 4, 32), 2)),
        ("relu1", Activation("relu")),
        ("conv2", conv(rng, (64, 3, 3, 64), 1)),
        ("relu2", Activation("relu")),
        ("flatten", Flatten()),
        ("dense0", dense(rng, 3136, 512)),
        ("relu3", Activation("relu")),
        ("head", dense(rng, 512, 6)),
    ]
    return Policy(
        linear_chain(layers),
        Contract(image((84, 84, 4), "hwc"), discrete(6), 15.0),
        "none",
        "none",
        "6" * 64,
    )


SAMPLES: dict[str, Callable[[np.random.Generator], Policy]] = {
    "argmax_mlp": argmax_mlp,
    "tanh_mlp": tanh_mlp,
    "squashed": squashed,
    "branches": branches,
    "small_images": small_images,
    "stacked_frames": stacked_frames,
}


def observations(policy: Policy, rng: np.random.Generator, count: int) -> NDArray[Any]:
    """Return observations; vectors reach far beyond what the calibration saw now and then."""
    shape = (count, *policy.contract.observation.shape)
    if policy.contract.observation.is_image:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    normalizer = policy.contract.observation.normalizer
    values = rng.normal(0, 1, shape)
    if normalizer is not None:
        values = values * normalizer.std + np.array(normalizer.mean)
    return values.astype(np.float32)


def peer(widths: tuple[int, ...]) -> Callable[[np.random.Generator], Policy]:
    """Return a maker of a ReLU network of these widths."""

    def make(rng: np.random.Generator) -> Policy:
        contract = Contract(vector(widths[0]), discrete(widths[-1]))
        return Policy(linear_chain(mlp(rng, widths, "relu")), contract, "none", "none", "7" * 64)

    return make


# the shapes that published int8 runtimes have been measured on, with random weights
PEERS: dict[str, Callable[[np.random.Generator], Policy]] = {
    "mlp": peer((32, 64, 64, 4)),
    "mlp256": peer((17, 256, 256, 6)),
    "mlp_8_64_64_4": peer((8, 64, 64, 4)),
    "mlp_24_256_256_4": peer((24, 256, 256, 4)),
    "nature": nature,
}


def sample(
    name: str, rung: int, seed: int = 0, weights: str = "int8"
) -> tuple[Policy, QuantPolicy]:
    """Return a sample policy and its integers, made as the ladder's rung says."""
    rng = np.random.default_rng(seed)
    policy = (SAMPLES | PEERS)[name](rng)
    count = 32 if policy.contract.observation.is_image else 256
    calibration = Calibration(observations(policy, rng, count), np.zeros(0, np.int32))
    return policy, quantize(
        policy,
        calibration,
        rung_numbered(rung).settings.with_widths(widths_named(weights)),
        rung,
    )
