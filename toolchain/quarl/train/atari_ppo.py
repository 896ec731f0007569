"""Training an Atari policy: a network learns from a player that reads the console's memory, then
PPO takes it further.

Goes in: a recipe and a run folder. Comes out: a `Trained` policy, a plain Stable-Baselines3 PPO
with its CnnPolicy.
First DAgger (Ross et al. 2011): the network plays, the expert says what it would have done, and the
network learns from all that was seen so far. Then the value head is fitted to the returns of the
network's own play, so that PPO does not begin by undoing what was learnt.
Then PPO on the game's points, which may rehearse what the expert said; the policy kept is one of
PPO's. The run folder holds all that a later call resumes from, the best policy so far, and the
learning curve.

Hyperparameters of a recipe:
    expert                    who teaches: a key of `EXPERTS`
    imitation_share           share of the steps that the network imitates; PPO has the rest
    imitation_round           steps between two updates while imitating
    imitation_epochs          how often each new step is looked at in its update; as many old ones
                              come with them
    imitation_batch_size      of an update while imitating: small ones teach the eyes fastest
    imitation_learning_rate   of Adam, while imitating; falls to 0
    sharpening                factor of the logits before PPO: odds are soft, and PPO should not
                              begin with a careless player
    value_steps               steps played to fit the value head
    n_steps, batch_size, n_epochs, gamma, gae_lambda, learning_rate, clip_range, ent_coef
                              PPO's own; the rate falls to 0
    rehearsals                batches of what the expert said that are gone through again before
                              each of PPO's rollouts; 0 for none
    evaluations               how often PPO's policy is judged
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.utils import LinearSchedule, set_random_seed

from quarl.errors import InputError
from quarl.sources.recipe import EnvRecipe, Recipe
from quarl.stats.seeds import CHECKPOINT_SEED
from quarl.train.dagger import (
    EXPERTS,
    LESSONS,
    STACK,
    Imitation,
    Rehearsal,
    choose,
    features_of,
    imitate,
)
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

IMITATION_JUDGED = 40_960  # steps between two looks at an imitating network
OWN = (
    "expert",
    "imitation_share",
    "imitation_round",
    "imitation_epochs",
    "imitation_batch_size",
    "imitation_learning_rate",
    "sharpening",
    "value_steps",
    "rehearsals",
    "evaluations",
)
PPOS = (
    "n_steps",
    "batch_size",
    "n_epochs",
    "gamma",
    "gae_lambda",
    "learning_rate",
    "clip_range",
    "ent_coef",
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recipe's numbers, read once."""

    env: EnvRecipe
    imitation: Imitation
    sharpening: float
    value_steps: int
    ppo_steps: int
    rehearsals: int
    evaluations: int
    episodes: int
    max_length: int
    ppo: Mapping[str, Any]

    @property
    def steps(self) -> int:
        return self.imitation.steps + self.ppo_steps


