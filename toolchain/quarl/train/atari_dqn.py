"""Training an Atari policy by DQN: Q values that begin as what a shipped PPO policy knows, then
Stable-Baselines3's DQN.

Goes in: a recipe and a run folder. Comes out: a `Player`, a plain Stable-Baselines3 DQN with its
CnnPolicy.
DQN's network has the shape of PPO's: the Nature features and one linear head. So it begins with the
teacher's features and with Q(s, a) = V(s) + temperature * (logit(s, a) - mean logit), which are
linear in them: it ranks actions as the teacher does.
Then DQN learns from its own play, epsilon-greedy, on the signs of the points. No policy of the
first half is kept: DQN has to finish it.
The store of transitions is not kept in the run folder; a resumed training fills it again with the
play of its checkpoint.

Hyperparameters of a recipe:
    teacher                   a shipped policy: PPO with the same network
    temperature               of the beginning, in units of the return: how much a logit is worth
    learning_rate             of Adam; it falls to 0 on a straight line
    epsilon                   share of random actions while it plays
    learning_starts           steps played before the first update
    buffer_size, batch_size, gamma, n_steps, gradient_steps, target_update_interval
                              DQN's own; updates after each step of all lanes
    evaluations               how often the policy is judged
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import LinearSchedule, set_random_seed

from quarl.errors import InputError
from quarl.resources import models_dir
from quarl.rollouts.actors import Actor
from quarl.sources.recipe import Recipe
from quarl.stats.seeds import CHECKPOINT_SEED
from quarl.train.games import (
    SELECTION_EPISODES,
    SELECTION_LENGTH,
    Learning,
    Player,
    compute_in_bfloat16,
    in_float32,
    play_games,
)
from quarl.train.hyperparameters import hyperparameters_of
from quarl.train.journal import Journal
from quarl.train.sb3_files import LEFT_OUT, save_model
from quarl.train.sb3_lanes import Lanes
from quarl.train.trained import Run, Trained

# share of the steps before which no policy is kept: it would be the teacher's, not DQN's
FINISHED_BY_DQN = 0.5
OWN = ("teacher", "temperature", "learning_rate", "epsilon", "learning_starts", "evaluations")
DQNS = ("buffer_size", "batch_size", "gamma", "n_steps", "gradient_steps", "target_update_interval")


def fit(recipe: Recipe, run: Run) -> Player:
    """Return the trained policy, the best on games kept apart for choosing.

    Raises:
        InputError: no such teacher, a hyperparameter that is missing or unknown, or nothing to
            resume from.
    """
    torch.set_num_threads(1)
    numbers = hyperparameters_of(recipe, (*OWN, *DQNS))
    lanes = recipe.train.envs
    steps = run.steps_of(recipe)
    games = 2 if run.quick else SELECTION_EPISODES
    filled = min(int(numbers["learning_starts"]), steps // 2) // lanes * lanes
    set_random_seed(recipe.train.seed)
    journal = Journal(run, steps)
    left = 1.0 - journal.steps / steps
    envs = Learning(Lanes(recipe.env.as_judged(), lanes))
    envs.seed(recipe.train.seed)
    model = DQN(
        "CnnPolicy",
        envs,
        learning_rate=LinearSchedule(float(numbers["learning_rate"]) * left, 0.0, 1.0),
        exploration_initial_eps=float(numbers["epsilon"]),
        exploration_final_eps=float(numbers["epsilon"]),
        learning_starts=0,  # the store is filled by the policy, not by chance
        train_freq=max(1, filled // lanes),
        seed=recipe.train.seed,
        device="cpu",
        **{name: numbers[name] for name in DQNS},
    )
    checkpoint, best_path = run.folder / "checkpoint.zip", run.folder / "best.zip"
    if run.resume:
        model.set_parameters(str(checkpoint))
    else:
        _begin_as(model, _teacher(recipe), float(numbers["temperature"]))
    for network in (model.policy.q_net, model.policy.q_net_target):
        compute_in_bfloat16(network.features_extractor)

    longest = 200 if run.quick else SELECTION_LENGTH

    def judge(model: DQN, done: int) -> None:
        model.save(checkpoint, exclude=[*LEFT_OUT, "replay_buffer"])
        with in_float32(model.policy.q_net.features_extractor):
            seeds = range(CHECKPOINT_SEED, CHECKPOINT_SEED + games)
            played = play_games(recipe.env, _act(model), seeds, longest)
        if journal.judge(done, played, may_be_best=done >= FINISHED_BY_DQN * steps):
            model.save(best_path, exclude=[*LEFT_OUT, "replay_buffer"])

    if journal.steps < steps:
        every = max(1, steps // (1 if run.quick else int(numbers["evaluations"])))
        model.learn(steps - journal.steps, callback=_Judge(judge, journal.steps, every, filled))
    best = DQN.load(best_path, device="cpu")
    trained = Trained(
        _act(best), lambda path: save_model(best, path), None, journal.curve_path, steps, games
    )
    return Player(trained, _story(recipe, steps))


class _Judge(BaseCallback):
    """Judges now and then, and lets the learner learn once the store is filled."""

    def __init__(
        self, judge: Callable[[DQN, int], None], before: int, every: int, filled: int
    ) -> None:
        super().__init__()
        self._judge = judge
        self._before, self._every, self._filled = before, every, filled
        self._last = before

    def _on_rollout_start(self) -> None:
        assert isinstance(self.model, DQN)
        done = self._before + self.num_timesteps
        if done // self._every > self._last // self._every:
            self._last = done
            self._judge(self.model, done)

    def _on_rollout_end(self) -> None:
        assert isinstance(self.model, DQN)
        if self.num_timesteps >= self._filled:
            self.model.train_freq = TrainFreq(1, TrainFrequencyUnit.STEP)  # type: ignore[assignment]  # what it becomes after set-up

    def _on_training_end(self) -> None:
        assert isinstance(self.model, DQN)
        if self._before + self.num_timesteps > self._last:
            self._judge(self.model, self._before + self.num_timesteps)

    def _on_step(self) -> bool:
        return True


def _teacher(recipe: Recipe) -> PPO:
    path = models_dir() / str(recipe.train.hyperparameters["teacher"]) / "policy.zip"
    if not path.exists():
        raise InputError(
            f"{recipe.name}: there is no teacher at {path}. Train it first, or name another one."
        )
    return PPO.load(path, device="cpu")


def _begin_as(model: DQN, teacher: PPO, temperature: float) -> None:
    """Give the online and the target network the teacher's features, and as its head V +
    temperature * centred logits.
    """
    knows: Any = teacher.policy
    logits, value = knows.action_net, knows.value_net
    with torch.no_grad():
        weight = value.weight + temperature * (logits.weight - logits.weight.mean(dim=0))
        bias = value.bias + temperature * (logits.bias - logits.bias.mean())
        for network in (model.policy.q_net, model.policy.q_net_target):
            features: Any = network.features_extractor
            features.load_state_dict(knows.features_extractor.state_dict())
            head: Any = network.q_net[0]
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def _act(model: DQN) -> Actor:
    def act(obs: NDArray[np.uint8]) -> NDArray[np.int64]:
        with torch.no_grad():
            values: torch.Tensor = model.policy.q_net(torch.from_numpy(obs))
        return values.argmax(dim=1).numpy()

    return act


def _story(recipe: Recipe, steps: int) -> str:
    teacher = recipe.train.hyperparameters["teacher"]
    return f"""1. **A warm start, not learnt from points.** The network begins with the features of
   `{teacher}` and with Q values made of
   its value head and its logits, so that it ranks actions as that policy does. How that one was
   trained, its SOURCE.md says.
2. DQN of Stable-Baselines3 on the signs of the points, {steps:,} steps of its own play. The
   weights were chosen from
   the second half of them, so that they are DQN's own."""
