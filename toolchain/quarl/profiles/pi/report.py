"""The profile of a policy on a Pi: what `pi.json` in a bundle holds.

In: what the agent answered. Out: a `PiProfile`, with raw samples where a clock measured, or
instruction counts where an emulator ran.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quarl.files.documents import Document, decode, encode
from quarl.links.pi import Mark
from quarl.links.pi_machine import Machine
from quarl.pi import agent
from quarl.profiles.figure import Figure
from quarl.profiles.host import Latency, Precision
from quarl.profiles.pi.health import Health
from quarl.profiles.workload import Subject

DOCUMENT = Document("a profile of a Pi", 2, "run quarl profile BUNDLE --board NAME again")
PROGRAM = "c"
# the median of a run under Python differs by up to 0.5 % from another's; the C program's never
PYTHON_NOISE = 0.01
OTHER_ARITHMETIC = ("tflite_runtime",)  # runtimes that round otherwise: decision 0001


@dataclass(frozen=True, slots=True)
class Instructions:
    """Instructions of each inference, exact, emulated: from input in to output out, and of the
    runtime's `invoke` alone.
    """

    per_inference: tuple[int, ...]
    of_invoke: tuple[int, ...]

    @property
    def typical(self) -> int:
        """The median of whole inferences."""
        return int(statistics.median(self.per_inference))

    @property
    def typical_invoke(self) -> int:
        """The median of `invoke` alone."""
        return int(statistics.median(self.of_invoke))


@dataclass(frozen=True, slots=True)
class PiMemory:
    """Memory of a process that holds one model: what loading it and its first call added, and the
    most there ever was.
    """

    runtime_bytes: int  # resident before the model is loaded: Python, NumPy and the runtime
    model_bytes: int  # resident, added
    model_proportional_bytes: (
        int | None
    )  # added; pages that others hold too counted by share. None where the kernel does not tell
    peak_bytes: int  # resident
    swapped_bytes: int | None  # of the process, after the first call


@dataclass(frozen=True, slots=True)
class PiModel:
    """One model in one runtime on the Pi. What was not taken is None: times under emulation,
    instructions on a real one.
    """

    runtime: str
    runtime_version: str
    precision: Precision
    file_bytes: int
    observations: int  # compared with the integer reference; 0 for float32
    differing: int  # outputs that differ
    outputs_sha256: str
    expected_sha256: str
    load_us: float | None
    latency: Latency | None
    decision: Latency | None  # from a raw observation to the action: quantise, infer, act
    memory: PiMemory | None
    major_faults: int | None  # while it was timed
    before: Health | None
    after: Health | None
    instructions: Instructions | None
    # in the graph's own unit: steps of an integer output, real units of a wide head
    largest_difference: float = 0.0


@dataclass(frozen=True, slots=True)
class PiProfile:
    """What was found on one Pi. `kind` is the kind of its figures; an emulated one has no times."""

    subject: Subject
    board: str
    link: Literal["local", "emulated", "ssh"]
    kind: Literal["measured", "emulated"]
    machine: Machine
    contract_sha256: str
    step_hz: float | None
    multiply_accumulates: int
    models: tuple[PiModel, ...]
    remarks: tuple[str, ...]

    def model(self, runtime: str, precision: Precision) -> PiModel | None:
        """Return one model's figures, None where it was not run."""
        return next(
            (
                model
                for model in self.models
                if (model.runtime, model.precision) == (runtime, precision)
            ),
            None,
        )

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures a budget may limit, of the int8 models; `pi_decision_us` is the worst
        decision of the fastest runtime.
        """
        found = []
        for model in self.models:
            if model.precision != "int8":
                continue
            name, where = f"pi_{model.runtime}", self.machine.model or self.board
            if model.latency is not None:
                times = {
                    "p50": model.latency.p50_us,
                    "p99": model.latency.p99_us,
                    "max": model.latency.max_us,
                }
                found += [
                    Figure(f"{name}_{key}_us", value, "us", "measured", 0.0, where)
                    for key, value in times.items()
                ]
            if model.memory is not None:
                found.append(
                    Figure(
                        f"{name}_model_memory_bytes",
                        float(model.memory.model_bytes),
                        "B",
                        "measured",
                        0.0,
                        where,
                    )
                )
            if model.instructions is not None:
                noise = 0.0 if model.runtime == PROGRAM else PYTHON_NOISE
                found.append(
                    Figure(
                        f"{name}_instructions",
                        float(model.instructions.typical),
                        "",
                        "emulated",
                        noise,
                        self.board,
                    )
                )
        fastest = self.fastest
        if fastest is not None and fastest.decision is not None:
            found.append(
                Figure(
                    "pi_decision_us",
                    fastest.decision.max_us,
                    "us",
                    "measured",
                    0.0,
                    self.machine.model or self.board,
                )
            )
        return tuple(found)

    @property
    def fastest(self) -> PiModel | None:
        """The int8 model whose median decision is the shortest, None where nothing was timed."""
        timed = [
            model
            for model in self.models
            if model.precision == "int8" and model.decision is not None
        ]
        return min(
            timed, key=lambda model: model.decision.p50_us if model.decision else 0.0, default=None
        )

    def sentences(self) -> tuple[str, ...]:
        """Return what the figures say in words: int8 against float32, the deadline, then the
        remarks.
        """
        return (*self._comparisons(), *self._deadline(), *self._other_arithmetic(), *self.remarks)

    def _comparisons(self) -> Sequence[str]:
        found = []
        for model in self.models:
            real = self.model(model.runtime, "float32")
            if model.precision != "int8" or real is None:
                continue
            if model.latency is not None and real.latency is not None:
                ratio, what = (
                    real.latency.p50_us / model.latency.p50_us,
                    f"{model.latency.p50_us:,.1f} us against {real.latency.p50_us:,.1f} us",
                )
                found.append(f"{model.runtime}: {_faster(ratio)} ({what})")
            elif model.instructions is not None and real.instructions is not None:
                ours, theirs = model.instructions.typical, real.instructions.typical
                fewer = "fewer" if ours < theirs else "no fewer"
                found.append(
                    f"{model.runtime}: int8 executes {fewer} instructions than float32 "
                    f"({ours:,} against {theirs:,}, emulated)"
                )
        return found

    def _deadline(self) -> Sequence[str]:
        fastest = self.fastest
        if self.step_hz is None or fastest is None or fastest.decision is None:
            return []
        worst, period = fastest.decision.max_us, 1e6 / self.step_hz
        margin = f"{period / worst:,.1f} times shorter than" if worst <= period else "LONGER than"
        return [
            f"worst decision {worst:,.1f} us ({fastest.runtime}): {margin} the control period "
            f"of {period:,.0f} us ({self.step_hz:g} Hz)"
        ]

    def _other_arithmetic(self) -> Sequence[str]:
        others = [
            model
            for model in self.models
            if model.runtime in OTHER_ARITHMETIC and model.precision == "int8"
        ]
        return [
            f"{model.runtime} {model.runtime_version} computes by another arithmetic: "
            f"{model.differing:,} of its outputs differ from the "
            f"reference, the largest by {model.largest_difference:.3g} in the graph's own "
            "unit; no gate asks it for equality"
            for model in others
        ]

    def to_json(self) -> bytes:
        """Return canonical JSON."""
        return encode(self, DOCUMENT)


def pi_profile_from(data: bytes, where: str) -> PiProfile:
    """Return the profile written by `to_json`; `where` names the file in messages.

    Raises:
        InputError: it is not one, or of another format.
    """
    return decode(PiProfile, data, where, DOCUMENT)


def health_from(table: Mapping[str, Any] | None) -> Health | None:
    """Return the look a table describes."""
    return None if table is None else Health(**table)


def instructions_from(marks: Sequence[Mark]) -> Instructions:
    """Return the instructions between marks, less what the marks themselves cost.

    Raises:
        ValueError: the marks do not come in the agent's order.
    """
    empty = statistics.median(_between(marks, agent.EMPTY_BEGIN, agent.EMPTY_END))
    whole, invoke = (
        _between(marks, agent.BEGIN, agent.END),
        _between(marks, agent.BEGIN_INVOKE, agent.END_INVOKE),
    )
    inner = (
        3 if len(invoke) == len(whole) else 1
    )  # marks passed between the first and the last of one inference
    return Instructions(
        tuple(max(int(count - inner * empty), 0) for count in whole),
        tuple(max(int(count - empty), 0) for count in (invoke if inner == 3 else whole)),
    )


def _between(marks: Sequence[Mark], begin: int, end: int) -> list[int]:
    begins, ends = ([count for code, count in marks if code == wanted] for wanted in (begin, end))
    if not begins and code_is_optional(begin):
        return []
    if not begins or len(begins) != len(ends):
        raise ValueError(f"{len(begins)} marks {begin} and {len(ends)} marks {end}")
    return [after - before for before, after in zip(begins, ends, strict=True)]


def code_is_optional(code: int) -> bool:
    """Whether a program may leave out that mark: one without an interpreter has no `invoke` of its
    own.
    """
    return code == agent.BEGIN_INVOKE


def _faster(ratio: float) -> str:
    if ratio >= 1.05:
        return f"int8 is {ratio:.2f} times as fast as float32"
    return (
        "int8 is not faster than float32"
        if ratio > 1 / 1.05
        else f"int8 is slower than float32, {1 / ratio:.2f} times the time"
    )
