"""torch's own operators (aten), written as ONNX: what TorchScript and `torch.export` files are made
of.

In: an operator's name and its arguments, tensors among them by name. Out: nodes of a `MadeGraph`.
Each operator stands in `SIGNATURES` with its arguments in torch's order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quarl.errors import UnsupportedError
from quarl.importers.onnx.made import MadeGraph

MOST_NODES = 5_000


@dataclass(frozen=True, slots=True)
class TensorName:
    """A tensor of the graph. `rows` is whether it is an input, or made of one number by number."""

    name: str
    is_input: bool = False


@dataclass(frozen=True, slots=True)
class Length:
    """A length of a tensor that only a run knows: that of the batch, where `axis` is 0."""

    axis: int


class AtenGraph:
    """The graph that grows operator by operator, and the lengths of its inputs as layers show
    them.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.made = path, MadeGraph()
        self.lengths: dict[str, int] = {}  # of inputs, by what reads them
        self._origins: dict[
            str, str
        ] = {}  # a tensor made of an input number by number -> the input
        self._count = 0

    def input(self, name: str) -> TensorName:
        """Return an input, whose length is not known yet."""
        self._origins[name] = name
        return TensorName(name)

    def call(self, kind: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what an operator gives, by its arguments as torch orders and names them.

        Raises:
            UnsupportedError: another operator, or arguments that are not carried over.
        """
        plain = kind.rstrip("_") if kind.rstrip("_") in SIGNATURES else kind
        self._count += 1
        if plain not in SIGNATURES or self._count > MOST_NODES:
            raise self.refused(plain, "is not among the operators that can be carried over")
        names, function = SIGNATURES[plain]
        if len(args) > len(names) or not set(kwargs) <= set(names):
            raise self.refused(plain, f"has arguments besides {', '.join(names)}")
        bound = dict(zip(names, args, strict=False)) | dict(kwargs)
        self._current = plain
        return function(self, *(bound.get(name) for name in names))

    def refused(self, kind: str, reason: str) -> UnsupportedError:
        """Return the error that names the operator, and the way round."""
        return UnsupportedError(f"{self.path.name}: torch's {kind} {reason}. {ONNX_ROUTE}")

    def name(self, value: Any) -> str:
        """Return the name of a tensor; numbers become constants."""
        if isinstance(value, TensorName):
            return value.name
        if isinstance(value, np.ndarray | float | int | bool):
            array = np.asarray(value)
            return self.made.constant(
                array.astype(np.float32) if array.dtype.kind != "f" else array
            )
        raise self.refused(self._current, f"is given {type(value).__name__} where a tensor belongs")

    def numbers(self, values: Any) -> list[int]:
        """Return whole numbers that are written in the file."""
        found = values if isinstance(values, list | tuple) else [values]
        if not all(type(value) is int for value in found):
            raise self.refused(self._current, "takes lengths that only a run knows")
        return list(found)

    def add(self, kind: str, inputs: Sequence[Any], **attributes: Any) -> TensorName:
        """Append one ONNX operator."""
        names = [self.name(value) for value in inputs]
        return TensorName(self.made.node(kind, names, "", **attributes))

    def elementwise(self, kind: str, inputs: Sequence[Any], **attributes: Any) -> TensorName:
        """Append an operator that computes each number by itself, and remember what it is made
        of.
        """
        result = self.add(kind, inputs, **attributes)
        origins = {self._origins.get(v.name) for v in inputs if isinstance(v, TensorName)}
        if len(origins) == 1 and (origin := origins.pop()) is not None:
            self._origins[result.name] = origin
            for value in inputs:
                if isinstance(value, np.ndarray) and value.size > 1:
                    self.lengths.setdefault(origin, value.shape[-1])
        return result

    def read_by(self, value: Any, length: int) -> None:
        """Note that a layer takes `length` values of a tensor."""
        origin = self._origins.get(value.name) if isinstance(value, TensorName) else None
        if origin is not None:
            self.lengths.setdefault(origin, length)


ONNX_ROUTE = (
    "Export it to ONNX where torch is: torch.onnx.export(torch.jit.load('policy.pt'), "
    "torch.zeros(1, N), 'policy.onnx', dynamo=False), or the module itself"
)
Function = Callable[..., Any]


def _same(graph: AtenGraph, x: Any, *_: Any) -> Any:
    return x


def _unary(kind: str) -> Function:
    return lambda graph, x, *rest: graph.elementwise(kind, [x])


def _linear(graph: AtenGraph, x: Any, weight: Any, bias: Any) -> TensorName:
    if isinstance(weight, np.ndarray):
        graph.read_by(x, weight.shape[-1])
        weight = weight.T
    else:
        weight = graph.add("Transpose", [weight])
    product = graph.add("MatMul", [x, weight])
    return product if bias is None else graph.add("Add", [product, bias])


def _matmul(graph: AtenGraph, left: Any, right: Any) -> TensorName:
    if isinstance(right, np.ndarray) and right.ndim > 1:
        graph.read_by(left, right.shape[0])
    return graph.add("MatMul", [left, right])


def _addmm(graph: AtenGraph, bias: Any, left: Any, right: Any, beta: Any, alpha: Any) -> TensorName:
    if (beta, alpha) not in ((None, None), (1, 1)):
        raise graph.refused("addmm", f"has beta {beta} and alpha {alpha}")
    return graph.add("Add", [_matmul(graph, left, right), bias])


def _add(graph: AtenGraph, left: Any, right: Any, alpha: Any) -> TensorName:
    right = right if alpha in (None, 1) else graph.elementwise("Mul", [right, float(alpha)])
    return graph.elementwise("Add", [left, right])


def _sub(graph: AtenGraph, left: Any, right: Any, alpha: Any) -> TensorName:
    right = right if alpha in (None, 1) else graph.elementwise("Mul", [right, float(alpha)])
    return graph.elementwise("Sub", [left, right])


def _rsub(graph: AtenGraph, left: Any, right: Any, alpha: Any) -> TensorName:
    return _sub(graph, right, left, alpha)


def _binary(kind: str) -> Function:
    return lambda graph, left, right, *rest: graph.elementwise(kind, [left, right])


def _silu(graph: AtenGraph, x: Any, *_: Any) -> TensorName:
    return graph.elementwise("Mul", [x, graph.elementwise("Sigmoid", [x])])


def _gelu(graph: AtenGraph, x: Any, approximate: Any) -> TensorName:
    return graph.elementwise("Gelu", [x], approximate=approximate or "none")


def _elu(graph: AtenGraph, x: Any, alpha: Any, scale: Any, input_scale: Any) -> TensorName:
    if (scale, input_scale) not in ((None, None), (1, 1)):
        raise graph.refused("elu", f"has scale {scale} and input_scale {input_scale}")
    return graph.elementwise("Elu", [x], alpha=1.0 if alpha is None else float(alpha))


def _alpha(kind: str, default: float) -> Function:
    return lambda graph, x, alpha, *_: graph.elementwise(
        kind, [x], alpha=default if alpha is None else float(alpha)
    )


def _clamp(graph: AtenGraph, x: Any, low: Any, high: Any) -> TensorName:
    if low is not None:
        x = graph.elementwise("Max", [x, low])
    return x if high is None else graph.elementwise("Min", [x, high])


def _hardtanh(graph: AtenGraph, x: Any, low: Any, high: Any, *_: Any) -> TensorName:
    return _clamp(graph, x, -1.0 if low is None else low, 1.0 if high is None else high)


def _clamp_max(graph: AtenGraph, x: Any, high: Any) -> TensorName:
    return _clamp(graph, x, None, high)


def _softplus(graph: AtenGraph, x: Any, beta: Any, threshold: Any) -> TensorName:
    beta = 1.0 if beta is None else float(beta)
    scaled = x if beta == 1 else graph.elementwise("Mul", [x, beta])
    made = graph.elementwise("Softplus", [scaled])
    return made if beta == 1 else graph.elementwise("Div", [made, beta])


def _log_sigmoid(graph: AtenGraph, x: Any, *_: Any) -> TensorName:
    negative = graph.elementwise("Neg", [x])
    return graph.elementwise("Neg", [graph.elementwise("Softplus", [negative])])


def _rsqrt(graph: AtenGraph, x: Any) -> TensorName:
    return graph.elementwise("Reciprocal", [graph.elementwise("Sqrt", [x])])


def _square(graph: AtenGraph, x: Any) -> TensorName:
    return graph.elementwise("Mul", [x, x])


def _relu6(graph: AtenGraph, x: Any) -> TensorName:
    return _clamp(graph, x, 0.0, 6.0)


def _softmax(kind: str) -> Function:
    return lambda graph, x, dim, *_: graph.add(kind, [x], axis=int(dim))


def _argmax(graph: AtenGraph, x: Any, dim: Any, keepdim: Any) -> TensorName:
    return graph.add(
        "ArgMax", [x], axis=-1 if dim is None else int(dim), keepdims=int(bool(keepdim))
    )


def _batch_norm(graph: AtenGraph, x: Any, *rest: Any) -> TensorName:
    weight, bias, mean, var, training, _, eps = rest[:7]
    if training:
        raise graph.refused("batch_norm", "is in training mode: call module.eval() before saving")
    if not isinstance(mean, np.ndarray) or not isinstance(var, np.ndarray):
        raise graph.refused("batch_norm", "has no running statistics")
    graph.read_by(x, len(mean))
    scale = np.ones(len(mean), np.float32) if weight is None else weight
    offset = np.zeros(len(mean), np.float32) if bias is None else bias
    epsilon = 1e-5 if eps is None else float(eps)
    return graph.add("BatchNormalization", [x, scale, offset, mean, var], epsilon=epsilon)


def _batch_norm_alone(graph: AtenGraph, x: Any, *rest: Any) -> tuple[TensorName, None, None]:
    weight, bias, mean, var, _, eps = rest
    return _batch_norm(graph, x, weight, bias, mean, var, False, None, eps), None, None


def _layer_norm(
    graph: AtenGraph, x: Any, shape: Any, weight: Any, bias: Any, eps: Any, *_: Any
) -> TensorName:
    lengths = graph.numbers(shape)
    scale = np.ones(lengths, np.float32) if weight is None else weight
    rest = [] if bias is None else [bias]
    epsilon = 1e-5 if eps is None else float(eps)
    graph.read_by(x, lengths[-1])
    return graph.add("LayerNormalization", [x, scale, *rest], axis=-len(lengths), epsilon=epsilon)


def _rms_norm(graph: AtenGraph, x: Any, shape: Any, weight: Any, eps: Any) -> TensorName:
    lengths = graph.numbers(shape)
    scale = np.ones(lengths, np.float32) if weight is None else weight
    graph.read_by(x, lengths[-1])
    epsilon = float(np.finfo(np.float32).eps) if eps is None else float(eps)
    return graph.add("RMSNormalization", [x, scale], axis=-len(lengths), epsilon=epsilon)


def _mean(kind: str) -> Function:
    def reduced(graph: AtenGraph, x: Any, dim: Any, keepdim: Any, *_: Any) -> TensorName:
        if dim is None:
            raise graph.refused("mean", "is taken over everything, the batch among it")
        axes = TensorName(graph.made.numbers(*graph.numbers(dim)))
        return graph.add(kind, [x, axes], keepdims=int(bool(keepdim)))

    return reduced


def _recurrent(graph: AtenGraph, *_: Any) -> Any:
    raise graph.refused(
        graph._current, "is a recurrent layer, which is read from ONNX with its state"
    )


def _random(graph: AtenGraph, x: Any, *_: Any) -> TensorName:
    return graph.add("RandomNormalLike", [x])


def operators(**kinds: str) -> dict[str, tuple[tuple[str, ...], Function]]:
    """Return operators of one argument, by torch's name, whose ONNX counterpart is the value."""
    return {name: (("self",), _unary(kind)) for name, kind in kinds.items()}


X = ("self",)
PAIR = ("self", "other")
SIGNATURES: dict[str, tuple[tuple[str, ...], Function]] = {
    **operators(abs="Abs", cos="Cos", erf="Erf", exp="Exp", hardsigmoid="HardSigmoid"),
    **operators(hardswish="HardSwish", log="Log", mish="Mish", neg="Neg", relu="Relu", selu="Selu"),
    **operators(reciprocal="Reciprocal", sigmoid="Sigmoid", sign="Sign", sin="Sin", sqrt="Sqrt"),
    **operators(softsign="Softsign", tanh="Tanh"),
    **dict.fromkeys(("alias", "detach", "lift_fresh_copy", "float", "cpu"), (X, _same)),
    "_to_copy": ((*X, "dtype", "layout", "device", "pin_memory", "non_blocking"), _same),
    "clone": ((*X, "memory_format"), _same),
    "contiguous": ((*X, "memory_format"), _same),
    "to": ((*X, "a", "b", "c", "d", "e", "f"), _same),
    "type_as": (PAIR, _same),
    "dropout": (("input", "p", "train"), _same),
    "add": ((*PAIR, "alpha"), _add),
    "sub": ((*PAIR, "alpha"), _sub),
    "rsub": ((*PAIR, "alpha"), _rsub),
    "mul": (PAIR, _binary("Mul")),
    "div": (PAIR, _binary("Div")),
    "pow": (("self", "exponent"), _binary("Pow")),
    "maximum": (PAIR, _binary("Max")),
    "minimum": (PAIR, _binary("Min")),
    "clamp": (("self", "min", "max"), _clamp),
    "clip": (("self", "min", "max"), _clamp),
    "clamp_min": (("self", "min"), lambda graph, x, low: _clamp(graph, x, low, None)),
    "clamp_max": (("self", "max"), _clamp_max),
    "hardtanh": (("self", "min_val", "max_val"), _hardtanh),
    "relu6": (X, _relu6),
    "silu": (X, _silu),
    "gelu": (("self", "approximate"), _gelu),
    "elu": (("self", "alpha", "scale", "input_scale"), _elu),
    "celu": (("self", "alpha"), _alpha("Celu", 1.0)),
    "leaky_relu": (("self", "negative_slope"), _alpha("LeakyRelu", 0.01)),
    "prelu": (("self", "weight"), _binary("PRelu")),
    "_prelu_kernel": (("self", "weight"), _binary("PRelu")),
    "softplus": (("self", "beta", "threshold"), _softplus),
    "log_sigmoid": (X, _log_sigmoid),
    "rsqrt": (X, _rsqrt),
    "square": (X, _square),
    "linear": (("input", "weight", "bias"), _linear),
    "matmul": (PAIR, _matmul),
    "mm": (("self", "mat2"), _matmul),
    "addmm": (("self", "mat1", "mat2", "beta", "alpha"), _addmm),
    "softmax": (("self", "dim", "dtype"), _softmax("Softmax")),
    "_softmax": (("self", "dim", "half_to_float"), _softmax("Softmax")),
    "log_softmax": (("self", "dim", "dtype"), _softmax("LogSoftmax")),
    "_log_softmax": (("self", "dim", "half_to_float"), _softmax("LogSoftmax")),
    "argmax": (("self", "dim", "keepdim"), _argmax),
    "batch_norm": (
        (
            *("input", "weight", "bias", "running_mean", "running_var", "training", "momentum"),
            *("eps", "cudnn_enabled"),
        ),
        _batch_norm,
    ),
    "_native_batch_norm_legit_no_training": (
        ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps"),
        _batch_norm_alone,
    ),
    "layer_norm": (
        ("input", "normalized_shape", "weight", "bias", "eps", "cudnn_enable"),
        _layer_norm,
    ),
    "rms_norm": (("input", "normalized_shape", "weight", "eps"), _rms_norm),
    "mean": (("self", "dim", "keepdim", "dtype"), _mean("ReduceMean")),
    "sum": (("self", "dim", "keepdim", "dtype"), _mean("ReduceSum")),
    **dict.fromkeys(
        ("gru", "lstm", "gru_cell", "lstm_cell", "rnn_tanh", "rnn_relu"), (X, _recurrent)
    ),
    **dict.fromkeys(("normal", "randn_like", "rand_like", "bernoulli"), ((*X, "a", "b"), _random)),
}
