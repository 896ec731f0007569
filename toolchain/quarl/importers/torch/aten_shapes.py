"""torch's operators that move numbers, and those with windows, written as ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from quarl.importers.torch.aten import SIGNATURES, AtenGraph, Length, TensorName

END = (1 << 63) - 1


def _cat(graph: AtenGraph, tensors: Any, dim: Any) -> TensorName:
    return graph.add("Concat", list(tensors), axis=int(dim or 0))


def _stack(graph: AtenGraph, tensors: Any, dim: Any) -> TensorName:
    axes = TensorName(graph.made.numbers(int(dim or 0)))
    return _cat(graph, [graph.add("Unsqueeze", [x, axes]) for x in tensors], dim)


def _chunk(graph: AtenGraph, x: Any, chunks: Any, dim: Any) -> tuple[TensorName, ...]:
    return _parts(graph, x, int(chunks), dim, num_outputs=int(chunks))


def _split(graph: AtenGraph, x: Any, sizes: Any, dim: Any) -> tuple[TensorName, ...]:
    if not isinstance(sizes, list | tuple):
        raise graph.refused("split", "into parts of one size is not read, split by sizes is")
    return _parts(graph, x, len(sizes), dim, graph.made.numbers(*graph.numbers(sizes)))


def _parts(
    graph: AtenGraph, x: Any, count: int, dim: Any, *sizes: str, **attributes: Any
) -> tuple[TensorName, ...]:
    names = [f"{graph.name(x)}.part{len(graph.made.nodes)}.{place}" for place in range(count)]
    graph.made.split([graph.name(x), *sizes], names, axis=int(dim or 0), **attributes)
    return tuple(TensorName(name) for name in names)


def _slice(graph: AtenGraph, x: Any, dim: Any, start: Any, end: Any, step: Any) -> TensorName:
    given = (0 if start is None else start, END if end is None else end, dim or 0, step or 1)
    if isinstance(given[1], Length) or given[:2] == (0, END):
        return TensorName(graph.name(x))
    words = [TensorName(graph.made.numbers(*graph.numbers(number))) for number in given]
    return graph.add("Slice", [x, *words])


def _select(graph: AtenGraph, x: Any, dim: Any, index: Any) -> TensorName:
    place = graph.made.constant(np.asarray(graph.numbers(index)[0], np.int64))
    return graph.add("Gather", [x, TensorName(place)], axis=graph.numbers(dim)[0])


def _index_select(graph: AtenGraph, x: Any, dim: Any, index: Any) -> TensorName:
    if not isinstance(index, np.ndarray):
        raise graph.refused("index_select", "picks what the network computes")
    places = TensorName(graph.made.constant(index.astype(np.int64)))
    return graph.add("Gather", [x, places], axis=graph.numbers(dim)[0])


def _index(graph: AtenGraph, x: Any, indices: Any) -> TensorName:
    known = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(known) != 1 or not isinstance(known[0][1], np.ndarray):
        raise graph.refused("index", "picks by what only a run knows, or along several axes")
    return _index_select(graph, x, known[0][0], known[0][1])


def _narrow(graph: AtenGraph, x: Any, dim: Any, start: Any, length: Any) -> TensorName:
    first, count = graph.numbers([start, length])
    return _slice(graph, x, dim, first, first + count, 1)


def _axes(kind: str) -> Any:
    def moved(graph: AtenGraph, x: Any, dim: Any) -> TensorName:
        if dim is None:
            raise graph.refused(kind.lower(), "drops every axis of length 1, the batch among them")
        axes = TensorName(graph.made.numbers(*graph.numbers(dim)))
        return graph.add(kind, [x, axes])

    return moved


def _flatten(graph: AtenGraph, x: Any, start: Any, end: Any) -> TensorName:
    if (start or 0, -1 if end is None else end) == (1, -1):
        return graph.add("Flatten", [x], axis=1)
    raise graph.refused("flatten", f"from axis {start or 0} to {end} is not read, 1 to -1 is")


def _reshape(graph: AtenGraph, x: Any, shape: Any) -> TensorName:
    target = [0 if place == 0 and isinstance(n, Length) else n for place, n in enumerate(shape)]
    return graph.add("Reshape", [x, TensorName(graph.made.numbers(*graph.numbers(target)))])


def _transpose(graph: AtenGraph, x: Any, first: Any, second: Any) -> Any:
    if isinstance(x, np.ndarray):
        return np.swapaxes(x, int(first), int(second))
    raise graph.refused("transpose", "of a layer's output is not read, permute is")


def _t(graph: AtenGraph, x: Any) -> Any:
    return x.T if isinstance(x, np.ndarray) else graph.add("Transpose", [x], perm=[1, 0])


def _permute(graph: AtenGraph, x: Any, dims: Any) -> TensorName:
    return graph.add("Transpose", [x], perm=graph.numbers(dims))


def _repeat(graph: AtenGraph, x: Any, repeats: Any) -> TensorName:
    return graph.add("Tile", [x, TensorName(graph.made.numbers(*graph.numbers(repeats)))])


def _expand(graph: AtenGraph, x: Any, sizes: Any, *_: Any) -> TensorName:
    lengths = [1 if isinstance(n, Length) or n == -1 else n for n in sizes]
    return graph.add("Expand", [x, TensorName(graph.made.numbers(*graph.numbers(lengths)))])


def _size(graph: AtenGraph, x: Any, dim: Any) -> Any:
    if isinstance(x, np.ndarray):
        return list(x.shape) if dim is None else x.shape[dim]
    return Length(0) if dim == 0 else Length(-1 if dim is None else int(dim))


def _convolution(graph: AtenGraph, *args: Any) -> TensorName:
    x, weight, bias, stride, padding, dilation, groups = args
    if not isinstance(weight, np.ndarray):
        raise graph.refused("convolution", "has weights that the network computes")
    axes = weight.ndim - 2
    if isinstance(padding, str):
        raise graph.refused("convolution", f"has the padding {padding!r}, numbers are read")
    pads = _spread(graph, padding, axes, 0)
    return graph.add(
        "Conv",
        [x, weight, *([] if bias is None else [bias])],
        strides=_spread(graph, stride, axes, 1),
        pads=[*pads, *pads],
        dilations=_spread(graph, dilation, axes, 1),
        group=int(groups or 1),
    )


def _any_convolution(graph: AtenGraph, *args: Any) -> TensorName:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args[:9]
    if transposed:
        raise graph.refused("convolution", "is transposed")
    return _convolution(graph, x, weight, bias, stride, padding, dilation, groups)


def _pool(kind: str) -> Any:
    def pooled(graph: AtenGraph, *args: Any) -> TensorName:
        x, kernel, stride, padding, *rest = args
        size = _spread(graph, kernel, 2, 1)
        pads = _spread(graph, padding, 2, 0)
        is_inside = kind == "AveragePool" and len(rest) > 1 and rest[1] is False
        counts = {"count_include_pad": int(not is_inside)} if kind == "AveragePool" else {}
        if any(value not in (None, False, True, [1, 1], 1, []) for value in rest):
            raise graph.refused(kind.lower(), "has a dilation or a divisor of its own")
        strides = size if stride in (None, []) else _spread(graph, stride, 2, 1)
        return graph.add(
            kind, [x], kernel_shape=size, strides=strides, pads=[*pads, *pads], **counts
        )

    return pooled


def _adaptive_pool(graph: AtenGraph, x: Any, size: Any) -> TensorName:
    if any(length != 1 for length in graph.numbers(size)):
        raise graph.refused("adaptive_avg_pool", f"gives {size} places, one is read")
    return graph.add("GlobalAveragePool", [x])


def _spread(graph: AtenGraph, value: Any, count: int, default: int) -> list[int]:
    numbers = graph.numbers(default if value is None or value == [] else value)
    return numbers * count if len(numbers) == 1 else numbers


WINDOW = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
ANY_WINDOW = (
    *("input", "weight", "bias", "stride", "padding", "dilation", "transposed"),
    *("output_padding", "groups", "benchmark", "deterministic", "cudnn_enabled", "allow_tf32"),
)
POOL = ("self", "kernel_size", "stride", "padding")
SIGNATURES |= {
    "cat": (("tensors", "dim"), _cat),
    "concat": (("tensors", "dim"), _cat),
    "stack": (("tensors", "dim"), _stack),
    "chunk": (("self", "chunks", "dim"), _chunk),
    "split": (("self", "split_size", "dim"), _split),
    "split_with_sizes": (("self", "split_sizes", "dim"), _split),
    "slice": (("self", "dim", "start", "end", "step"), _slice),
    "select": (("self", "dim", "index"), _select),
    "index": (("self", "indices"), _index),
    "index_select": (("self", "dim", "index"), _index_select),
    "narrow": (("self", "dim", "start", "length"), _narrow),
    "squeeze": (("self", "dim"), _axes("Squeeze")),
    "unsqueeze": (("self", "dim"), _axes("Unsqueeze")),
    "flatten": (("self", "start_dim", "end_dim"), _flatten),
    "reshape": (("self", "shape"), _reshape),
    "view": (("self", "size"), _reshape),
    "_unsafe_view": (("self", "size"), _reshape),
    "transpose": (("self", "dim0", "dim1"), _transpose),
    "t": (("self",), _t),
    "permute": (("self", "dims"), _permute),
    "repeat": (("self", "repeats"), _repeat),
    "expand": (("self", "size", "implicit"), _expand),
    "size": (("self", "dim"), _size),
    "sym_size": (("self", "dim"), _size),
    "conv1d": (WINDOW, _convolution),
    "conv2d": (WINDOW, _convolution),
    "convolution": (ANY_WINDOW, _any_convolution),
    "_convolution": (ANY_WINDOW, _any_convolution),
    "max_pool2d": ((*POOL, "dilation", "ceil_mode"), _pool("MaxPool")),
    "avg_pool2d": (
        (*POOL, "ceil_mode", "count_include_pad", "divisor_override"),
        _pool("AveragePool"),
    ),
    "adaptive_avg_pool1d": (("self", "output_size"), _adaptive_pool),
    "adaptive_avg_pool2d": (("self", "output_size"), _adaptive_pool),
}
