"""The shapes of MLPerf Tiny's four reference networks with random integers, as int8 `.tflite` files
of others would have them. For what an inference costs the shape alone counts.

Layers and strides follow the reference training scripts of MLPerf Tiny; the batch normalisations
are in the convolutions, as its converter folds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

from quarl.emitters import emit_tflite
from quarl.graph.quant_policy import QuantPolicy, QuantTensor
from tests.support.random_policies import Builder
from tests.support.tflite_models import packed

PIXELS = QuantTensor(np.float32(1 / 255), -128)
NO_PADDING = ((0, 0), (0, 0))
SPEECH_SCALE, SPEECH_ZERO = 0.5847029, 83  # of keyword spotting's input, which is not of pixels


def autoencoder(rng: np.random.Generator) -> QuantPolicy:
    """Return anomaly detection: 640 features, 128 four times, 8, 128 four times, 640."""
    builder = Builder(rng, (640,), QuantTensor(np.float32(0.39), 89))
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        builder.dense(width, _relu(builder))
    builder.dense(640, builder.output())
    return builder.build()


def resnet8(rng: np.random.Generator) -> QuantPolicy:
    """Return image classification: ResNet-8 on 32 x 32 x 3."""
    builder = Builder(rng, (32, 32, 3), PIXELS)
    _conv(builder, 16, 3, 1)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        start = builder.newest
        _conv(builder, channels, 3, stride)
        _conv(builder, channels, 3, 1, has_relu=False)
        made = builder.newest
        if stride > 1:
            builder.newest = start
            start = _conv(builder, channels, 1, stride, has_relu=False)
        builder.scaled_add(start, made, _relu(builder))
    _average(builder, 8)
    builder.flatten()
    builder.dense(10, builder.output())
    return builder.build()


def mobilenet(rng: np.random.Generator) -> QuantPolicy:
    """Return visual wake words: MobileNet v1, a quarter as wide, on 96 x 96 x 3."""
    builder = Builder(rng, (96, 96, 3), PIXELS)
    _conv(builder, 8, 3, 2)
    widths = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    for place, channels in enumerate(widths):
        _depthwise(builder, 2 if place in (1, 3, 5, 11) else 1)
        _conv(builder, channels, 1, 1)
    _average(builder, 3)
    builder.flatten()
    builder.dense(2, builder.output())
    return builder.build()


def depthwise_speech(rng: np.random.Generator) -> QuantPolicy:
    """Return keyword spotting: DS-CNN on 49 x 10."""
    builder = Builder(rng, (49, 10, 1), PIXELS)
    builder.window("conv", 64, (10, 4), (2, 2), ((4, 5), (1, 1)), _relu(builder))
    for _ in range(4):
        _depthwise(builder, 1)
        _conv(builder, 64, 1, 1)
    rows, columns, _ = builder.shapes[builder.newest]
    _average(builder, (rows, columns))
    builder.flatten()
    builder.dense(12, builder.output())
    return builder.build()


NETWORKS: Mapping[str, Callable[[np.random.Generator], QuantPolicy]] = {
    "autoencoder": autoencoder,
    "resnet8": resnet8,
    "mobilenet": mobilenet,
    "depthwise_speech": depthwise_speech,
}


def tiny_tflite(name: str) -> bytes:
    """Return one of the networks as a file that does not say who wrote it."""
    content = emit_tflite(NETWORKS[name](np.random.default_rng(0)))
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.description, model.metadata = None, None
    if name == "depthwise_speech":
        graph = model.subgraphs[0]
        quantization = graph.tensors[graph.inputs[0]].quantization
        quantization.scale, quantization.zeroPoint = [SPEECH_SCALE], [SPEECH_ZERO]
    return packed(model)


def _relu(builder: Builder) -> QuantTensor:
    return builder.output(zero_point=-128)


def _conv(
    builder: Builder, channels: int, kernel: int, stride: int, *, has_relu: bool = True
) -> str:
    target = _relu(builder) if has_relu else builder.output()
    return builder.window(
        "conv", channels, (kernel, kernel), (stride, stride), _same(builder, kernel, stride), target
    )


def _depthwise(builder: Builder, stride: int) -> str:
    padding = _same(builder, 3, stride)
    return builder.window("depthwise", 0, (3, 3), (stride, stride), padding, _relu(builder))


def _average(builder: Builder, kernel: int | tuple[int, int]) -> str:
    both = (kernel, kernel) if isinstance(kernel, int) else kernel
    return builder.pool("average", both, (1, 1), NO_PADDING)


def _same(builder: Builder, kernel: int, stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return TensorFlow's padding "same" for the newest tensor."""
    found = []
    for length in builder.shapes[builder.newest][:2]:
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        found.append((total // 2, total - total // 2))
    return found[0], found[1]
