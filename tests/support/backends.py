"""The outputs of one quantised policy on every backend, beside the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quarl.emitters import emit_onnx, emit_tflite
from quarl.firmware.lower import lower
from quarl.firmware.record import records_of
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, quantize_observations
from quarl.runtimes.host import LitertRuntime, OnnxRuntime
from tests.support.host_build import HostPolicy, kernel_objects


def differing_integers(
    policy: QuantPolicy, obs: NDArray[Any], folder: Path, objects: Path
) -> dict[str, int]:
    """Return how many output integers of each backend differ from the reference's.

    Args:
        objects: folder of the compiled kernels, made once for a test session.
    """
    integers = quantize_observations(policy, obs).astype(policy.input_dtype)
    wanted = integer_outputs(policy, obs)
    host = HostPolicy(
        lower(policy, "portable"), folder / "host", kernel_objects(objects, "gcc", ())
    )
    records = records_of(policy)
    c = host.infer(integers if records is None else records.input.pack(integers))
    found = {
        "litert": LitertRuntime(emit_tflite(policy)).run(integers),
        "onnx": OnnxRuntime(emit_onnx(policy)).run(integers),
        "c": c if records is None else records.output.unpack(c),
    }
    return {name: int((outputs != wanted).sum()) for name, outputs in found.items()}
