"""What the agent is asked to run: one model, its inputs, and how much to measure.

In: a policy in both precisions, observations. Out: the files to push and one `RunRequest` per
model. The agent checks every file's SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.emitters import FLOAT_EMITTERS
from quarl.errors import UnsupportedError
from quarl.graph.quant_policy import QuantPolicy
from quarl.links.pi import sha256_of
from quarl.profiles.host import Precision
from quarl.profiles.workload import Workload
from quarl.runtimes.host import FILE_FORMAT, model_inputs

FLOAT_INPUTS = 64  # observations the float model is fed in turn
TFLITE_RUNTIME = "tflite_runtime"
INTEGERS, FLOATS, OBSERVATIONS = "integers.bin", "floats.bin", "observations.bin"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: times where a clock means something, marks where an emulator counts."""

    warm_up_s: float = 1.0
    seconds: float = 0.0  # at most, for inferences and again for decisions; 0: nothing is timed
    samples: int = 2000  # at most
    marked: int = 0  # inferences with marks around them


NOTHING = Effort()
TIMED = Effort(seconds=5.0)
COUNTED = Effort(marked=16)


@dataclass(frozen=True, slots=True)
class Sent:
    """An array in a file."""

    file: str
    sha256: str
    dtype: str
    shape: tuple[int, ...]  # of one row


@dataclass(frozen=True, slots=True)
class Asked:
    """One model to run."""

    runtime: str
    precision: Precision
    file: str
    sha256: str
    file_bytes: int
    inputs: Sent
    answer: int  # inputs whose outputs are wanted


@dataclass(frozen=True, slots=True)
class Package:
    """All that is pushed, and what is then asked for."""

    files: Mapping[str, bytes]
    asked: tuple[Asked, ...]
    decision: Mapping[str, Any]  # how an observation becomes an action, as the agent reads it


def package_of(workload: Workload, runtimes: Sequence[str]) -> Package:
    """Return what a Pi needs to run a policy: the workload's own artifacts in int8, and float32
    files written for the comparison where there is a source.

    Raises:
        UnsupportedError: a recurrent policy, whose state the agent on the Pi does not carry.
    """
    policy, source, obs = workload.policy, workload.source, workload.obs
    if policy.state:
        raise UnsupportedError(
            "a recurrent policy is not measured on a Raspberry Pi: its C program and its artifacts "
            "carry the state, the agent that times them does not. Export for a microcontroller, or "
            "omit --board"
        )
    files: dict[str, bytes] = {}
    integers = _send(files, INTEGERS, model_inputs(policy, obs))
    graph = policy.contract.observation.to_graph(obs)
    observations = _send(
        files, OBSERVATIONS, graph if policy.observation.is_pixels else graph.astype(np.float32)
    )
    asked = []
    for runtime in runtimes:
        name = FILE_FORMAT.get(runtime, "tflite")
        if source is not None:
            real = source.step_input(obs[:FLOAT_INPUTS]).astype(np.float32)
            floats = _send(files, FLOATS, real)
            model = _add_model(files, f"float32.{name}", FLOAT_EMITTERS[name](source))
            asked.append(Asked(runtime, "float32", *model, floats, 1))
        content = workload.artifact(runtime if runtime in FILE_FORMAT else "litert")
        model = _add_model(files, f"int8.{name}", content)
        asked.append(Asked(runtime, "int8", *model, integers, len(obs)))
    return Package(files, tuple(asked), _decision(policy, observations))


def run_request(package: Package, asked: Asked, effort: Effort) -> dict[str, Any]:
    """Return the agent's request for one model."""
    return {
        "ask": "run",
        "runtime": asked.runtime,
        "model": asked.file,
        "model_sha256": asked.sha256,
        "inputs": asked.inputs.file,
        "inputs_sha256": asked.inputs.sha256,
        "dtype": asked.inputs.dtype,
        "shape": list(asked.inputs.shape),
        "answer": asked.answer,
        "decision": package.decision if asked.precision == "int8" else None,
        **asdict(effort),
    }


def _add_model(files: dict[str, bytes], name: str, content: bytes) -> tuple[str, str, int]:
    """Add the file, and return its name, digest and size."""
    files[name] = content
    return name, sha256_of(content), len(content)


def _send(files: dict[str, bytes], name: str, rows: NDArray[Any]) -> Sent:
    files[name] = np.ascontiguousarray(rows).tobytes()
    return Sent(name, sha256_of(files[name]), str(rows.dtype), rows.shape[1:])


def _decision(quantized: QuantPolicy, observations: Sent) -> dict[str, Any]:
    quantizer, action, output = (
        quantized.observation,
        quantized.contract.action,
        quantized.nodes[-1].output,
    )
    return {
        "observations": observations.file,
        "observations_sha256": observations.sha256,
        "dtype": observations.dtype,
        "shape": list(observations.shape),
        "inv_scale": [float(value) for value in quantizer.inv_scale],
        "zero_point": [int(value) for value in quantizer.zero_point],
        "qmin": quantizer.tensor.qmin,
        "qmax": quantizer.tensor.qmax,
        "input_dtype": "int8" if quantizer.tensor.is_int8 else "int16",
        "output": None
        if output is None
        else {"scale": float(output.scale), "zero_point": int(output.zero_point)},
        "action": {
            "kind": action.kind,
            "low": [bound if np.isfinite(bound) else None for bound in action.low],
            "high": [bound if np.isfinite(bound) else None for bound in action.high],
            "transform": action.transform,
            "start": action.start,
            "counts": list(action.counts),
        },
    }
