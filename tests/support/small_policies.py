"""Small float policies with random weights, for the tests of the graph and of the quantiser."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Action, Contract, Normalizer, Observation
from quarl.graph.picture import Picture
from quarl.graph.policy import (
    INPUT,
    Activation,
    Columns,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Function,
    Node,
    Op,
    Padding,
    Policy,
    linear_chain,
)


def dense(rng: np.random.Generator, outputs: int, inputs: int, gain: float = 1.0) -> Dense:
    """Return a dense layer whose outputs have about the variance of its inputs."""
    weights = rng.normal(0, gain * np.sqrt(2 / inputs), (outputs, inputs))
    return Dense(weights.astype(np.float32), rng.normal(0, 0.1, outputs).astype(np.float32))


def conv(
    rng: np.random.Generator,
    outputs: int,
    kernel: tuple[int, int],
    inputs: int,
    stride: tuple[int, int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
) -> Conv2D:
    """Return a convolution."""
    weights = rng.normal(
        0, np.sqrt(2 / (inputs * kernel[0] * kernel[1])), (outputs, *kernel, inputs)
    )
    return Conv2D(
        weights.astype(np.float32), rng.normal(0, 0.1, outputs).astype(np.float32), stride, padding
    )


def depthwise(
    rng: np.random.Generator,
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
) -> DepthwiseConv2D:
    """Return a depthwise convolution."""
    weights = rng.normal(0, np.sqrt(2 / (kernel[0] * kernel[1])), (channels, *kernel))
    return DepthwiseConv2D(
        weights.astype(np.float32), rng.normal(0, 0.1, channels).astype(np.float32), stride, padding
    )


def policy(nodes: tuple[Node, ...], observation: Observation, action: Action) -> Policy:
    """Return the nodes as a policy of no particular origin."""
    return Policy(nodes, Contract(observation, action), "test", "test", "0" * 64)


def mlp(
    rng: np.random.Generator,
    sizes: tuple[int, ...],
    function: Function = "relu",
    *,
    squash: bool = False,
    normalizer: Normalizer | None = None,
) -> Policy:
    """Return a multi-layer policy: discrete, or with `squash` a box behind tanh."""
    layers: list[tuple[str, Op]] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append((f"dense{index}", dense(rng, outputs, inputs)))
        if index < len(sizes) - 2:
            layers.append((f"{function}{index}", Activation(function)))
    if squash:
        layers.append(("squash", Activation("tanh")))
    count = sizes[-1]
    action = (
        Action("box", count, (-2.0,) * count, (2.0,) * count, "unscale")
        if squash
        else Action("discrete", count)
    )
    return policy(
        linear_chain(layers), Observation((sizes[0],), "float32", "vector", (), normalizer), action
    )


def cnn(rng: np.random.Generator) -> Policy:
    """Return a small image policy: strided convolution, depthwise with uneven padding, dense
    head.
    """
    layers: list[tuple[str, Op]] = [
        ("conv", conv(rng, 6, (4, 3), 2, (2, 1), ((1, 2), (0, 1)))),
        ("relu", Activation("relu")),
        ("depthwise", depthwise(rng, 6, (3, 3), (2, 2), ((1, 0), (1, 1)))),
        ("relu6", Activation("relu6")),
        ("flatten", Flatten()),
        ("head", dense(rng, 4, 90)),
    ]
    return policy(
        linear_chain(layers), Observation((2, 11, 11), "uint8", "chw"), Action("discrete", 4)
    )


def look(rng: np.random.Generator) -> Policy:
    """Return a policy of three values, a picture of 9x8x3 behind them and two more values."""
    nodes = (
        Node("speed", Columns(0, (3,)), (INPUT,)),
        Node("eye", Columns(3, (9, 8, 3)), (INPUT,)),
        Node("conv", conv(rng, 6, (3, 3), 3, (2, 2), ((1, 1), (1, 1))), ("eye",)),
        Node("relu", Activation("relu"), ("conv",)),
        Node("flatten", Flatten(), ("relu",)),
        Node("features", dense(rng, 8, 120, 0.01), ("flatten",)),
        Node("goal", Columns(219, (2,)), (INPUT,)),
        Node("joined", Concat(), ("speed", "features", "goal")),
        Node("hidden", dense(rng, 16, 13), ("joined",)),
        Node("tanh", Activation("tanh"), ("hidden",)),
        Node("head", dense(rng, 4, 16), ("tanh",)),
    )
    seen = Observation((221,), "float32", "vector", pictures=(Picture(3, 9, 8, 3),))
    return policy(nodes, seen, Action("discrete", 4))


def looks(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return observations of `look`."""
    rows = observations(rng, count, 221)
    rows[:, 3:219] = rng.integers(0, 256, (count, 216))
    return rows


def observations(rng: np.random.Generator, count: int, features: int) -> NDArray[np.float32]:
    """Return raw observations whose features differ in scale and offset by orders of magnitude."""
    scale = np.exp2(rng.uniform(-6, 6, features))
    return (
        rng.normal(0, 1, (count, features)) * scale + rng.normal(0, 3, features) * scale
    ).astype(np.float32)


def pixels(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return random images."""
    return rng.integers(0, 256, (count, *shape)).astype(np.uint8)


def two_branches(
    rng: np.random.Generator, join: Op, left: Function | None, right: Function | None
) -> Policy:
    """Return a vector policy with two hidden branches of six units joined by `join`, each behind
    its function or none.
    """
    nodes = [
        Node("left", dense(rng, 6, 5), (INPUT,)),
        Node("right", dense(rng, 6, 5, 3.0), (INPUT,)),
    ]
    ends = []
    for name, function in (("left", left), ("right", right)):
        # the function directly after its layer, so that it can be joined to it
        at = next(i for i, node in enumerate(nodes) if node.name == name) + 1
        if function is None:
            ends.append(name)
        else:
            nodes.insert(at, Node(f"{name}_{function}", Activation(function), (name,)))
            ends.append(f"{name}_{function}")
    nodes.append(Node("join", join, tuple(ends)))
    width = 12 if type(join).__name__ == "Concat" else 6
    nodes.append(Node("head", dense(rng, 3, width), ("join",)))
    return policy(tuple(nodes), Observation((5,), "float32", "vector"), Action("discrete", 3))
