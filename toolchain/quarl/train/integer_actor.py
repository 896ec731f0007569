"""An actor in integers, whichever framework trains around it: the student with its own quantiser of
observations in front.

In: a float policy, observations that its training has met, and widths. Out: a torch module from raw
observations to outputs in real units, and the real weights behind its integers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarl.finetune.fake_layers import FakeLayer
from quarl.finetune.student import Student, settings_of
from quarl.graph.policy import INPUT, Dense, Policy
from quarl.graph.quant_policy import ObservationQuantizer
from quarl.quantize.calibration import calibrate
from quarl.quantize.observation import observation_quantizer
from quarl.quantize.transforms import Unit
from quarl.sources.recipe import QatRecipe

REMEMBERED = 20_000  # observations of the delay's last steps, which ranges are taken from
PROJECT_EVERY = 50  # rollouts or updates between two checks of the limits of the arithmetic

Weights = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Weights [out, in] and biases by the name of the layer."""


def student_of(policy: Policy, obs: NDArray[Any], qat: QatRecipe, *, gives_values: bool) -> Student:
    """Return a student with the policy's weights.

    Args:
        obs: raw observations [n, features] that ranges are taken from.
        gives_values: whether outputs are action values, not logits.
    """
    settings = replace(settings_of(qat.widths), center_head=not gives_values)
    student = Student(policy, calibrate(obs, policy.contract), settings)
    if qat.method == "fixed":
        for name, parameter in student.named_parameters():
            parameter.requires_grad_(not name.endswith("log"))
    return student


class Quantizer(nn.Module):
    """Raw observations to the graph's integers minus their zero point, as
    `ObservationQuantizer.quantize` makes them.
    """

    def __init__(self, observation: ObservationQuantizer) -> None:
        super().__init__()
        tensor = observation.tensor
        self.register_buffer("factor", torch.from_numpy(observation.inv_scale.copy()))
        zero = observation.zero_point.astype(np.float32)
        self.register_buffer("low", torch.from_numpy(np.float32(tensor.qmin) - zero))
        self.register_buffer("high", torch.from_numpy(np.float32(tensor.qmax) - zero))
        self.register_buffer("shift", torch.from_numpy(zero - np.float32(tensor.zero_point)))

    factor: Tensor
    low: Tensor
    high: Tensor
    shift: Tensor

    def forward(self, obs: Tensor) -> Tensor:
        """Return offsets float32 [n, features]; no gradient reaches the observation."""
        product = (obs.float() * self.factor).round().nan_to_num(0.0, posinf=2**24, neginf=-(2**24))
        return torch.minimum(torch.maximum(product, self.low), self.high) + self.shift


class Whole(nn.Module):
    """The whole student, from raw observations to its outputs in real units."""

    def __init__(self, quantizer: Quantizer, student: Student) -> None:
        super().__init__()
        self.quantizer, self.student = quantizer, student

    def forward(self, obs: Tensor) -> Tensor:
        """Return outputs [n, count]."""
        outputs: Tensor = self.student(self.quantizer(obs))
        return outputs


def real_weights(student: Student) -> Weights:
    """Return the weights and biases of the model's own layers, the observation's scales and
    normaliser taken out of the first one.
    """
    policy = student.policy
    count = policy.contract.observation.shape[0]
    probe = Unit("probe", Dense(np.eye(count), np.zeros(count)), (INPUT,))
    bits = (student.observation.tensor.qmax - student.observation.tensor.qmin).bit_length()
    _, folded = observation_quantizer(
        policy, (probe,), student.calibration, bits, feature_scales=student.settings.feature_scales
    )
    probed = folded[0].op
    assert isinstance(probed, Dense)
    step, offset = np.diag(probed.weights), probed.bias
    clip = {node.name.removesuffix(".unclip") for node in policy.nodes if "unclip" in node.name}
    result = {}
    for unit in student.units:
        layer = student.layer(unit.name)
        if not isinstance(layer, FakeLayer) or unit.name.endswith(".unclip"):
            continue
        weights, bias = (values.astype(np.float64) for values in layer.real())
        if INPUT in unit.inputs:
            weights = weights / step
            bias = bias - weights @ offset
        if unit.name in clip:  # relu6((x + c) * 3 / c) * c / 3 - c stands for a clip at c
            gain = 1 / float(np.diag(_node(policy, f"{unit.name}.unclip").weights)[0])
            weights, bias = weights / gain, (bias - 3.0) / gain
        result[unit.name] = weights, bias
    return result


def _node(policy: Policy, name: str) -> Dense:
    op = next(node.op for node in policy.nodes if node.name == name)
    assert isinstance(op, Dense)
    return op


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that learn."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
