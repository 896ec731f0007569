"""The profile: how long one decision takes and how much memory it needs, int8 beside full
precision, measured on this host.

In: the policy in both precisions, observations. Out: a Profile with every raw sample.
Each model has a process of its own, so memory is its own and one thread is all it gets. The
processes take turns in short rounds, so that a change of the machine's clock meets all of them
alike; only one runs at a time.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quarl import tools
from quarl.emitters import EMITTERS, FLOAT_EMITTERS
from quarl.errors import InputError
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.shapes import multiply_accumulates
from quarl.profiles.figure import Figure
from quarl.runtimes.host import FILE_FORMAT, model_inputs

FORMAT = 1
ROUNDS = 5
SAMPLES_PER_ROUND = 400
WARM_UP_S = 0.08
ROUND_S = 0.06
WORKER_TIMEOUT_S = 120.0
INPUTS = 64  # observations each model is fed in turn
Precision = Literal["int8", "float32"]


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one inference of one observation, from inputs in to outputs out, one thread."""

    first_call_us: float
    samples_us: tuple[float, ...]  # raw, in order; each is the mean of `calls_per_sample` calls
    calls_per_sample: (
        int  # 1, or more where a call is too short for the clock; then the tail is that of blocks
    )
    warm_up_calls: int

    def percentile_us(self, percent: float) -> float:
        """Return a percentile of the samples."""
        return float(np.percentile(self.samples_us, percent))

    @property
    def p50_us(self) -> float:
        """The median."""
        return self.percentile_us(50)

    @property
    def p90_us(self) -> float:
        """Nine of ten samples are no longer."""
        return self.percentile_us(90)

    @property
    def p99_us(self) -> float:
        """99 of 100 samples are no longer."""
        return self.percentile_us(99)

    @property
    def max_us(self) -> float:
        """The longest sample."""
        return max(self.samples_us)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a process that holds one model."""

    runtime_bytes: int  # Python, NumPy and the runtime, before the model is loaded
    model_bytes: int  # what loading the model and its first call added
    peak_bytes: int  # the most the process ever held


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """One model file in one runtime."""

    runtime: str
    runtime_version: str
    precision: Precision
    file_bytes: int
    load_us: float
    latency: Latency
    memory: Memory


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured on one host. `kind` is the kind of every figure in it."""

    kind: Literal["measured"]
    cpu: str
    cpu_count: int
    system: str
    versions: Mapping[str, str]
    contract_sha256: str
    multiply_accumulates: int  # per inference
    parameter_bytes: Mapping[Precision, int]
    models: tuple[ModelProfile, ...]

    def model(self, runtime: str, precision: Precision) -> ModelProfile:
        """Return one model's figures.

        Raises:
            KeyError: it was not measured.
        """
        for model in self.models:
            if (model.runtime, model.precision) == (runtime, precision):
                return model
        raise KeyError((runtime, precision))

    def speedup(self, runtime: str) -> float:
        """Return how many times faster int8 is than float32 in a runtime, by the medians of this
        run; below 1 it is slower.
        """
        return (
            self.model(runtime, "float32").latency.p50_us
            / self.model(runtime, "int8").latency.p50_us
        )

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures a budget may limit: sizes, which are exact, and times and memory of the int8
        models, measured on this host.
        """
        found = [
            Figure("parameter_bytes", float(self.parameter_bytes["int8"]), "B", "exact"),
            Figure("multiply_accumulates", float(self.multiply_accumulates), "", "exact"),
        ]
        for model in self.models:
            if model.precision == "int8":
                latency = model.latency
                times = {
                    "first_call": latency.first_call_us,
                    "p50": latency.p50_us,
                    "p99": latency.p99_us,
                    "max": latency.max_us,
                }
                found += [
                    Figure(f"{model.runtime}_{name}_us", value, "us", "measured")
                    for name, value in times.items()
                ]
                found.append(
                    Figure(
                        f"{model.runtime}_peak_memory_bytes",
                        float(model.memory.peak_bytes),
                        "B",
                        "measured",
                    )
                )
        return tuple(found)

    def remarks(self) -> tuple[str, ...]:
        """Return one plain sentence per runtime about int8 against float32, where both were
        measured.
        """
        return tuple(
            self._remark(model.runtime) for model in self.models if model.precision == "float32"
        )

    def _remark(self, runtime: str) -> str:
        int8, real = (
            self.model(runtime, "int8").latency.p50_us,
            self.model(runtime, "float32").latency.p50_us,
        )
        medians = f"median {int8:,.1f} us against {real:,.1f} us"
        ratio = real / int8
        if ratio >= 1.05:
            return (
                f"{runtime}: int8 is {ratio:.2f} times as fast as float32 on this host ({medians})"
            )
        if ratio > 1 / 1.05:
            return f"{runtime}: int8 is not faster than float32 on this host ({medians})"
        return (
            f"{runtime}: int8 is slower than float32 on this host, {1 / ratio:.2f} times "
            f"the time ({medians})"
        )

    def to_json(self) -> str:
        """Return canonical JSON, samples included."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def profile_from_json(text: str, where: str = "profile.json") -> Profile:
    """Return the profile written by `Profile.to_json`; `where` names the file in messages.

    Raises:
        InputError: not a profile, or one of another format version.
    """
    try:
        document = json.loads(text)
        found = document.pop("format")
        if found != FORMAT:
            raise InputError(
                f"{where}: format {found}, this quarl reads format {FORMAT}: run quarl "
                "profile again"
            )
        models = tuple(_model_from(entry) for entry in document.pop("models"))
        return Profile(**document, models=models)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not a profile ({error!r}): run quarl profile again") from error


