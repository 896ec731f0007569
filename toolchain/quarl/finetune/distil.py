"""Distillation: from a float policy to integers that were trained to decide as it does.

In: a policy, its environment or observations of its play, and the widths. Out: the integers that
decide best on held-out observations and play no worse, the best post-training ones among them, with
a record of everything that was tried. No reward is needed: the float source says what is right.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quarl.emitters import emit_tflite
from quarl.errors import QuantizationError
from quarl.evidence.agreement import DiscreteAgreement
from quarl.finetune.assignment import Assignment, Distilled, Tell, Telling
from quarl.finetune.ceiling import compare_outputs, input_ceiling
from quarl.finetune.learn import Judge, Learner, LearningError, Play, Schedule
from quarl.finetune.lessons import Lessons
from quarl.finetune.notebook import Notebook
from quarl.finetune.record import Candidate, Mark, Record
from quarl.finetune.student import Student, settings_of
from quarl.finetune.walk import Walk
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import LADDER, decision_loss, quantize_on_rung
from quarl.quantize.quantizer import quantize
from quarl.quantize.widths import Widths
from quarl.rollouts.actors import Actor, Outputs, artifact_outputs, float_outputs, source_actor
from quarl.rollouts.episodes import Episodes, run_episodes
from quarl.rollouts.vector_env import EnvSpec
from quarl.seeds import LESSON_HELDOUT_SEED, LESSON_SEED, SELECTION_SEED

POST_TRAINING = "post-training"
STUDENT_SEEDS = 500_000  # after those of the source's own lessons
FEW_OBSERVATIONS = 20_000  # below it a student learns the observations by heart
CHECKED = {True: 64, False: 5_000}  # observations, of images and of vectors
NEAR = 1.0  # standard errors below the best return from which a candidate no longer plays as well


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is played and learned from; images are large, their networks slow."""

    lanes: int
    source_observations: int
    round_observations: int
    held_observations: int
    every: int  # step of a lane that is kept
    rounds: int
    batch: int
    most_steps: int
    episodes: int  # that choose among the candidates


VECTORS = Scale(32, 20_000, 7_000, 4_000, 1, 6, 256, 12_000, 100)
IMAGES = Scale(12, 6_000, 2_500, 1_000, 3, 4, 64, 6_000, 12)


@dataclass
class _Table:
    """What everybody who learns shares."""

    policy: Policy
    env: EnvSpec | None
    calibration: Calibration
    scale: Scale
    lessons: Lessons
    held: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    walks: list[Walk] = field(default_factory=list)


def distil(
    policy: Policy,
    env: EnvSpec | None,
    calibration: Calibration,
    assignment: Assignment,
    notebook: Notebook,
    tell: Tell = lambda telling: None,
) -> Distilled:
    """Return the best integers of these widths that training or rounding gives.

    Args:
        env: None: learned from the calibration's observations alone.
        notebook: what was begun there is continued.
    Raises:
        InputError: the environment cannot be played, or there is too little to learn from.
        QuantizationError: no candidate of these widths can be had.
    """
    torch.set_num_threads(1)
    torch.manual_seed(assignment.seed)
    began = time.perf_counter()
    table = _gather(policy, env, calibration, notebook)
    try:
        candidates, record = _race(table, assignment, notebook, tell)
        return _choose(table, candidates, replace(record, seconds=time.perf_counter() - began))
    finally:
        for walk in table.walks:
            walk.close()


def task_of(policy: Policy, env: EnvSpec | None, assignment: Assignment) -> dict[str, Any]:
    """Return what a notebook belongs to."""
    return {
        "source": policy.source_sha256,
        "contract": policy.contract.digest,
        "env": None if env is None else [env.id, dict(env.kwargs)],
        "widths": asdict(assignment.widths),
        "seed": assignment.seed,
    }


