"""Policies under several quantisers, beside each other: what each keeps, and what it costs.

In: sources, methods, widths, rungs, boards. Out: one `Row` per policy and candidate. All candidates
of a policy play the same episodes as their float source, which plays them once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from quarl.boards.microcontroller import Board
from quarl.emitters import emit_float_onnx, emit_tflite
from quarl.errors import BudgetError, InputError, QuarlError
from quarl.exporter.choose_rung import choose_rung
from quarl.exporter.export import ExportRequest, limits_of
from quarl.exporter.weighing import Choice
from quarl.files.tables import did_you_mean
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.firmware.source_tree import write_source_tree
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.profiles.emulated import profile_emulated
from quarl.profiles.workload import Workload
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import DEFAULT_RUNG, quantize_on_rung
from quarl.quantize.widths import INT8, Widths
from quarl.resources import default_cache_dir
from quarl.rollouts.actors import Outputs, artifact_outputs, float_outputs, source_actor
from quarl.rollouts.episodes import Episodes, run_episodes
from quarl.rollouts.shares import Field
from quarl.sources.observations import observations_of
from quarl.sources.source import Source
from quarl.stats.resampling import paired_change
from quarl.stats.seeds import PARITY_SEED
from quarl.study.run_cell import agreement_share

CompareMethod: TypeAlias = Literal["float", "quarl", "tflite", "ort"]
METHODS = get_args(CompareMethod)
OTHERS = ("tflite", "ort")  # standard converters: 8 bits, no rungs
IMAGES = 200  # held-out observations that are compared, of pixels
TIMED_CALLS, WARM_UP_CALLS = 200, 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to quantise."""

    method: CompareMethod
    widths: Widths = INT8
    rung: int | None = None  # of method quarl; None: play chooses, as quarl ship does


@dataclass(frozen=True, slots=True)
class Grid:
    """What is compared, and on how many paired episodes."""

    methods: tuple[CompareMethod, ...] = ("float", "quarl", "tflite", "ort")
    weights: tuple[Widths, ...] = (INT8,)
    rungs: tuple[int | None, ...] = (DEFAULT_RUNG,)
    boards: tuple[Board, ...] = ()
    episodes: int = 100

    def candidates(self) -> list[Candidate]:
        """Return the candidates in the order of the table."""
        found: list[Candidate] = []
        for method in self.methods:
            if method == "quarl":
                found += [Candidate(method, w, r) for w in self.weights for r in self.rungs]
            else:
                found.append(Candidate(method))
        return found


@dataclass(frozen=True, slots=True)
class OnBoard:
    """What a candidate needs on one board, by an emulator; `reason` says why there is nothing."""

    board: str
    latency_us: tuple[float, float, float] | None = None  # estimated: low, mid, high
    instructions: int | None = None  # emulated
    flash_bytes: int | None = None  # exact
    ram_bytes: int | None = None  # exact, with the deepest stack seen
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One policy under one candidate; where `problem` is not empty the rest is not known."""

    policy: str
    method: CompareMethod
    weights: str
    rung: int | None
    episodes: int = 0
    source_return: float | None = None
    mean_return: float | None = None
    loss_percent: float | None = None  # of |source_return|; negative is a gain
    loss_low: float | None = None  # its 95 % interval, pairs of episodes resampled
    loss_high: float | None = None
    agreement: float | None = None  # share of equal actions, or 1 - mean error / range
    model_bytes: int = 0  # of the .tflite or .onnx file, whose weights have 8 bits or more
    packed_bytes: int | None = None  # of the parameters in C; of the method quarl
    latency_us: float | None = None  # measured on this host: median of one decision
    boards: tuple[OnBoard, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    data: bytes
    outputs: Outputs
    quantized: QuantPolicy | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A policy with what all its candidates share."""

    source: Source
    policy: Policy
    fitted: Calibration
    obs: NDArray[Any]  # held out, environment units
    seeds: range
    base: Episodes | None  # None: no environment


def methods_named(text: str) -> tuple[CompareMethod, ...]:
    """Return the methods of a list with commas.

    Raises:
        InputError: one is unknown; names the closest.
    """
    found: list[CompareMethod] = []
    for word in text.split(","):
        match = next((method for method in METHODS if method == word), None)
        if match is None:
            raise InputError(
                f"--methods {word}: allowed are {', '.join(METHODS)}{did_you_mean(word, METHODS)}"
            )
        found.append(match)
    return tuple(dict.fromkeys(found))


def compare_source(source: Source, grid: Grid) -> list[Row]:
    """Return the rows of one policy, in the order of the grid's candidates.

    Raises:
        InputError: the policy holds integers already, or has neither an environment nor
            observations.
    """
    return list(compared(source, grid))


