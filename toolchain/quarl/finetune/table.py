"""What all students of a distillation share: lessons of the source's own play, and observations
held out from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.emitters import emit_tflite
from quarl.evidence.agreement import Agreement, DiscreteAgreement
from quarl.finetune.ceiling import compare_outputs
from quarl.finetune.learn import Judge
from quarl.finetune.lessons import Lessons
from quarl.finetune.notebook import Notebook
from quarl.finetune.walk import Walk
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import decision_loss
from quarl.rollouts.actors import Actor, Outputs, artifact_outputs, float_outputs, source_actor
from quarl.stats.seeds import LESSON_HELDOUT_SEED, LESSON_SEED

STUDENT_SEEDS = 500_000  # after those of the source's own lessons


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is played and learned from; images are large, their networks slow."""

    lanes: int
    source_observations: int
    round_observations: int
    held_observations: int
    every: int  # step of a lane that is kept
    held_every: int  # of what is held out, which so spans whole episodes as the lessons do
    rounds: int  # in which a student plays
    batch: int
    most_steps: int  # of the longest training
    episodes: int  # that choose among the candidates


VECTORS = Scale(32, 20_000, 7_000, 4_000, 1, 10, 6, 256, 20_000, 100)
IMAGES = Scale(12, 36_000, 6_000, 1_000, 3, 72, 4, 64, 12_000, 12)


@dataclass
class Table:
    """A policy, its environment, and what has been met there."""

    policy: Policy
    env: EnvSpec | None
    calibration: Calibration
    scale: Scale
    lessons: Lessons
    held: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    walks: list[Walk] = field(default_factory=list)

    @property
    def is_image(self) -> bool:
        """Whether the policy sees pixels."""
        return self.policy.contract.observation.is_image

    def judge(self) -> Judge:
        """Return what tells a student's faithfulness on the held-out observations."""
        policy, held = self.policy, self.held
        wanted = float_outputs(policy)(held)

        def judge(outputs: Outputs) -> tuple[float, float]:
            made = outputs(held)
            error = decision_loss(policy.contract.action, wanted, made)
            return error, share_of(compare_outputs(policy, wanted, made))

        return judge

    def hold_out(self, outputs: Outputs) -> None:
        """Add observations of the post-training candidate's play: a student errs as well."""
        assert self.env is not None
        decode = self.policy.contract.action.decode
        seed = LESSON_HELDOUT_SEED + STUDENT_SEEDS
        met = _held_half(self.env, self.scale, seed, lambda obs: decode(outputs(obs)))
        self.held = np.concatenate([self.held, met])

    def student_walk(self) -> Walk | None:
        """Return a walk whose episodes were never begun before; None without an environment."""
        if self.env is None:
            return None
        first = LESSON_SEED + STUDENT_SEEDS + 1_000 * len(self.lessons.obs)
        self.walks.append(Walk(self.env, self.scale.lanes, first))
        return self.walks[-1]

    def close(self) -> None:
        """Close the environments."""
        for walk in self.walks:
            walk.close()


def gather(
    policy: Policy,
    env: EnvSpec | None,
    calibration: Calibration,
    notebook: Notebook,
    scale: Scale | None = None,
) -> Table:
    """Return the lessons of the source's own play, or those of the notebook, and observations of
    episodes that no lesson is from.
    """
    is_image = policy.contract.observation.is_image
    scale = scale or (IMAGES if is_image else VECTORS)
    table = Table(policy, env, calibration, scale, Lessons.of(policy))
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
    table.held = _held_half(env, scale, LESSON_HELDOUT_SEED, source)
    return table


def _held_half(env: EnvSpec, scale: Scale, first_seed: int, actor: Actor) -> NDArray[Any]:
    walk = Walk(env, scale.lanes, first_seed)
    met = walk.observe(actor, scale.held_observations // 2, scale.held_every)
    walk.close()
    return met


def actor_of(integers: QuantPolicy) -> Actor:
    """Return the integers as LiteRT plays them; they do not depend on the batch."""
    outputs = artifact_outputs(integers, emit_tflite(integers))
    decode = integers.contract.action.decode
    return lambda obs: decode(outputs(obs))


def share_of(agreement: Agreement) -> float:
    """Return the share of equal actions, or 1 - the mean error as a share of the range."""
    if isinstance(agreement, DiscreteAgreement):
        return agreement.agreement
    share = agreement.mean_share
    return float("nan") if share is None else 1.0 - float(share)
