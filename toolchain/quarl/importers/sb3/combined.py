"""CombinedExtractor: the layers with which a MultiInputPolicy looks at pictures beside vectors.

Each picture goes through a Nature CNN of its own; the results and the vectors are joined in the
order of the spaces (stable_baselines3.common.torch_layers.CombinedExtractor).
"""

from __future__ import annotations

from quarl.errors import UnsupportedError
from quarl.graph.ops import INPUT, Columns, Concat, Node
from quarl.graph.policy import linear_chain
from quarl.importers.sb3.spaces import Part
from quarl.importers.torch.layers import Layers, TorchState, nature_cnn, scaled_input

EXTRACTORS = ("pi_features_extractor", "features_extractor")  # of an agent, the first that it has
OWNERS = ("", "q_net.", "quantile_net.", "actor.")
JOINED = "features"


def with_pictures(
    state: TorchState, parts: tuple[Part, ...], layers: Layers, *, divides: bool
) -> tuple[Node, ...]:
    """Return the nodes of a network whose `layers` follow the extractor.

    Args:
        divides: whether the network is given pixels / 255, as is usual.
    Raises:
        UnsupportedError: no such extractor among the tensors.
    """
    names = [f"{owner}{name}.extractors" for owner in OWNERS for name in EXTRACTORS]
    home = next((name for name in names if state.has(name)), None)
    if home is None:
        raise UnsupportedError(
            f"{state.file}: a picture beside vectors without the tensors of a CombinedExtractor: "
            "export the policy to ONNX"
        )
    nodes: list[Node] = []
    joined: list[str] = []
    first, waiting = 0, 0  # the vectors since the last picture
    for part in parts:
        if not part.picture:
            waiting += part.count
            continue
        if waiting:
            joined.append(_columns(nodes, f"vector{len(joined)}", first, (waiting,)))
            first, waiting = first + waiting, 0
        module = f"{home}.{part.key}"
        cnn = nature_cnn(state, f"{module}.cnn", f"{module}.linear.0", part.picture)
        name, convolution = cnn[0]
        if divides:
            cnn[0] = name, scaled_input(convolution, 1 / 255)
        channels, height, width = part.picture
        picture = _columns(nodes, module, first, (height, width, channels))
        chain = linear_chain(cnn)
        nodes += [Node(chain[0].name, chain[0].op, (picture,)), *chain[1:]]
        joined.append(chain[-1].name)
        first += part.count
    if waiting:
        joined.append(_columns(nodes, f"vector{len(joined)}", first, (waiting,)))
    last = joined[0]
    if len(joined) > 1:
        nodes.append(Node(JOINED, Concat(), tuple(joined)))
        last = JOINED
    rest = linear_chain(layers)
    return (*nodes, Node(rest[0].name, rest[0].op, (last,)), *rest[1:])


def _columns(nodes: list[Node], name: str, first: int, shape: tuple[int, ...]) -> str:
    nodes.append(Node(name, Columns(first, shape), (INPUT,)))
    return name