def compared(source: Source, grid: Grid) -> Iterator[Row]:
    """Yield the rows as they are computed; errors as `compare_source`."""
    policy = source.policy
    if not isinstance(policy, Policy):
        raise InputError(f"{source.name} holds integers already: compare its float source")
    fitted, held = observations_of(source, None)
    is_image = policy.contract.observation.is_image
    seeds = range(PARITY_SEED, PARITY_SEED + grid.episodes)
    base = None if source.env is None else run_episodes(source.env, source_actor(policy), seeds)
    obs = held.obs[:IMAGES] if is_image else held.obs
    subject = _Subject(source, policy, fitted, obs, seeds, base)
    for candidate in grid.candidates():
        yield _row(subject, candidate, grid.boards)


def _row(subject: _Subject, candidate: Candidate, boards: Sequence[Board]) -> Row:
    blank = Row(
        subject.source.name,
        candidate.method,
        "float32" if candidate.method == "float" else candidate.widths.name,
        candidate.rung,
    )
    try:
        return _measured(subject, candidate, blank, boards)
    except QuarlError as error:
        return replace(blank, problem=str(error).partition("\n")[0])


def _measured(subject: _Subject, candidate: Candidate, blank: Row, boards: Sequence[Board]) -> Row:
    policy, obs = subject.policy, subject.obs
    model = _model(subject, candidate)
    row = replace(
        blank,
        rung=None if model.quantized is None else model.quantized.rung,
        agreement=agreement_share(policy, float_outputs(policy)(obs), model.outputs(obs)),
        model_bytes=len(model.data),
        latency_us=_median_us(model.outputs, obs),
    )
    if subject.base is not None:
        row = _with_returns(row, subject, candidate, model)
    quantized = model.quantized
    if quantized is None:
        return row
    row = replace(row, packed_bytes=quantized.parameter_bytes)
    return replace(row, boards=tuple(_on_board(quantized, board, obs[:2]) for board in boards))


def _with_returns(row: Row, subject: _Subject, candidate: Candidate, model: _Model) -> Row:
    base, env, decode = subject.base, subject.source.env, subject.policy.contract.action.decode
    assert base is not None
    assert env is not None
    if candidate.method == "float":
        played = base
    else:
        played = run_episodes(env, lambda seen: decode(model.outputs(seen)), subject.seeds)
    change = paired_change(base.returns, played.returns)
    return replace(
        row,
        episodes=len(subject.seeds),
        source_return=float(base.returns.mean()),
        mean_return=float(played.returns.mean()),
        loss_percent=change.percent,
        loss_low=change.low,
        loss_high=change.high,
    )


def _model(subject: _Subject, candidate: Candidate) -> _Model:
    from quarl.study import peers  # imports converters where they are used

    policy, calibration = subject.policy, subject.fitted.obs
    match candidate.method:
        case "float":
            return _Model(emit_float_onnx(policy), float_outputs(policy))
        case "tflite":
            data = peers.tflite_converter(policy, calibration)
            return _Model(data, peers.tflite_outputs(policy, data))
        case "ort":
            data = peers.quantize_static(policy, calibration)
            return _Model(data, peers.onnx_outputs(policy, data))
        case "quarl":
            quantized = _quantized(subject, candidate)
            data = emit_tflite(quantized)
            return _Model(data, artifact_outputs(quantized, data), quantized)


def _quantized(subject: _Subject, candidate: Candidate) -> QuantPolicy:
    source, policy, widths = subject.source, subject.policy, candidate.widths
    if candidate.rung is not None:
        return quantize_on_rung(policy, subject.fitted, candidate.rung, widths)
    if source.env is None:
        raise InputError("--rungs auto plays to choose: add --env ID, or name rungs")
    limits = limits_of(source, ExportRequest(widths=widths))
    choice = Choice(policy, subject.fitted, Field(source.env), limits, widths, subject.obs)
    return choose_rung(choice)[0]


def _median_us(outputs: Outputs, obs: NDArray[Any]) -> float:
    """Return the median time of one decision on this host, every call with another observation."""
    times = []
    for call in range(WARM_UP_CALLS + TIMED_CALLS):
        row = obs[call % len(obs)][None]
        begin = time.perf_counter_ns()
        outputs(row)
        times.append(time.perf_counter_ns() - begin)
    return float(np.median(times[WARM_UP_CALLS:])) / 1e3


def _on_board(quantized: QuantPolicy, board: Board, obs: NDArray[Any]) -> OnBoard:
    try:
        tree = write_source_tree(quantized, board, obs, DEFAULT_PREFIX)
        workload = Workload(quantized, None, obs, {}, tree)
        profile = profile_emulated(workload, board, default_cache_dir())
    except BudgetError as error:
        return OnBoard(board.name, reason=str(error).partition("\n")[0])
    counted = profile.act_instructions
    return OnBoard(
        board.name,
        latency_us=profile.latency_us,
        instructions=profile.instructions if counted is None else counted,
        flash_bytes=profile.flash_bytes,
        ram_bytes=profile.ram_bytes + (profile.stack_bytes or 0),
    )
