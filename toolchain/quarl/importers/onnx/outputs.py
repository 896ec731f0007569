"""The outputs of an ONNX graph: what leads to each of them alone, and the draft that ends in some.

An output that is drawn at random, that is a constant, or that is computed from another input than
the observation is shown not to be a policy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from quarl.errors import QuarlError
from quarl.graph.contract import Observation
from quarl.importers.draft import Draft
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.onnx.inputs import InputPlan, check_nothing_returns, plan_inputs, values_read
from quarl.importers.onnx.operators import OPERATORS
from quarl.importers.onnx.states import is_next_state
from quarl.importers.onnx.values import WrongLayoutError
from quarl.importers.onnx.walk import Walk
from quarl.importers.outputs import NotAPolicyError, Output
from quarl.rollouts.flat_space import has_channels_first

RANDOM = {
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Multinomial", "Bernoulli"),
}


class OnnxOutputs:
    """The outputs of one graph, as `choose_output` asks for them."""

    def __init__(self, source: OnnxFile, observation: Observation | None) -> None:
        self.source, self.observation = source, observation
        self.names = [output.name for output in source.graph.output]
        self.reads = {name: values_read(source.graph, [name]) for name in self.names}
        inputs = {i.name for i in source.graph.input} - set(source.initializers)
        self.inputs = {name: inputs & self.reads[name] for name in self.names}

    @property
    def listed(self) -> tuple[Output, ...]:
        """All outputs, in the file's order."""
        listed = []
        for output in self.source.graph.output:
            others = [self.reads[name] for name in self.names if name != output.name]
            own = self.reads[output.name].difference(*others) & set(self.source.initializers)
            dims = output.type.tensor_type.shape.dim
            count = dims[-1].dim_value if len(dims) > 1 else 0
            listed.append(Output(output.name, (output.name, *sorted(own)), count or None))
        return tuple(listed)

    def read(self, names: Sequence[str]) -> Draft:
        """Return the draft that ends in these outputs, joined where they are several."""
        for name in names:
            self._check_is_policy(name)
        plan = plan_inputs(self.source, names, self.observation)
        check_nothing_returns(self.source, names, plan)
        return _draft(self.source, plan, names)

    def _check_is_policy(self, name: str) -> None:
        read = self.reads[name]
        drawn = [
            node.op_type
            for node in self.source.graph.node
            if node.op_type in RANDOM and read.intersection(node.output)
        ]
        if drawn:
            raise NotAPolicyError("drawn at random")
        if not self.inputs[name]:
            raise NotAPolicyError("a constant")
        if name in self.inputs[name]:
            raise NotAPolicyError("an input passed on")
        if len(self.names) > 1 and is_next_state(self.source, name):
            raise NotAPolicyError("the next state of a recurrent cell")
        others = [other for other in self.names if other != name]
        if not self._fits(name) and any(self._fits(other) for other in others):
            found = ", ".join(sorted(self.inputs[name]))
            raise NotAPolicyError(f"computed from {found} alone")

    def _fits(self, name: str) -> bool:
        """Whether what the output depends on is as long as the stated observation."""
        if self.observation is None:
            return False
        try:
            plan = plan_inputs(self.source, [name], self.observation)
        except QuarlError:
            return False
        return plan.length == math.prod(self.observation.shape)


def _draft(source: OnnxFile, plan: InputPlan, names: Sequence[str]) -> Draft:
    """Return the draft that ends in `names`; the order of the input's axes is the one in which the
    graph makes sense.
    """
    orders = ["nchw", "nhwc"]  # where the graph makes sense of both, the shortest axis decides
    if plan.pictures and not has_channels_first(plan.pictures[0]):
        orders.reverse()
    try:
        return Walk(source, orders[0], plan, OPERATORS).draft(names)
    except QuarlError as error:
        if not plan.pictures or isinstance(error, NotAPolicyError):
            raise
        try:
            return Walk(source, orders[1], plan, OPERATORS).draft(names)
        except QuarlError:
            if isinstance(error, WrongLayoutError):
                raise
            raise error from None
