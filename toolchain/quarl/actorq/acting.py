"""How one actor acts: its environments, its policy, its noise, and the rows that come of it.

In: a plan and a player. Out: rows of transitions, a chunk at a time. Knows nothing of Ray.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from quarl.actorq.accounts import PHASES, Ledger
from quarl.actorq.actor_plan import ActorPlan
from quarl.actorq.players import Player
from quarl.actorq.transitions import Adder, Rows, row_type
from quarl.errors import InputError
from quarl.rollouts.foreign_env import blame, make_gymnasium

EPISODES_OF_AN_ACTOR = 100_000  # seeds of one actor lie this far from the next one's
INFERENCE, ENVIRONMENT, NOISE, INSERT = map(
    PHASES.index, ("inference", "environment", "noise", "insert")
)


@dataclass(frozen=True, slots=True)
class Finished:
    """One episode an actor has finished, noise included."""

    actor: int
    episode: int
    total: float
    length: int


class Explorer:
    """Turns outputs of the policy into actions with noise, and knows how many steps were made."""

    def __init__(self, plan: ActorPlan, actor: int, seed: int) -> None:
        self._rng = np.random.default_rng((seed, actor, 0x4E4F4953))
        self._is_discrete = plan.contract.action.kind == "discrete"
        self._count = plan.contract.action.count
        # a ladder: the first actor explores least
        self._sigma = np.float32(plan.noise * (actor + 1) / plan.count)
        self._epsilon, self._explore_steps = plan.epsilon, plan.explore_steps / plan.count
        self._steps = 0

    def choose(self, outputs: NDArray[np.float32]) -> Any:
        """Return an action as a row holds it: an index, or float32 [count] in [-1, 1]."""
        self._steps += 1
        if not self._is_discrete:
            noise = self._rng.standard_normal(self._count, np.float32)
            return np.clip(outputs + self._sigma * noise, np.float32(-1), np.float32(1))
        left = max(0.0, 1 - self._steps / self._explore_steps) if self._explore_steps else 0.0
        if self._rng.random() < self._epsilon + (1 - self._epsilon) * left:
            return int(self._rng.integers(self._count))
        return int(outputs.argmax())


class _Lane:
    """One environment and the episode that is played in it."""

    def __init__(self, env: gymnasium.Env[Any, Any], adder: Adder) -> None:
        self.env, self.adder = env, adder
        self.obs: NDArray[Any] = np.zeros(0, np.float32)
        self.total, self.length = 0.0, 0


class Acting:
    """One actor: `lanes` environments, stepped one after the other, one decision call for all."""

    def __init__(self, plan: ActorPlan, actor: int, *, seed: int) -> None:
        contract = plan.contract
        self._env, self._contract, self._actor = plan.env, contract, actor
        self._explorer = Explorer(plan, actor, seed)
        self._seed = seed
        self._n_step, self._gamma = plan.n_step, plan.gamma
        self._dtype = row_type(contract)
        self._lanes: list[_Lane] = []
        low = np.array(contract.action.low, np.float32)
        self._low, self._half = (
            low,
            (np.array(contract.action.high, np.float32) - low) * np.float32(0.5),
        )
        self._is_discrete = contract.action.kind == "discrete"
        self._shape = contract.observation.shape
        self._episodes = 0
        self.finished: list[Finished] = []

    def open(self, lanes: int) -> None:
        """Make the environments and begin an episode in each."""
        for _ in range(lanes):
            adder = Adder(self._n_step, self._gamma, self._actor)
            lane = _Lane(make_gymnasium(self._env), adder)
            self._lanes.append(lane)
            self._begin(lane)

    def close(self) -> None:
        """Close the environments."""
        for lane in self._lanes:
            lane.env.close()

    def _begin(self, lane: _Lane) -> None:
        lane.adder.drop()
        lane.adder.episode = self._episodes
        self._episodes += 1
        with blame(self._env, lambda: f"in reset, {self._place(lane)}"):
            obs, _ = lane.env.reset(seed=self._seed_of(lane))
            lane.obs = np.array(obs, self._contract.observation.dtype)
        if lane.obs.shape != self._shape or not np.isfinite(lane.obs).all():
            raise InputError(
                f"{self._env.id}: {self._place(lane)}: the first observation is NaN, infinite or "
                "of another shape than its space: nothing can be learned from it"
            )
        lane.total, lane.length = 0.0, 0

    def _seed_of(self, lane: _Lane) -> int:
        return self._seed + self._actor * EPISODES_OF_AN_ACTOR + lane.adder.episode

    def _place(self, lane: _Lane) -> str:
        return f"actor {self._actor}, seed {self._seed_of(lane)}"

    def play(self, player: Player, learner_step: int, steps: int, ledger: Ledger) -> Rows:
        """Return the rows of about `steps` environment steps with this policy."""
        rows = np.zeros(steps + len(self._lanes) * self._n_step * 2, self._dtype)
        made, spent = 0, ledger.spent_ns
        now = time.perf_counter_ns
        batch = np.zeros((len(self._lanes), *self._contract.observation.shape), np.float32)
        for _ in range(-(-steps // len(self._lanes))):
            for place, lane in enumerate(self._lanes):
                batch[place] = lane.obs
            start = now()
            outputs = player(batch)
            decided = now()
            actions = [self._explorer.choose(row) for row in outputs]
            chosen = now()
            spent[INFERENCE] += decided - start
            spent[NOISE] += chosen - decided
            for lane, action in zip(self._lanes, actions, strict=True):
                made = self._advance(lane, action, learner_step, rows, made, ledger)
            ledger.steps += len(self._lanes)
        return rows[:made]

    def _advance(
        self, lane: _Lane, action: Any, learner_step: int, rows: Rows, made: int, ledger: Ledger
    ) -> int:
        """Step one environment; return how many rows there are now."""
        start = time.perf_counter_ns()
        sent = action if self._is_discrete else self._low + (action + np.float32(1)) * self._half
        try:
            seen, reward, terminated, truncated, _ = lane.env.step(sent)
            obs, total = np.array(seen, self._contract.observation.dtype), float(reward)
            over = bool(terminated or truncated)
        except BaseException:
            with blame(self._env, lambda: f"in step, {self._place(lane)}"):
                raise
        stepped = time.perf_counter_ns()
        ledger.spent_ns[ENVIRONMENT] += stepped - start
        if obs.shape != self._shape or not (np.isfinite(total) and np.isfinite(obs).all()):
            raise InputError(
                f"{self._env.id}: {self._place(lane)}: the reward or an observation is NaN, "
                "infinite or of another shape than its space: nothing can be learned from it"
            )
        due = lane.adder.add((lane.obs, action, total, learner_step), over=over)
        for _ in range(due):
            lane.adder.take(rows, made, obs, terminated=terminated)
            made += 1
        lane.obs, lane.total, lane.length = obs, lane.total + total, lane.length + 1
        ledger.spent_ns[INSERT] += time.perf_counter_ns() - stepped
        if over:
            self.finished.append(Finished(self._actor, lane.adder.episode, lane.total, lane.length))
            began = time.perf_counter_ns()
            self._begin(lane)
            ledger.spent_ns[ENVIRONMENT] += time.perf_counter_ns() - began
        return made
