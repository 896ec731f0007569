"""The student: a policy whose forward pass is the deployment arithmetic, and which can be trained.

In: a float policy, its calibration and the widths. Out: a torch module on integers held in float32;
what it exports is a copy of its numbers, not a conversion. Every sum stays below 2^24, so float32
holds it exactly in any order, whatever the layer (`project` keeps it so while steps are learned).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarl.errors import UnsupportedError
from quarl.finetune.fake_layers import Clamp, FakeLayer, FakeTable, Scale, look_up
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Columns,
    Concat,
    Flatten,
    MaxPool2D,
    Mul,
    Policy,
    Weighted,
)
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    MULTIPLIER_BOUND,
    PRODUCT_BOUND,
    QuantNode,
    QuantPolicy,
    QuantTensor,
    QuantWeighted,
)
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.quantize.calibration import Calibration
from quarl.quantize.folding import float64_results, fold
from quarl.quantize.ladder import LADDER, TRAINED_RUNG
from quarl.quantize.layer_fit import layer_of
from quarl.quantize.qparams import scale_groups
from quarl.quantize.quantizer import function_table, layer_bits, plan
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import Unit
from quarl.quantize.widths import Widths

LARGEST_SUM = 0.98 * EXACT_FLOAT_BOUND
LARGEST_PRODUCT = 0.98 * PRODUCT_BOUND
LARGEST_FACTOR = 0.98 * MULTIPLIER_BOUND
IMAGES = 128  # of a calibration that ranges are taken from


def settings_of(widths: Widths) -> QuantSettings:
    """Return what a student of these widths starts from: the highest rung's settings, narrowed.

    Hidden activations have 8 bits where nothing is said: training regains what wider ones would.
    """
    filled = replace(widths, activations=widths.activations or 8)
    return replace(LADDER[-1].settings.with_widths(filled), data_rounding=False)


class Student(nn.Module):
    """A policy with fake quantisation; `forward` gives what the export's integers give."""

    def __init__(
        self,
        policy: Policy,
        calibration: Calibration,
        settings: QuantSettings,
    ) -> None:
        super().__init__()
        product = next((node.name for node in policy.nodes if isinstance(node.op, Mul)), None)
        if product is not None:
            raise UnsupportedError(
                f"{product}: multiplies two results of the network, as recurrent cells do, and "
                "training such integers is not supported: use quarl export"
            )
        self.policy, self.settings, self.calibration = policy, settings, calibration
        folded = fold(policy, _few(policy, calibration), settings)
        self.observation, self.units = folded.observation, folded.units
        reals = float64_results(self.units, folded.real)
        tensors = plan(self.units, reals, self.observation.tensor, settings)
        bits = layer_bits(self.units, settings)
        last = self.units[-1]
        self.has_wide_head = settings.wide_head and isinstance(last.op, Weighted)
        if self.has_wide_head:
            tensors[last.name] = QuantTensor(np.float32(1), 0)  # neither step nor clamp
        self.tensors = tensors
        groups = scale_groups(self.units)
        self.group = {name: _key(min(members)) for name, members in groups.items()}
        self.scales, self.layers = nn.ModuleDict(), nn.ModuleDict()
        self._frozen: tuple[list[Tensor], dict[str, Any]] | None = None
        self._add_scale(INPUT, is_learned=False)
        for unit in self.units:
            is_fixed = isinstance(unit.op, Activation) and unit.op.function in ("tanh", "sigmoid")
            is_fixed |= self.has_wide_head and unit is last
            self._add_scale(unit.name, is_learned=not is_fixed or len(groups[unit.name]) > 1)
            if isinstance(unit.op, Weighted):
                spread = float(np.ptp(reals[unit.name])) / 4 or 1.0
                in_scale = tensors[unit.inputs[0]].scale
                self.layers[_key(unit.name)] = FakeLayer(unit.op, bits[unit.name], in_scale, spread)
            elif isinstance(unit.op, Activation):
                self.layers[_key(unit.name)] = FakeTable(unit.op.function)
        self._learned = list(self.parameters())  # listed once: acting asks for them at every step
        self.project()

    def train(self, mode: bool = True) -> Student:
        """Set the mode, on which nothing in here depends."""
        self.training = mode
        return self

    def _add_scale(self, name: str, *, is_learned: bool) -> None:
        key = self.group[name]
        if key not in self.scales:
            self.scales[key] = Scale(self.tensors[name].scale, is_learned=is_learned)

    def scale(self, name: str) -> Tensor:
        """Return the step of a tensor."""
        step: Tensor = self.scales[self.group[name]]()
        return step

    def tensor(self, name: str) -> QuantTensor:
        """Return a tensor with its step as it stands."""
        if name == INPUT:
            return self.observation.tensor
        module = self.scales[self.group[name]]
        assert isinstance(module, Scale)
        return module.of(self.tensors[name])

    def offsets(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the graph's integers minus their zero point, as small as they can be stored, for
        observations [n, *shape] in environment units.
        """
        rows = self.policy.contract.observation.to_graph(obs)
        if self.observation.is_pixels:
            return rows.astype(np.uint8, copy=False)  # q = p - 128, and the zero point is -128
        integers = self.observation.quantize(rows)
        return (integers - self.observation.tensor.zero_point).astype(np.float32)

    def forward(self, offsets: Tensor) -> Tensor:
        """Return the outputs [n, count] in real units for offsets [n, ...], as
        `real_outputs(integer_outputs(export))` gives them.
        """
        values = self.run({INPUT: offsets.float()}, self.units)
        return self.real(values, self.units[-1].name)

    def run(self, values: dict[str, Tensor], units: tuple[Unit, ...]) -> dict[str, Tensor]:
        """Return the offsets of every tensor after these units, from those before them."""
        values = dict(values)
        frozen = None if torch.is_grad_enabled() else self._constants()
        for unit in units:
            inputs = [values[name] for name in unit.inputs]
            values[unit.name] = self._run(unit, inputs, frozen)
        return values

    def real(self, values: dict[str, Tensor], name: str) -> Tensor:
        """Return a tensor in real units."""
        is_real = self.has_wide_head and name == self.units[-1].name
        return values[name] if is_real else values[name] * self.scale(name)

    def _constants(self) -> dict[str, Any]:
        """Return what a forward pass without gradients needs, made again when a parameter has
        changed: acting then costs a matrix product a layer.

        The values themselves are compared: what follows another network through `.data`, as target
        networks do, leaves PyTorch's count of changes as it was.
        """
        values = [parameter.detach() for parameter in self._learned]
        if self._frozen is None or not all(map(torch.equal, self._frozen[0], values)):
            made: dict[str, Any] = {}
            for unit in self.units:
                layer, source = self.layer(unit.name), unit.inputs[0]
                if isinstance(layer, FakeLayer):
                    made[unit.name] = layer.constants(self.scale(source), self.scale(unit.name))
                elif isinstance(layer, FakeTable):
                    made[unit.name] = layer.entries(self.tensor(source), self.tensor(unit.name))
            self._frozen = [value.clone() for value in values], made
        return self._frozen[1]

    def layer(self, name: str) -> nn.Module | None:
        """Return the module of a unit, None where it has none."""
        key = _key(name)
        if key not in self.layers:
            return None
        return self.layers[key]

    def _run(self, unit: Unit, inputs: list[Tensor], frozen: dict[str, Any] | None) -> Tensor:
        name, tensor = unit.name, self.tensors[unit.name]
        layer = self.layer(name)
        match unit.op:
            case Flatten():
                return inputs[0].flatten(1)
            case Columns(first=first, shape=shape):
                return inputs[0][:, first : first + math.prod(shape)].reshape(-1, *shape)
            case Concat():
                return torch.cat(inputs, dim=-1)
            case Add():
                return _clamped(inputs[0] + inputs[1], tensor)
            case MaxPool2D():
                return _clamped(_max_pool(unit.op, inputs[0]), tensor)
            case Activation():
                source = unit.inputs[0]
                if frozen is not None:
                    return look_up(frozen[name], inputs[0], self.tensors[source])
                scales = self.scale(source), self.scale(name)
                assert isinstance(layer, FakeTable)
                made: Tensor = layer(inputs[0], self.tensor(source), self.tensor(name), scales)
                return made
        assert isinstance(layer, FakeLayer)
        if frozen is not None:
            constants = frozen[name]
        else:
            constants = layer.constants(self.scale(unit.inputs[0]), self.scale(name))
        is_wide = self.has_wide_head and unit is self.units[-1]
        result: Tensor = layer(inputs[0], constants, None if is_wide else _clamp(tensor))
        return result

    @torch.no_grad()
    def project(self) -> None:
        """Bring steps back within the limits of decision 0001 that learning has moved them past."""
        for unit in self.units:
            if not isinstance(unit.op, Weighted):
                continue
            layer, source = self.layers[_key(unit.name)], self.scale(unit.inputs[0])
            assert isinstance(layer, FakeLayer)
            reach = self.tensors[unit.inputs[0]].largest_offset
            for _ in range(4):  # a coarser step can round its weights up
                bound = _bound(layer, source, reach)
                if float(bound.max()) < LARGEST_SUM:
                    break
                layer.log.add_((1.01 * bound / LARGEST_SUM).clamp_min(1).log())
            if self.has_wide_head and unit is self.units[-1]:
                continue
            _, _, step = layer.integers(source)
            factor = (source * step) / self.scale(unit.name)
            product = _bound(layer, source, reach) * factor
            excess = max(
                float(factor.max()) / LARGEST_FACTOR, float(product.max()) / LARGEST_PRODUCT, 1.0
            )
            scale = self.scales[self.group[unit.name]]
            assert isinstance(scale, Scale)
            scale.log.add_(float(np.log(excess)))

    def start_from(self, integers: QuantPolicy) -> None:
        """Start as integers that were fitted to the same units: from their weights and their steps,
        without which their rounding would be lost again.
        """
        for unit, node in zip(self.units, integers.nodes, strict=True):
            if node.output is not None:
                scale = self.scales[self.group[unit.name]]
                assert isinstance(scale, Scale)
                scale.start_from(node.output.scale)
            if isinstance(unit.op, Weighted):
                assert isinstance(node.op, QuantWeighted)
                layer = self.layers[_key(unit.name)]
                assert isinstance(layer, FakeLayer)
                layer.start_from(node.op, float(integers.tensor(node.inputs[0]).scale))
        self.project()

    @torch.no_grad()
    def export(self) -> QuantPolicy:
        """Return the integers as they stand.

        Raises:
            QuantizationError: a limit of the arithmetic is broken.
        """
        nodes = []
        for unit in self.units:
            output: QuantTensor | None = self.tensor(unit.name)
            op: Any = unit.op
            if isinstance(unit.op, Weighted):
                layer, source = self.layers[_key(unit.name)], self.scale(unit.inputs[0])
                assert isinstance(layer, FakeLayer)
                weights, bias, step = layer.integers(source)
                multiplier = ((source * step) / self.scale(unit.name)).numpy()
                op = layer_of(
                    unit.op,
                    weights.numpy().astype(np.int8),
                    bias.numpy().astype(np.int32),
                    multiplier,
                    step.numpy(),
                    layer.bits,
                )
                if self.has_wide_head and unit is self.units[-1]:
                    output = None
            elif isinstance(unit.op, Activation):
                assert output is not None
                op = function_table(unit.op.function, self.tensor(unit.inputs[0]), output)
            nodes.append(QuantNode(unit.name, op, unit.inputs, output))
        return QuantPolicy(
            self.observation,
            tuple(nodes),
            self.policy.contract,
            TRAINED_RUNG,
            self.policy.source_sha256,
        )

    @torch.no_grad()
    def outputs(self, obs: NDArray[Any], batch: int = 1024) -> NDArray[np.float32]:
        """Return the outputs [n, count] for observations in environment units."""
        size = 64 if self.observation.is_pixels else batch
        parts = [
            self(torch.from_numpy(self.offsets(obs[at : at + size]))).numpy()
            for at in range(0, len(obs), size)
        ]
        return np.concatenate(parts)

    def differing(self, obs: NDArray[Any]) -> int:
        """Return how many outputs of the export differ from the forward pass: 0, or something is
        wrong.
        """
        exported = self.export()
        wanted = real_outputs(exported, integer_outputs(exported, obs))
        return int((self.outputs(obs) != wanted).sum())


def _few(policy: Policy, calibration: Calibration) -> Calibration:
    if not policy.contract.observation.is_image:
        return calibration
    every = max(1, len(calibration.obs) // IMAGES)
    return Calibration(calibration.obs[::every], np.zeros(0, np.int32))


def _bound(layer: FakeLayer, in_scale: Tensor, largest_offset: int) -> Tensor:
    weights, bias, _ = layer.integers(in_scale)
    return bias.abs() + weights.abs().double().sum(dim=1) * largest_offset


def _clamp(tensor: QuantTensor) -> Clamp:
    return tensor.qmin - tensor.zero_point, tensor.qmax - tensor.zero_point


def _clamped(offsets: Tensor, tensor: QuantTensor) -> Tensor:
    return offsets.clamp(*_clamp(tensor))


def _max_pool(op: MaxPool2D, x: Tensor) -> Tensor:
    (top, bottom), (left, right) = op.padding
    image = nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=-np.inf)
    return nn.functional.max_pool2d(image, op.kernel, op.stride).permute(0, 2, 3, 1)


def _key(name: str) -> str:
    """Return what torch may call a unit: a dot would be a path, `values` a method of its own."""
    return "unit " + name.replace(".", "/")
