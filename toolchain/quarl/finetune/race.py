"""The race: short trainings at several rates, then a long one at the rate that did best.

In: the table and an assignment. Out: every candidate that is possible, the post-training one first.
Which rate suits depends on bits, network and start (a Nature CNN learns at 1e-4 with 4 bits and at
1.2e-3 with 2, a small tanh network with 2 bits at 2e-3), so it is measured and not guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from quarl.emitters import emit_tflite
from quarl.errors import QuantizationError
from quarl.finetune.assignment import Assignment, Outlook, Tell, Telling
from quarl.finetune.ceiling import input_ceiling
from quarl.finetune.learn import Judge, Learner, LearningError, Play, Schedule
from quarl.finetune.notebook import Notebook
from quarl.finetune.record import Candidate, Mark
from quarl.finetune.student import Student, settings_of
from quarl.finetune.table import Table, actor_of, share_of
from quarl.finetune.walk import Walk
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.ladder import LADDER, quantize_on_rung
from quarl.quantize.quantizer import quantize
from quarl.quantize.widths import Widths
from quarl.rollouts.actors import artifact_outputs

POST_TRAINING = "post-training"
PILOT_SHARE = 0.1  # of the time, of each short training


@dataclass
class Race:
    """Candidates as they come in."""

    table: Table
    assignment: Assignment
    notebook: Notebook
    tell: Tell
    entries: list[tuple[Candidate, QuantPolicy]] = field(default_factory=list)
    failed: list[Candidate] = field(default_factory=list)
    interrupted: bool = False
    ceiling: float | None = None  # agreement that the rounding of observations alone allows

    @property
    def widths(self) -> Widths:
        """Widths as they are learned, with what the assignment leaves open."""
        settings = settings_of(self.assignment.widths)
        inputs = None if self.table.is_image else settings.input_bits
        return replace(self.assignment.widths, activations=settings.hidden_bits, inputs=inputs)

    def run(self) -> None:
        """Run to the end, or to an interrupt.

        Raises:
            QuantizationError: no candidate is possible.
        """
        self._round()
        self._look_ahead()
        judge = self.table.judge()
        pilots: list[Learner] = []
        for name, schedule in self._pilots().items():
            learner = Learner(self._student(schedule), self.table.lessons, schedule)
            if self._train(name, learner, judge):
                pilots.append(learner)
            if self.interrupted:
                break
        if pilots and not self.interrupted:
            best = min(pilots, key=_error)
            learner = Learner(best.student, self.table.lessons, self._long(best.schedule))
            self._train("trained", learner, judge)
        if not self.entries:
            raise QuantizationError(
                "no integers of these widths are possible: "
                + "; ".join(f"{candidate.name}: {candidate.problem}" for candidate in self.failed)
            )

    def _round(self) -> None:
        """Enter the best that rounding gives at these widths and this cost."""
        settings = settings_of(self.assignment.widths)
        filled = replace(self.assignment.widths, activations=settings.hidden_bits)
        try:
            rounded = quantize_on_rung(
                self.table.policy, self.table.calibration, len(LADDER) - 1, filled
            )
        except QuantizationError as error:
            self._fail(POST_TRAINING, f"not possible: {error}")
            return
        outputs = artifact_outputs(rounded, emit_tflite(rounded))
        if self.table.env is not None:
            self.table.hold_out(outputs)
        self.entries.append((Candidate(POST_TRAINING, *self.table.judge()(outputs)), rounded))

    def _look_ahead(self) -> None:
        """Tell what these widths allow before anything is learned."""
        table, settings = self.table, settings_of(self.assignment.widths)
        found = input_ceiling(table.policy, table.calibration, settings, table.held)
        self.ceiling = None if found is None else share_of(found)
        rounded = self.entries[0][0] if self.entries else None
        self.tell(Outlook(self.widths, self.ceiling, rounded, len(table.lessons)))

    def _pilots(self) -> dict[str, Schedule]:
        scale, assignment = self.table.scale, self.assignment
        slow, fast = rates(assignment.widths, is_image=self.table.is_image)
        shared = Schedule(
            steps=max(1, round(PILOT_SHARE * (assignment.steps or scale.most_steps))),
            seconds=PILOT_SHARE * self._seconds(),
            batch=scale.batch,
            rounds=0,
            evaluations=4,
            seed=assignment.seed,
        )
        return {
            "fitted, slow": replace(shared, rate=slow, start="fitted"),
            "slow": replace(shared, rate=slow),
            "fast": replace(shared, rate=fast),
        }

    def _long(self, pilot: Schedule) -> Schedule:
        scale, steps = self.table.scale, self.assignment.steps
        share = 1 - PILOT_SHARE * len(self._pilots())
        return replace(
            pilot,
            steps=steps or scale.most_steps,
            seconds=share * self._seconds(),
            rounds=scale.rounds if self.table.env is not None else 0,
            round_observations=scale.round_observations,
            evaluations=24,
        )

    def _seconds(self) -> float:
        return math.inf if self.assignment.steps is not None else 60 * self.assignment.minutes

    def _student(self, schedule: Schedule) -> Student:
        table, settings = self.table, settings_of(self.assignment.widths)
        student = Student(table.policy, table.calibration, settings)
        if schedule.start == "fitted":
            fitted = replace(settings, data_rounding=True)
            student.start_from(quantize(table.policy, table.calibration, fitted, len(LADDER) - 1))
        return student

    def _train(self, name: str, learner: Learner, judge: Judge) -> bool:
        """Enter what the learner reaches; return whether it can go on learning."""
        self.notebook.recall(name, learner)
        walk = self.table.student_walk() if learner.schedule.rounds else None

        def told(mark: Mark) -> None:
            self.notebook.keep_lessons(self.table.lessons)
            self.notebook.keep(name, learner)
            played = None if walk is None else walk.mean_return
            self.tell(Telling(name, learner.done, mark, played))

        is_well = True
        try:
            learner.run(judge, None if walk is None else _play(walk, self.table.scale.every), told)
        except KeyboardInterrupt:
            if not self.assignment.keeps_best:
                raise
            self.interrupted = True
        except (LearningError, QuantizationError) as error:
            self._fail(name, str(error))
            is_well = False
        if learner.best is not None:
            error_found, made = learner.best
            agreement = max(mark.agreement for mark in learner.marks if mark.error == error_found)
            candidate = Candidate(name, error_found, agreement, curve=tuple(learner.marks))
            self.entries.append((candidate, made))
        return is_well

    def _fail(self, name: str, problem: str) -> None:
        self.failed.append(Candidate(name, 0.0, 0.0, problem=problem))


def rates(widths: Widths, *, is_image: bool) -> tuple[float, float]:
    """Return the slow and the fast rate: the coarser the steps of weights, the faster."""
    slow, fast = (1e-4, 4e-4) if is_image else (3e-4, 2e-3)
    if widths.weights >= 8:
        return slow, fast / 2
    return slow, 1.2e-3 if is_image and widths.weights < 4 else fast


def _error(learner: Learner) -> float:
    return math.inf if learner.best is None else learner.best[0]


def _play(walk: Walk, every: int) -> Play:
    return lambda integers, count: walk.observe(actor_of(integers), count, every)