def profile_bundle(source: Policy | None, quantized: QuantPolicy, obs: NDArray[Any]) -> Profile:
    """Return the profile of both precisions in every runtime of this host; the files are written
    anew, as an export writes them.

    Args:
        source: None where the policy came as an int8 file; then int8 alone is measured.
        obs: observations [n, *shape] in environment units; the first INPUTS are used in turn.
    Raises:
        InputError: no observations.
        DeviceError: a runtime refuses a model, or its process died.
    """
    if not len(obs):
        raise InputError("profile: no observations to measure with: give at least one")
    files: list[tuple[str, Precision, bytes]] = []
    for runtime, name in FILE_FORMAT.items():
        files += [] if source is None else [(runtime, "float32", FLOAT_EMITTERS[name](source))]
        files.append((runtime, "int8", EMITTERS[name](quantized)))
    with tempfile.TemporaryDirectory(prefix="quarl-profile-") as folder, ExitStack() as processes:
        inputs: dict[Precision, Path] = {
            "float32": Path(folder) / "float32.npy",
            "int8": Path(folder) / "int8.npy",
        }
        np.save(inputs["int8"], model_inputs(quantized, obs[:INPUTS]))
        if source is not None:
            np.save(inputs["float32"], source.graph_input(obs[:INPUTS]))
        argv = tools.own_module("quarl.runtimes.worker")
        workers = [
            processes.enter_context(
                tools.Conversation(argv, timeout=WORKER_TIMEOUT_S, env=tools.ONE_THREAD)
            )
            for _ in files
        ]
        loaded = []
        for turn, (worker, (runtime, precision, model)) in enumerate(
            zip(workers, files, strict=True)
        ):
            path = Path(folder) / f"{turn}.{FILE_FORMAT[runtime]}"
            path.write_bytes(model)
            request = {
                "runtime": runtime,
                "model": str(path),
                "inputs": str(inputs[precision]),
                "warm_up_s": WARM_UP_S,
            }
            loaded.append(worker.ask({"ask": "load", **request}))
        samples, peaks = _measure_in_turns(workers)
    measured = tuple(
        _model_profile(*file, answer, tuple(values), peak)
        for file, answer, values, peak in zip(files, loaded, samples, peaks, strict=True)
    )
    return Profile(
        kind="measured",
        cpu=cpu_name(),
        cpu_count=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        versions={"python": platform.python_version(), "numpy": np.__version__},
        contract_sha256=quantized.contract.digest,
        multiply_accumulates=multiply_accumulates(quantized),
        parameter_bytes={
            "int8": quantized.parameter_bytes,
            **({} if source is None else {"float32": source.parameter_count * 4}),
        },
        models=measured,
    )


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _measure_in_turns(workers: list[tools.Conversation]) -> tuple[list[list[float]], list[int]]:
    """Return each worker's samples and peak memory; every other round goes backwards, so that
    nobody is always first.
    """
    samples: list[list[float]] = [[] for _ in workers]
    peaks = [0] * len(workers)
    for turn in range(ROUNDS):
        order = range(len(workers))
        for i in order if turn % 2 == 0 else reversed(order):
            answer = workers[i].ask(
                {"ask": "measure", "seconds": ROUND_S, "samples": SAMPLES_PER_ROUND}
            )
            samples[i] += answer["samples_us"]
            peaks[i] = answer["peak_bytes"]
    return samples, peaks


def _model_profile(
    runtime: str,
    precision: Precision,
    model: bytes,
    loaded: Mapping[str, Any],
    samples: tuple[float, ...],
    peak_bytes: int,
) -> ModelProfile:
    latency = Latency(
        loaded["first_call_us"], samples, loaded["calls_per_sample"], loaded["warm_up_calls"]
    )
    memory = Memory(loaded["runtime_bytes"], loaded["model_bytes"], peak_bytes)
    return ModelProfile(
        runtime,
        loaded["runtime_version"],
        precision,
        len(model),
        loaded["load_us"],
        latency,
        memory,
    )


def _model_from(entry: dict[str, Any]) -> ModelProfile:
    latency, memory = entry.pop("latency"), entry.pop("memory")
    samples = tuple(float(s) for s in latency.pop("samples_us"))
    return ModelProfile(
        **entry, latency=Latency(**latency, samples_us=samples), memory=Memory(**memory)
    )