def _gather(
    policy: Policy, env: EnvSpec | None, calibration: Calibration, notebook: Notebook
) -> _Table:
    """Return the lessons of the source's own play and held-out observations."""
    scale = IMAGES if policy.contract.observation.is_image else VECTORS
    table = _Table(policy, env, calibration, scale, Lessons.of(policy))
    for part in notebook.lessons():
        table.lessons.add(part)
    if env is None:
        held = max(1, len(calibration.obs) // 10)
        table.held = calibration.obs[-held:]
        if not len(table.lessons):
            table.lessons.add(calibration.obs[:-held])
        return table
    source = source_actor(policy)
    if not len(table.lessons):
        walk = Walk(env, scale.lanes, LESSON_SEED)
        table.lessons.add(walk.observe(source, scale.source_observations, scale.every))
        walk.close()
        notebook.keep_lessons(table.lessons)
    walk = Walk(env, scale.lanes, LESSON_HELDOUT_SEED)
    table.held = walk.observe(source, scale.held_observations // 2, scale.every)
    walk.close()
    return table


def _race(
    table: _Table, assignment: Assignment, notebook: Notebook, tell: Tell
) -> tuple[list[tuple[Candidate, QuantPolicy]], Record]:
    """Return the candidates that can be had, and the record so far."""
    policy, settings = table.policy, settings_of(assignment.widths)
    filled = replace(assignment.widths, activations=settings.hidden_bits)
    entries: list[tuple[Candidate, QuantPolicy]] = []
    failed: list[Candidate] = []
    judge = _judge(table)
    try:
        rounded = quantize_on_rung(policy, table.calibration, len(LADDER) - 1, filled)
        outputs = artifact_outputs(rounded, emit_tflite(rounded))
        if table.env is not None:
            _hold_out(table, rounded, outputs)
            judge = _judge(table)
        entries.append((Candidate(POST_TRAINING, *judge(outputs)), rounded))
    except QuantizationError as error:
        failed.append(Candidate(POST_TRAINING, 0.0, 0.0, problem=f"cannot be had: {error}"))
    interrupted = False
    for name, schedule in _schedules(table.scale, assignment).items():
        student = _student(table, assignment.widths, schedule)
        learner = Learner(student, table.lessons, schedule)
        notebook.recall(name, learner)
        try:
            _learn(table, learner, name, notebook, judge, tell)
        except KeyboardInterrupt:
            interrupted = True
        except LearningError as error:
            failed.append(Candidate(name, 0.0, 0.0, problem=str(error)))
        if learner.best is not None:
            error_found, made = learner.best
            agreement = max(mark.agreement for mark in learner.marks if mark.error == error_found)
            curve = tuple(learner.marks)
            entries.append((Candidate(name, error_found, agreement, curve=curve), made))
        if interrupted:
            break
    if not entries:
        raise QuantizationError(
            "no integers of these widths can be had: "
            + "; ".join(f"{candidate.name}: {candidate.problem}" for candidate in failed)
        )
    ceiling = input_ceiling(policy, table.calibration, settings, table.held)
    record = Record(
        widths=assignment.widths,
        seed=assignment.seed,
        observations=len(table.lessons),
        env_steps=sum(walk.steps for walk in table.walks),
        seconds=0.0,
        ceiling=None if ceiling is None else _share(ceiling),
        source_return=None,
        episodes=0,
        candidates=tuple(failed),
        chosen="",
        differing=0,
        compared=0,
        interrupted=interrupted,
    )
    return entries, record


def _schedules(scale: Scale, assignment: Assignment) -> dict[str, Schedule]:
    """Return the trainings that run, by name: fast ones suit few bits, slow ones many."""
    seconds = float("inf") if assignment.steps is not None else 60 * assignment.minutes
    shared = Schedule(
        steps=assignment.steps or scale.most_steps,
        batch=scale.batch,
        rounds=scale.rounds,
        round_observations=scale.round_observations,
        seed=assignment.seed,
    )
    if assignment.widths.weights < 8:
        return {
            "trained": replace(shared, seconds=0.6 * seconds, rate=2e-3),
            "trained slowly": replace(shared, seconds=0.4 * seconds, rate=5e-4, rounds=0),
        }
    return {
        "trained": replace(shared, seconds=0.5 * seconds, rate=1e-3),
        "trained slowly": replace(
            shared, seconds=0.5 * seconds, rate=3e-4, start="fitted", rounds=0
        ),
    }


def _student(table: _Table, widths: Widths, schedule: Schedule) -> Student:
    settings = settings_of(widths)
    student = Student(table.policy, table.calibration, settings)
    if schedule.start == "fitted":
        fitted = replace(settings, data_rounding=True)
        student.start_from(quantize(table.policy, table.calibration, fitted, len(LADDER) - 1))
    return student


def _learn(
    table: _Table,
    learner: Learner,
    name: str,
    notebook: Notebook,
    judge: Judge,
    tell: Tell,
) -> None:
    env, scale = table.env, table.scale
    walk: Walk | None = None
    play: Play | None = None
    if env is not None:
        first = LESSON_SEED + STUDENT_SEEDS + 1_000 * len(table.lessons.obs)
        walk = Walk(env, scale.lanes, first)
        table.walks.append(walk)
        play = _play(walk, scale.every)

    def told(mark: Mark) -> None:
        notebook.keep_lessons(table.lessons)
        notebook.keep(name, learner)
        tell(Telling(name, learner.done, mark, None if walk is None else walk.mean_return))

    learner.run(judge, play, told)


def _play(walk: Walk, every: int) -> Play:
    def play(integers: QuantPolicy, count: int) -> NDArray[Any]:
        return walk.observe(actor_of(integers), count, every)

    return play


def actor_of(integers: QuantPolicy) -> Actor:
    """Return the integers as LiteRT plays them; they do not depend on the batch."""
    outputs, decode = artifact_outputs(integers, emit_tflite(integers)), integers.contract.action
    return lambda obs: decode.decode(outputs(obs))


def _hold_out(table: _Table, rounded: QuantPolicy, outputs: Outputs) -> None:
    """Add observations of the post-training candidate's play: a student errs there too."""
    assert table.env is not None
    scale, decode = table.scale, rounded.contract.action.decode
    walk = Walk(table.env, scale.lanes, LESSON_HELDOUT_SEED + STUDENT_SEEDS)
    met = walk.observe(lambda obs: decode(outputs(obs)), scale.held_observations // 2, scale.every)
    walk.close()
    table.held = np.concatenate([table.held, met])


def _judge(table: _Table) -> Judge:
    policy, held = table.policy, table.held
    wanted = float_outputs(policy)(held)

    def judge(outputs: Outputs) -> tuple[float, float]:
        made = outputs(held)
        error = decision_loss(policy.contract.action, wanted, made)
        return error, _share(compare_outputs(policy, wanted, made))

    return judge


def _share(agreement: Any) -> float:
    if isinstance(agreement, DiscreteAgreement):
        return agreement.agreement
    share = agreement.mean_share
    return float("nan") if share is None else 1.0 - float(share)


def _choose(
    table: _Table, entries: list[tuple[Candidate, QuantPolicy]], record: Record
) -> Distilled:
    """Return the most faithful candidate that plays as well as the best of them; of two equally
    faithful ones the post-training one, which stands first.
    """
    order = sorted(range(len(entries)), key=lambda place: entries[place][0].error)
    played: dict[int, Episodes] = {}
    source: Episodes | None = None
    if table.env is not None and len(entries) > 1 and not record.interrupted:
        seeds = range(SELECTION_SEED, SELECTION_SEED + table.scale.episodes)
        source = run_episodes(table.env, source_actor(table.policy), seeds)
        for place in order[:2]:
            played[place] = run_episodes(table.env, actor_of(entries[place][1]), seeds)
    chosen = _best_player(order, played)
    candidates = tuple(
        replace(
            candidate,
            mean_return=float(played[place].returns.mean()) if place in played else None,
        )
        for place, (candidate, _) in enumerate(entries)
    )
    integers = entries[chosen][1]
    sample = table.held[: CHECKED[table.policy.contract.observation.is_image]]
    differing, compared = _differing(integers, sample)
    return Distilled(
        integers,
        replace(
            record,
            candidates=(*candidates, *record.candidates),
            chosen=candidates[chosen].name,
            source_return=None if source is None else float(source.returns.mean()),
            episodes=0 if source is None else len(source.seeds),
            differing=differing,
            compared=compared,
        ),
    )


def _best_player(order: list[int], played: dict[int, Episodes]) -> int:
    """Return the first of the order whose return is not clearly below the best one's."""
    if len(played) < 2:
        return order[0]
    best = max(played, key=lambda place: float(played[place].returns.mean()))
    for place in order:
        if place not in played:
            break
        lost = played[best].returns - played[place].returns
        if lost.mean() <= NEAR * 2 * lost.std(ddof=1) / np.sqrt(len(lost)):
            return place
    return best


def _differing(integers: QuantPolicy, obs: NDArray[Any]) -> tuple[int, int]:
    """Return how many outputs LiteRT and the reference give differently, and of how many."""
    wanted = real_outputs(integers, integer_outputs(integers, obs))
    made = artifact_outputs(integers, emit_tflite(integers))(obs)
    return int((made != wanted).sum()), wanted.size


def open_notebook(
    name: str,
    policy: Policy,
    env: EnvSpec | None,
    assignment: Assignment,
    runs: Path,
    *,
    resume: bool,
) -> Notebook:
    """Return the notebook of that distillation, in a folder of `runs` that its widths name."""
    widths = assignment.widths
    parts = [name, widths.name, f"a{widths.activations or 8}"]
    parts += [] if widths.inputs is None else [f"i{widths.inputs}"]
    parts += [f"s{assignment.seed}"]
    return Notebook(runs / "-".join(parts), task_of(policy, env, assignment), resume=resume)
