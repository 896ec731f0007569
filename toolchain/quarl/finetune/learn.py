"""Learning: a student comes to decide as its source does, on lessons that its own play adds to.

In: a student and lessons. Out: its best integers so far, by their decisions on held-out
observations. Adam on a rate that falls along a cosine; after each part of the time the student
plays, and its source says what it would have done there (DAgger, Ross et al., arXiv 1011.0686).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from quarl.errors import QuarlError
from quarl.finetune.lessons import Deck, Lessons
from quarl.finetune.losses import loss_of
from quarl.finetune.record import Mark
from quarl.finetune.student import Student
from quarl.graph.quant_policy import QuantPolicy
from quarl.rollouts.actors import Outputs

PROJECT_EVERY = 25  # steps between two checks of the limits of the arithmetic
SMOOTHING = 0.99  # of the loss that is shown
LEAST_RATE = 0.01  # share of the rate at the end
WARM_UP = 0.03  # share of the schedule in which the rate rises: Adam's first steps are all of it


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast; rates are in the relative units of the parameters, where 1 is a row's
    largest weight.
    """

    steps: int = 6_000
    seconds: float = math.inf  # learning stops at whichever comes first
    batch: int = 256
    rate: float = 2e-3
    start: Literal["float", "fitted"] = "float"  # fitted: the post-training candidate's weights
    rounds: int = 6  # times that the student plays
    round_observations: int = 5_000
    evaluations: int = 24
    seed: int = 0


Judge = Callable[[Outputs], tuple[float, float]]
"""What maps observations to outputs -> decision error and agreement on the held-out ones."""
Play = Callable[[QuantPolicy, int], NDArray[Any]]
"""Integers and a number -> so many observations of their own play."""


class LearningError(QuarlError):
    """A student that cannot go on learning; what it had reached stays."""


class Learner:
    """One student on its way; `best` is what it exported when it decided best."""

    def __init__(
        self,
        student: Student,
        lessons: Lessons,
        schedule: Schedule,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self.student, self.lessons, self.schedule = student, lessons, schedule
        self.rng = np.random.default_rng(schedule.seed)
        self.deck = Deck(student.offsets, self.rng)
        steps = [p for name, p in student.named_parameters() if _is_step(name) and p.requires_grad]
        others = [p for name, p in student.named_parameters() if not _is_step(name)]
        self.optimizer = torch.optim.Adam(
            [{"params": others}, {"params": steps}], schedule.rate, fused=True
        )
        self.step, self.seconds = 0, 0.0
        self.loss = math.nan
        self.best: tuple[float, QuantPolicy] | None = None
        self.marks: list[Mark] = []

    @property
    def done(self) -> float:
        """Share of the schedule that is done, 0..1."""
        by_time = self.seconds / self.schedule.seconds
        return min(1.0, max(self.step / self.schedule.steps, by_time))

    def run(self, judge: Judge, play: Play | None, tell: Callable[[Mark], None]) -> None:
        """Learn to the end of the schedule; what was best stays when it is interrupted."""
        policy, contract = self.student.policy, self.student.policy.contract
        loss_function = loss_of(
            contract.action,
            policy.algorithm,
            torch.from_numpy(self.lessons.all_outputs()),
            is_image=contract.observation.is_image,
        )
        rounds = self._reached(self.schedule.rounds + 1)
        judged = self._reached(self.schedule.evaluations)
        began = self._clock() - self.seconds
        if not self.marks:
            self._judge(judge, tell)
        while self.done < 1:
            if play is not None and self._reached(self.schedule.rounds + 1) > rounds:
                rounds += 1
                self.student.project()
                self.lessons.add(play(self.student.export(), self.schedule.round_observations))
            self.deck.refresh(self.lessons)
            self._descend(loss_function)
            self.seconds = self._clock() - began
            if self._reached(self.schedule.evaluations) > judged:
                judged = self._reached(self.schedule.evaluations)
                self._judge(judge, tell)

    def _reached(self, parts: int) -> int:
        """Return how many of so many equal parts of the schedule are done."""
        return math.floor(self.done * parts)

    def state(self) -> dict[str, Any]:
        """Return all that a later call goes on from, as tensors and plain numbers."""
        return {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "marks": [astuple(mark) for mark in self.marks],
        }

    def go_on(self, state: dict[str, Any], best: tuple[float, QuantPolicy]) -> None:
        """Continue where `state` was taken; batches are dealt anew."""
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.loss = state["step"], state["seconds"], state["loss"]
        self.marks = [Mark(*values) for values in state["marks"]]
        self.best = best
        self.rng = np.random.default_rng((self.schedule.seed, self.step))
        self.deck = Deck(self.student.offsets, self.rng)

    def _descend(self, loss_function: Callable[[Any, Any], Any]) -> None:
        rate = self.schedule.rate * rate_share(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        inputs, wanted = self.deck.deal(self.schedule.batch)
        loss = loss_function(self.student(inputs), wanted)
        value = float(loss.item())
        if not math.isfinite(value):
            raise LearningError(
                f"the loss is {value} after {self.step} steps: learn more slowly, or with more bits"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        if self.step % PROJECT_EVERY == 0:
            self.student.project()
        self.loss = value if self.step == 1 else SMOOTHING * self.loss + (1 - SMOOTHING) * value

    def _judge(self, judge: Judge, tell: Callable[[Mark], None]) -> None:
        self.student.project()
        made = self.student.export()
        error, agreement = judge(self.student.outputs)
        if self.best is None or error < self.best[0]:
            self.best = error, made
        self.marks.append(Mark(self.step, self.seconds, self.loss, error, agreement))
        tell(self.marks[-1])


def rate_share(done: float) -> float:
    """Return the share of the rate at a share of the schedule: it rises, then falls along a
    cosine.
    """
    falling = max(LEAST_RATE, 0.5 * (1 + math.cos(math.pi * done)))
    return falling * min(1.0, done / WARM_UP + LEAST_RATE)


def _is_step(name: str) -> bool:
    return name.endswith("log")
