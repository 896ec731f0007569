"""Writes a policy as a file another runtime reads. One file per format, one dict per kind of
policy.

The modules load flatbuffers or onnx, so they are imported when a format is written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy


def emit_tflite(policy: QuantPolicy) -> bytes:
    """Return the int8 `.tflite` file; see `quarl.emitters.tflite`."""
    from quarl.emitters import tflite

    return tflite.emit_tflite(policy)


def emit_onnx(policy: QuantPolicy) -> bytes:
    """Return the int8 `.onnx` file; see `quarl.emitters.onnx_graph`."""
    from quarl.emitters import onnx_graph

    return onnx_graph.emit_onnx(policy)


def emit_float_tflite(policy: Policy, *, half: bool = False) -> bytes:
    """Return the full-precision `.tflite` file, or the one with float16 parameters; see
    `quarl.emitters.float_tflite`.
    """
    from quarl.emitters import float_tflite

    return float_tflite.emit_float_tflite(policy, half=half)


def emit_float_onnx(policy: Policy, *, half: bool = False) -> bytes:
    """Return the full-precision `.onnx` file, or the one with float16 parameters; see
    `quarl.emitters.float_onnx`.
    """
    from quarl.emitters import float_onnx

    return float_onnx.emit_float_onnx(policy, half=half)


def artifact_metadata(name: str, data: bytes) -> dict[str, str]:
    """Return what an artifact called `name` says of itself (`quarl.emitters.provenance`); empty
    where it says nothing or is damaged.
    """
    if name.endswith(".tflite"):
        from quarl.emitters import tflite_file

        return tflite_file.metadata_of(data)
    from quarl.emitters import onnx_file

    return onnx_file.metadata_of(data)


EMITTERS: dict[str, Callable[[QuantPolicy], bytes]] = {"tflite": emit_tflite, "onnx": emit_onnx}
FLOAT_EMITTERS: dict[str, Callable[[Policy], bytes]] = {
    "tflite": emit_float_tflite,
    "onnx": emit_float_onnx,
}
HALF_EMITTERS: dict[str, Callable[[Policy], bytes]] = {
    name: partial(emit, half=True)
    for name, emit in (("tflite", emit_float_tflite), ("onnx", emit_float_onnx))
}
