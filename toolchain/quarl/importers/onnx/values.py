"""What an ONNX graph's names stand for while it is walked: tensors that depend on the observation,
constants, and a node's attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto

from quarl.errors import UnsupportedError

# stands for the batch length in a shape that the graph computes; no sum or product of lengths hits
# it
BATCH = -(1 << 30)
NOTHING = np.zeros(0)
LOG_SUM = "log_sum"  # the layout of log(sum(exp(x))), one number per row, whose `node` is x


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor that depends on the observation.

    An image has the layout "nchw" or "nhwc", and `dims`, the source's lengths behind the batch. All
    else is "flat": for each place of the source's tensor, whose batch axis (number `batch`, -1 for
    none) counts as 1, `order` tells which place of the draft's vector it shows. So slices,
    transposes and reshapes of vectors only change `order`.
    """

    node: str
    layout: str
    dims: tuple[int, ...]
    order: NDArray[np.int64]
    batch: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The source's shape, `BATCH` at its batch axis."""
        if self.layout != "flat":
            return (BATCH, *self.dims)
        return tuple(
            BATCH if axis == self.batch else length for axis, length in enumerate(self.order.shape)
        )

    @property
    def is_row(self) -> bool:
        """Whether it is one plain vector per observation: [batch, features]."""
        return self.layout == "flat" and self.batch == 0 and self.order.ndim == 2


Known: TypeAlias = Value | NDArray[Any]  # an array is a constant, or a shape with `BATCH` in it


def vector(node: str, shape: Sequence[int], batch: int = 0) -> Value:
    """Return the draft's vector in its own order, as a tensor of that shape (its batch axis 1)."""
    order = np.arange(int(np.prod(shape))).reshape(shape)
    return Value(node, "flat", (), order, batch)


class WrongLayoutError(UnsupportedError):
    """The input is in the other order of axes than was assumed."""


def is_given(value: Known) -> bool:
    """Whether an optional input is there."""
    return isinstance(value, Value) or value.size > 0


def name_of(node: NodeProto) -> str:
    """Return what messages call a node."""
    return (node.name or (node.output[0] if node.output else "") or node.op_type).strip("/")


def attribute_of(node: NodeProto, name: str, default: Any) -> Any:
    """Return a node's attribute, texts decoded, or the default."""
    found: AttributeProto | None = next(
        (attribute for attribute in node.attribute if attribute.name == name), None
    )
    value = default if found is None else onnx.helper.get_attribute_value(found)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def axes_of(node: NodeProto, inputs: Sequence[Known], rank: int) -> list[int] | None:
    """Return the axes, an attribute in older opsets and an input in newer ones, as non-negative
    numbers; None where not given.
    """
    given = (
        inputs[1]
        if len(inputs) > 1 and not isinstance(inputs[1], Value) and inputs[1].size
        else attribute_of(node, "axes", None)
    )
    return None if given is None else sorted(int(axis) % rank for axis in np.ravel(given))
