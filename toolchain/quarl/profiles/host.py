"""The profile: how long one decision takes and how much memory it needs, int8 beside full
precision, measured on this host.

In: the policy in both precisions, observations. Out: a Profile with every raw sample.
Each model has a process of its own, so memory is its own and one thread is all it gets. The
processes take turns in short rounds, so that a change of the machine's clock meets all of them
alike; only one runs at a time.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quarl import tools
from quarl.emitters import FLOAT_EMITTERS
from quarl.errors import InputError
from quarl.files.documents import Document, decode, encode
from quarl.graph.shapes import multiply_accumulates
from quarl.profiles.figure import Figure
from quarl.profiles.workload import Subject, Workload
from quarl.runtimes.host import FILE_FORMAT, model_inputs

DOCUMENT = Document("a profile of this host", 2, "run quarl profile BUNDLE again")
ROUNDS = 5
SAMPLES_PER_ROUND = 400
WARM_UP_S = 0.05
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

    def __post_init__(self) -> None:
        if not self.samples_us or min(self.samples_us) <= 0:
            raise InputError(
                "a profile without samples, or with one of no time: run quarl profile again"
            )

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

    subject: Subject
    kind: Literal["measured"]
    cpu: str
    cpu_count: int
    system: str
    versions: Mapping[str, str]
    contract_sha256: str
    multiply_accumulates: int  # per inference
    parameter_bytes: Mapping[Precision, int]
    models: tuple[ModelProfile, ...]

    def __post_init__(self) -> None:
        of = {p: {m.runtime for m in self.models if m.precision == p} for p in ("int8", "float32")}
        if "int8" not in self.parameter_bytes or not of["float32"] <= of["int8"]:
            raise InputError(
                f"a profile of {', '.join(sorted(of['float32']))} without the int8 model: run "
                "quarl profile again"
            )

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

    def to_json(self) -> bytes:
        """Return canonical JSON, samples included."""
        return encode(self, DOCUMENT)


def profile_from(data: bytes, where: str) -> Profile:
    """Return the profile written by `Profile.to_json`; `where` names the file in messages.

    Raises:
        InputError: it is not one, or of another format.
    """
    return decode(Profile, data, where, DOCUMENT)


Started = dict[str, list[tools.Conversation]]
"""Processes that have imported a runtime or are about to, by its name; each measures one model."""


@contextmanager
def started_runtimes(*, with_source: bool) -> Iterator[Started]:
    """Start the processes of `profile_host`, which import their runtimes beside whatever follows.

    Args:
        with_source: whether float32 models are measured too.
    """
    with ExitStack() as processes:
        yield {
            runtime: [processes.enter_context(_worker(runtime)) for _ in range(1 + with_source)]
            for runtime in FILE_FORMAT
        }


def profile_host(workload: Workload, started: Started | None = None) -> Profile:
    """Return the profile of both precisions in every runtime of this host.

    int8 is measured in the workload's own artifacts. float32 files are written for the comparison,
    where there is a source. The first INPUTS observations are used in turn.

    Args:
        started: what `started_runtimes` gave; each of its processes is used up.
    Raises:
        DeviceError: a runtime refuses a model, or its process died.
    """
    policy, source, obs = workload.policy, workload.source, workload.obs[:INPUTS]
    models = _models_of(workload)
    with tempfile.TemporaryDirectory(prefix="quarl-profile-") as folder, ExitStack() as processes:
        inputs: dict[Precision, Path] = {
            "float32": Path(folder) / "float32.npy",
            "int8": Path(folder) / "int8.npy",
        }
        np.save(inputs["int8"], model_inputs(policy, obs))
        if source is not None:
            np.save(inputs["float32"], source.step_input(obs))
        workers = [_next_worker(model.runtime, started, processes) for model in models]
        loaded = [
            worker.ask(_load_request(Path(folder), turn, model, inputs))
            for turn, (worker, model) in enumerate(zip(workers, models, strict=True))
        ]
        samples, peaks = _measure_in_turns(workers)
    measured = tuple(
        _model_profile(model, answer, tuple(values), peak)
        for model, answer, values, peak in zip(models, loaded, samples, peaks, strict=True)
    )
    real: dict[Precision, int] = {} if source is None else {"float32": source.parameter_count * 4}
    return Profile(
        subject=workload.subject(None, artifacts=True, firmware=False),
        kind="measured",
        cpu=cpu_name(),
        cpu_count=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        versions={"python": platform.python_version(), "numpy": np.__version__},
        contract_sha256=policy.contract.digest,
        multiply_accumulates=multiply_accumulates(policy),
        parameter_bytes={"int8": policy.parameter_bytes, **real},
        models=measured,
    )


@dataclass(frozen=True, slots=True)
class _Model:
    """One file in one runtime."""

    runtime: str
    precision: Precision
    content: bytes


def _models_of(workload: Workload) -> list[_Model]:
    models = []
    for runtime, name in FILE_FORMAT.items():
        if workload.source is not None:
            models.append(_Model(runtime, "float32", FLOAT_EMITTERS[name](workload.source)))
        models.append(_Model(runtime, "int8", workload.artifact(runtime)))
    return models


def _next_worker(runtime: str, started: Started | None, processes: ExitStack) -> tools.Conversation:
    if started is not None and started[runtime]:
        return started[runtime].pop()
    return processes.enter_context(_worker(runtime))


def _worker(runtime: str) -> tools.Conversation:
    argv = [*tools.own_module("quarl.runtimes.worker"), runtime]
    return tools.Conversation(argv, timeout=WORKER_TIMEOUT_S, env=tools.ONE_THREAD)


def _load_request(
    folder: Path, turn: int, model: _Model, inputs: Mapping[Precision, Path]
) -> dict[str, Any]:
    path = folder / f"{turn}.{FILE_FORMAT[model.runtime]}"
    path.write_bytes(model.content)
    return {
        "ask": "load",
        "runtime": model.runtime,
        "model": str(path),
        "inputs": str(inputs[model.precision]),
        "warm_up_s": WARM_UP_S,
    }


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
    model: _Model, loaded: Mapping[str, Any], samples: tuple[float, ...], peak_bytes: int
) -> ModelProfile:
    return ModelProfile(
        runtime=model.runtime,
        runtime_version=loaded["runtime_version"],
        precision=model.precision,
        file_bytes=len(model.content),
        load_us=loaded["load_us"],
        latency=Latency(
            loaded["first_call_us"], samples, loaded["calls_per_sample"], loaded["warm_up_calls"]
        ),
        memory=Memory(loaded["runtime_bytes"], loaded["model_bytes"], peak_bytes),
    )