def fit(recipe: Recipe, run: Run) -> Player:
    """Return the trained policy, the best on games kept apart for choosing.

    Raises:
        InputError: an unknown expert, a hyperparameter that is missing or unknown, or nothing to
            resume from.
    """
    torch.set_num_threads(1)
    plan = _read_plan(recipe, run)
    set_random_seed(recipe.train.seed)
    journal = Journal(run, plan.steps)
    if not run.resume:
        for lesson in (run.folder / LESSONS).glob("*.npz"):
            lesson.unlink()
    done = max(0, journal.steps - plan.imitation.steps)
    envs = Learning(Lanes(recipe.env.as_judged(), recipe.train.envs))
    envs.seed(recipe.train.seed)
    model = PPO(
        "CnnPolicy", envs, seed=recipe.train.seed, device="cpu", **_ppo_settings(plan, done)
    )
    compute_in_bfloat16(model.policy.features_extractor)
    judge = _Judge(model, plan, journal, run.folder)
    if done == 0:
        imitate(model, plan.imitation, run.folder, judge.after_round)
        _sharpen(model, plan.sharpening)
        _fit_values(model, plan)
    else:
        model.set_parameters(str(judge.latest))
    if done < plan.ppo_steps:
        every = max(1, plan.ppo_steps // plan.evaluations)
        callbacks: list[BaseCallback] = [_Checkpoints(judge.keep, journal.note, done, every)]
        if plan.rehearsals:
            rehearsal = Rehearsal(
                model, run.folder, plan.sharpening, int(plan.ppo["batch_size"]), recipe.train.seed
            )
            callbacks.append(_Rehearse(rehearsal, plan.rehearsals, journal.note))
        model.learn(plan.ppo_steps - done, callback=CallbackList(callbacks))
    best = PPO.load(judge.best, device="cpu")
    trained = Trained(
        _act(best),
        lambda path: save_model(best, path),
        None,
        journal.curve_path,
        plan.steps,
        plan.episodes,
    )
    return Player(trained, _story(recipe, plan))


class _Judge:
    """Has the policy play now and then, and keeps PPO's latest and best."""

    def __init__(self, model: PPO, plan: _Plan, journal: Journal, folder: Path) -> None:
        self.latest, self.best = folder / "ppo.zip", folder / "best.zip"
        self._model, self._plan, self._journal = model, plan, journal

    def after_round(self, steps: int, report: str) -> None:
        """Judge an imitator after some of its rounds."""
        self._journal.note(report)
        imitation = self._plan.imitation
        is_due = steps // IMITATION_JUDGED > (steps - imitation.round_steps) // IMITATION_JUDGED
        if is_due or steps >= imitation.steps:
            self._judge(steps)

    def keep(self, ppo_steps: int) -> None:
        """Save PPO's policy as it stands, and judge it."""
        self._model.save(self.latest, exclude=list(LEFT_OUT))
        self._judge(self._plan.imitation.steps + ppo_steps)

    def _judge(self, steps: int) -> None:
        plan, model = self._plan, self._model
        seeds = range(CHECKPOINT_SEED, CHECKPOINT_SEED + plan.episodes)
        # in float32, as it will be used: one other action can turn a won game into an endless rally
        with in_float32(model.policy.features_extractor):
            played = play_games(plan.env, _act(model), seeds, plan.max_length)
        is_ppos = steps > plan.imitation.steps  # an imitator is not
        if self._journal.judge(steps, played, may_be_best=is_ppos):
            model.save(self.best, exclude=list(LEFT_OUT))


def _sharpen(model: PPO, factor: float) -> None:
    head: Any = model.policy.action_net
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)


def _fit_values(model: PPO, plan: _Plan) -> None:
    """Fit the value head to the discounted returns of the policy's own play, by ridge regression on
    its features.
    """
    envs, gamma = model.env, model.gamma
    assert envs is not None
    steps = max(2, plan.value_steps // envs.num_envs)
    features, rewards, dones = (
        [],
        np.zeros((steps, envs.num_envs)),
        np.zeros((steps, envs.num_envs)),
    )
    obs: Any = envs.reset()
    for step in range(steps):
        with torch.no_grad():
            features.append(features_of(model, obs).numpy())
        obs, rewards[step], dones[step], _ = envs.step(choose(model, obs, False))
    returns = np.zeros((steps, envs.num_envs))
    ahead = np.zeros(envs.num_envs)
    for step in range(steps - 1, -1, -1):
        ahead = rewards[step] + gamma * ahead * (1.0 - dones[step])
        returns[step] = ahead
    kept = max(1, steps - int(3 / (1 - gamma)))  # the returns of the last steps are cut off
    x = np.stack(features[:kept]).reshape(kept * envs.num_envs, -1).astype(np.float64)
    x = np.c_[x, np.ones(len(x))]
    weights = np.linalg.solve(
        x.T @ x + 1e-2 * len(x) * np.eye(x.shape[1]), x.T @ returns[:kept].ravel()
    )
    head = model.policy.value_net
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights[None, :-1]))
        head.bias.copy_(torch.from_numpy(weights[-1:]))


