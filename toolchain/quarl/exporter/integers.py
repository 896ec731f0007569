"""The integers of an export: those of the source, of a training, of a rung that was named, or what
play chooses.

In: a source, a request and the observations. Out: `Integers`, one after the other where the gate
refuses what was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from quarl.bundle.limits import Limits
from quarl.bundle.rung_result import RungResult
from quarl.errors import InputError, ToolMissingError
from quarl.exporter.fixed import NothingToChooseError, fixed_rung, trained_rung
from quarl.exporter.request import ExportRequest, FinetuneRequest
from quarl.finetune.assignment import Assignment, Distilled
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import DEFAULT_RUNG
from quarl.quantize.thinning import thinned
from quarl.quantize.widths import INT8
from quarl.sources.source import Source
from quarl.workers.progress import Progress, Reporter

if TYPE_CHECKING:
    from quarl.exporter.choose_rung import Trials


@dataclass(frozen=True, slots=True)
class Integers:
    """What an export writes."""

    policy: QuantPolicy
    ladder: tuple[RungResult, ...] = ()  # what was measured on each rung that was tried
    trained: Distilled | None = None  # how they were trained, if they were


class IntegerChoice:
    """The integers of one source, and those that follow where the gate refuses them.

    Args:
        limits: what the gate will ask.
        first_share: of the error, for the first candidate that play chooses; 1: no other follows.
    """

    def __init__(
        self,
        source: Source,
        request: ExportRequest,
        limits: Limits,
        reporter: Reporter,
        first_share: float = 1.0,
    ) -> None:
        self._source, self._request, self._limits = source, request, limits
        self._reporter, self._first_share = reporter, first_share
        self._trials: Trials | None = None
        self._learned: list[Distilled] = []

    def first(
        self, observations: tuple[Calibration, Calibration], progress: Progress | None
    ) -> Integers:
        """Return the integers.

        Args:
            observations: calibration and held-out.
        """
        source, request, fitted = self._source, self._request, observations[0]
        policy = source.policy
        if isinstance(policy, QuantPolicy):
            _check_integers(source, request)
            return Integers(policy)
        observations = fitted, _ = thinned(policy, fitted), observations[1]
        if request.trained is not None:
            trained = request.trained.policy
            return Integers(trained, trained_rung(policy, fitted, trained), request.trained)
        if _keeps_integers(source, request):
            assert source.integers is not None
            self._reporter.line(
                f"{source.name} keeps the integers it was trained with: --rung N makes others"
            )
            return Integers(source.integers, trained_rung(policy, fitted, source.integers))
        if plays_to_choose(source, request):
            try:
                return self._chosen(policy, observations, progress)
            except NothingToChooseError as error:
                if request.calibration is None:
                    raise
                self._reporter.line(f"{error}; decisions on the observations given choose")
        rung = DEFAULT_RUNG if request.rung is None else request.rung
        quantized, ladder = fixed_rung(policy, fitted, rung, request.widths)
        self._reporter.line(ladder[-1].sentence())
        return Integers(quantized, ladder)

    def refuse(self, why: str) -> bool:
        """Take in that the gate refused the last integers; return whether others may follow."""
        return self._trials is not None and self._trials.refuse(why)

    def next(self, progress: Progress | None) -> Integers | None:
        """Return the integers that follow those that were refused; None: play holds no other."""
        assert self._trials is not None, "something was refused"
        quantized = self._trials.next(progress)
        if quantized is None:
            return None
        trained = next((one for one in self._learned if one.policy is quantized), None)
        return Integers(quantized, self._trials.results, trained)

    def _chosen(
        self,
        policy: Policy,
        observations: tuple[Calibration, Calibration],
        progress: Progress | None,
    ) -> Integers:
        """Return what play chooses; integers learn where no rung holds and the request allows
        it.
        """
        from quarl.exporter.choose_rung import Trials
        from quarl.exporter.weighing import Choice
        from quarl.rollouts.shares import Field

        request, (fitted, held) = self._request, observations
        assert self._source.env is not None
        choice = Choice(
            policy,
            fitted,
            Field(self._source.env, request.workers),
            self._limits,
            request.widths,
            held.obs,
            board=request.board,
            factor=request.cost,
        )
        if request.finetune is not None:
            choice = replace(choice, learn=partial(self._learn, fitted, request.finetune))
        self._trials = Trials(
            choice, lambda result: self._reporter.line(result.sentence()), self._first_share
        )
        found = self.next(progress)
        assert found is not None, "nothing was refused by the gate yet"
        return found

    def _learn(self, fitted: Calibration, assignment: Assignment) -> QuantPolicy:
        lesson = FinetuneRequest(
            assignment,
            self._request.runs,
            tell=lambda standing: self._reporter.line(standing.sentence()),
        )
        self._learned.append(learn(self._source, fitted, lesson, self._reporter))
        return self._learned[-1].policy


def plays_to_choose(source: Source, request: ExportRequest) -> bool:
    """Whether the rung is chosen by playing."""
    return (
        isinstance(source.policy, Policy)
        and request.trained is None
        and request.rung is None
        and source.env is not None
        and not _keeps_integers(source, request)
    )


def _keeps_integers(source: Source, request: ExportRequest) -> bool:
    """Whether integers that were trained with the policy are exported as they are."""
    return source.integers is not None and request.rung is None and request.widths == INT8


def _check_integers(source: Source, request: ExportRequest) -> None:
    if request.rung is None and request.widths == INT8:
        return
    rung = request.rung
    option = f"--rung {rung}" if rung is not None else request.widths.sentence()
    raise InputError(
        f"{option}: {source.file.name} holds integers already, which are exported as they "
        "are: omit the option"
    )


def learn(
    source: Source, fitted: Calibration, request: FinetuneRequest, reporter: Reporter
) -> Distilled:
    """Return integers that were trained to decide as the source does."""
    from quarl.finetune.distil import distil, open_notebook

    policy, assignment = source.policy, request.assignment
    assert isinstance(policy, Policy)
    notebook = open_notebook(
        source.name, policy, source.env, assignment, request.runs, resume=request.resume
    )
    trained = distil(policy, source.env, fitted, assignment, notebook, request.tell)
    for line in trained.record.sentences():
        reporter.line(line)
    return trained


def require_torch() -> None:
    """Check that integers can learn here.

    Raises:
        ToolMissingError: torch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"finetuning needs the Python package {error.name}: pip install quarl[sb3]"
        ) from error


def check_finetune(source: Source, request: ExportRequest) -> None:
    """Check that integers may learn where the request says so.

    Raises:
        InputError: play does not choose the rung.
        ToolMissingError: torch is not installed.
    """
    if request.finetune is None:
        return
    if not plays_to_choose(source, request):
        raise InputError(
            f"--finetune {request.finetune.minutes:g}: integers learn where play chooses the rung: "
            "use --rung auto and a float policy with its environment (--env ID), or quarl finetune"
        )
    require_torch()