class _Checkpoints(BaseCallback):
    """Has PPO's policy kept and judged every so many steps, and at the end."""

    def __init__(
        self, keep: Callable[[int], None], note: Callable[[str], None], before: int, every: int
    ) -> None:
        super().__init__()
        self._keep, self._note = keep, note
        self._before, self._every = before, every
        self._next = before + every

    def _on_rollout_start(self) -> None:
        done = self._before + self.num_timesteps
        recent = self.model.ep_info_buffer
        if recent and (done // self.model.n_steps) % 64 == 0:  # type: ignore[attr-defined]
            self._note(
                f"{done} steps of PPO: {np.mean([game['r'] for game in recent]):.2f} in the "
                f"last {len(recent)} games, drawn"
            )
        if done >= self._next:
            self._next = (done // self._every + 1) * self._every
            self._keep(done)

    def _on_training_end(self) -> None:
        self._keep(self._before + self.num_timesteps)

    def _on_step(self) -> bool:
        return True


class _Rehearse(BaseCallback):
    """Has what the expert said gone through again before each rollout, at PPO's own rate."""

    def __init__(self, rehearsal: Rehearsal, batches: int, note: Callable[[str], None]) -> None:
        super().__init__()
        self._rehearsal, self._batches, self._note = rehearsal, batches, note
        self._rollouts = 0

    def _on_rollout_start(self) -> None:
        rate = self.model.lr_schedule(self.model._current_progress_remaining)
        likely = [self._rehearsal.update(rate) for _ in range(self._batches)]
        if self._rollouts % 8 == 0:
            self._note(f"rehearsed: {np.mean(likely):.3f} for the expert's choice")
        self._rollouts += 1

    def _on_step(self) -> bool:
        return True


def _act(model: PPO) -> Callable[[NDArray[np.uint8]], NDArray[np.int64]]:
    return lambda obs: choose(model, obs, True)


def _story(recipe: Recipe, plan: _Plan) -> str:
    expert = recipe.train.hyperparameters["expert"]
    again = f"""; before each rollout, {plan.rehearsals} x {plan.ppo["batch_size"]} steps
   of what the expert had said are gone through again"""
    rehearsed = again if plan.rehearsals else ""
    return f"""1. **A warm start, not learnt from points.** The first {plan.imitation.steps:,}
   steps are DAgger: the network plays, a
   scripted expert that reads the console's memory (`quarl.train.{expert}_expert`) says what it
   would have done, and the network learns to
   say the same. The network itself sees only the screen.
2. The value head is fitted to the returns of the network's own play.
3. PPO of Stable-Baselines3 on the signs of the points, {plan.ppo_steps:,} steps{rehearsed}."""


def _ppo_settings(plan: _Plan, done: int) -> dict[str, Any]:
    settings = dict(plan.ppo)
    share_left = 1.0 - done / max(1, plan.ppo_steps)
    settings["learning_rate"] = LinearSchedule(
        float(settings["learning_rate"]) * share_left, 0.0, 1.0
    )
    return settings


def _checked(recipe: Recipe) -> dict[str, Any]:
    """Return the hyperparameters, all there and none unknown."""
    settings = hyperparameters_of(recipe, (*OWN, *PPOS))
    if settings["expert"] not in EXPERTS:
        raise InputError(
            f'{recipe.name}: expert "{settings["expert"]}"; allowed: {", ".join(EXPERTS)}'
        )
    if not 0.0 < float(settings["imitation_share"]) < 1.0:
        raise InputError(
            f"{recipe.name}: imitation_share {settings['imitation_share']}; allowed: between 0 "
            "and 1, PPO has the rest"
        )
    return settings


def _read_plan(recipe: Recipe, run: Run) -> _Plan:
    numbers, quick, steps = _checked(recipe), run.quick, run.steps_of(recipe)
    round_steps = min(
        int(numbers["imitation_round"]), int(steps * float(numbers["imitation_share"]))
    )
    if round_steps < STACK * recipe.train.envs:
        least = f"{STACK} steps in each of {recipe.train.envs} games"
        raise InputError(
            f"{recipe.name}: a round of imitation has {round_steps} steps; at least {least}: "
            "a larger imitation_share or _round"
        )
    imitation_steps = round(steps * float(numbers["imitation_share"]) / round_steps) * round_steps
    n_steps = min(int(numbers["n_steps"]), max(2, (steps - imitation_steps) // recipe.train.envs))
    rollout = n_steps * recipe.train.envs
    imitation = Imitation(
        game=recipe.env.judged_kwargs,
        expert=str(numbers["expert"]),
        seed=recipe.train.seed,
        envs=recipe.train.envs,
        steps=imitation_steps,
        round_steps=round_steps,
        epochs=int(numbers["imitation_epochs"]),
        batch_size=int(numbers["imitation_batch_size"]),
        learning_rate=float(numbers["imitation_learning_rate"]),
    )
    return _Plan(
        env=recipe.env,
        imitation=imitation,
        sharpening=float(numbers["sharpening"]),
        value_steps=min(int(numbers["value_steps"]), steps),
        # whole rollouts, so that the learning rate ends at 0 and not below
        ppo_steps=(steps - imitation_steps) // rollout * rollout,
        rehearsals=int(numbers["rehearsals"]),
        evaluations=1 if quick else int(numbers["evaluations"]),
        episodes=2 if quick else SELECTION_EPISODES,
        max_length=200 if quick else SELECTION_LENGTH,
        ppo={name: numbers[name] for name in PPOS} | {"n_steps": n_steps},
    )
