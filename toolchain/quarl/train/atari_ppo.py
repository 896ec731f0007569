"""Training an Atari policy: a network learns from a player that reads the console's memory, then PPO takes it further.

Goes in: a recipe and a run folder. Comes out: a `Trained` policy, a plain Stable-Baselines3 PPO with its CnnPolicy.
First DAgger (Ross et al. 2011): the network plays, the expert says what it would have done, and the network learns from all that was seen
so far. Then the value head is fitted to the returns of the network's own play, so that PPO does not begin by undoing what was learnt.
Then PPO on the game's points. The run folder holds all that a later call resumes from, the best policy so far, and the learning curve.

Hyperparameters of a recipe:
    expert                    who teaches: a key of `EXPERTS`
    imitation_share           share of the steps that the network imitates; PPO has the rest
    imitation_round           steps between two updates while imitating
    imitation_epochs          how often each new step is looked at in its update; as many old ones come with them
    imitation_batch_size      of an update while imitating: small ones teach the eyes fastest
    imitation_learning_rate   of Adam, while imitating; falls to 0
    sharpening                factor of the logits before PPO: odds are soft, and PPO should not begin with a careless player
    value_steps               steps played to fit the value head
    n_steps, batch_size, n_epochs, gamma, gae_lambda, learning_rate, clip_range, ent_coef     PPO's own; the rate falls to 0
    evaluations               how often PPO's policy is judged
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule, set_random_seed

from quarl.errors import InputError
from quarl.recipe import EnvRecipe, Recipe
from quarl.seeds import CHECKPOINT_SEED
from quarl.train.dagger import EXPERTS, Imitation, choose, features_of, imitate
from quarl.train.games import SELECTION_EPISODES, SELECTION_LENGTH, Player, Signs, compute_in_bfloat16, in_float32, play_games
from quarl.train.sb3 import LEFT_OUT, Lanes, save_model
from quarl.train.trained import CURVE_FIELDS, Progress, Trained

IMITATION_JUDGED = 40_960  # steps between two looks at an imitating network


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recipe's numbers, read once."""

    env: EnvRecipe
    imitation: Imitation
    sharpening: float
    value_steps: int
    ppo_steps: int
    evaluations: int
    episodes: int
    max_length: int
    ppo: Mapping[str, Any]

    @property
    def steps(self) -> int:
        return self.imitation.steps + self.ppo_steps


def fit(recipe: Recipe, run: Path, *, quick: bool, resume: bool, progress: Callable[[Progress], None] | None) -> Player:
    """Return the trained policy, the best on games kept apart for choosing.

    Raises:
        InputError: an unknown expert, a hyperparameter that is missing or unknown, or nothing to resume from.
    """
    torch.set_num_threads(1)
    plan = _read_plan(recipe, quick)
    set_random_seed(recipe.train.seed)
    journal = _Journal(run, plan, progress, resume)
    envs = Signs(Lanes(recipe.env.as_judged(), recipe.train.envs))
    envs.seed(recipe.train.seed)
    model = PPO("CnnPolicy", envs, seed=recipe.train.seed, device="cpu", **_ppo_settings(plan, journal))
    compute_in_bfloat16(model.policy.features_extractor)

    def after_round(steps: int, report: str) -> None:
        journal.note(report)
        if steps // IMITATION_JUDGED > (steps - plan.imitation.round_steps) // IMITATION_JUDGED or steps >= plan.imitation.steps:
            journal.judge(model, steps)

    if journal.ppo_steps == 0:
        imitate(model, plan.imitation, run, after_round)
        head: Any = model.policy.action_net
        with torch.no_grad():
            head.weight.mul_(plan.sharpening)
            head.bias.mul_(plan.sharpening)
        _fit_values(model, plan)
    else:
        model.set_parameters(str(run / "ppo.zip"))
    if journal.ppo_steps < plan.ppo_steps:
        model.learn(plan.ppo_steps - journal.ppo_steps, callback=_Judge(plan, journal))
    best = PPO.load(journal.best_path, device="cpu")
    trained = Trained(_act(best), lambda path: save_model(best, path), None, journal.curve_path, plan.steps, plan.episodes)
    return Player(trained, _story(recipe, plan))


def _fit_values(model: PPO, plan: _Plan) -> None:
    """Fit the value head to the discounted returns of the policy's own play, by ridge regression on its features."""
    envs, gamma = model.env, model.gamma
    assert envs is not None
    steps = max(2, plan.value_steps // envs.num_envs)
    features, rewards, dones = [], np.zeros((steps, envs.num_envs)), np.zeros((steps, envs.num_envs))
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
    weights = np.linalg.solve(x.T @ x + 1e-2 * len(x) * np.eye(x.shape[1]), x.T @ returns[:kept].ravel())
    head = model.policy.value_net
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights[None, :-1]))
        head.bias.copy_(torch.from_numpy(weights[-1:]))


class _Judge(BaseCallback):
    """Plays PPO's policy now and then and keeps what a later call needs."""

    def __init__(self, plan: _Plan, journal: _Journal) -> None:
        super().__init__()
        self._journal = journal
        self._before = journal.ppo_steps
        self._every = max(1, plan.ppo_steps // plan.evaluations)
        self._next = self._before + self._every
        self._imitated = plan.imitation.steps
        self._left = max(1, plan.ppo_steps)

    def _on_rollout_start(self) -> None:
        done = self._before + self.num_timesteps
        recent = self.model.ep_info_buffer
        if recent and (done // self.model.n_steps) % 64 == 0:  # type: ignore[attr-defined]
            self._journal.note(f"{done} steps of PPO: {np.mean([game['r'] for game in recent]):.2f} in the last {len(recent)} games, drawn")
        if done >= self._next:
            self._next = (done // self._every + 1) * self._every
            self._keep(done)

    def _on_training_end(self) -> None:
        self._keep(self._before + self.num_timesteps)

    def _on_step(self) -> bool:
        return True

    def _keep(self, done: int) -> None:
        assert isinstance(self.model, PPO)
        self.model.save(self._journal.run / "ppo.zip", exclude=list(LEFT_OUT))
        self._journal.ppo_steps = done
        self._journal.judge(self.model, self._imitated + done)


class _Journal:
    """The run folder: what was learnt from, the curve, the best policy."""

    def __init__(self, run: Path, plan: _Plan, progress: Callable[[Progress], None] | None, resume: bool) -> None:
        self.run = run
        self.best_path = run / "best.zip"
        self.curve_path = run / "curve.csv"
        self.ppo_steps = 0
        self._state_path = run / "state.json"
        self._plan = plan
        self._progress = progress
        self._best_return = float("-inf")
        self._cpu_s = 0.0
        self._cpu_start_s = time.process_time()
        if resume:
            if not self._state_path.exists():
                raise InputError(f"{run}: there is no checkpoint to resume from. Train without --resume.")
            state = json.loads(self._state_path.read_text())
            self.ppo_steps, self._best_return, self._cpu_s = state["ppo_steps"], state["best_return"], state["cpu_s"]
            return
        run.mkdir(parents=True, exist_ok=True)
        for path in (run / "lessons").glob("*.npz"):
            path.unlink()
        with self.curve_path.open("w", newline="") as file:
            csv.writer(file).writerow(CURVE_FIELDS)
        (run / "log.txt").write_text("")
        self._write_state()

    def note(self, line: str) -> None:
        """Add a line to the log."""
        with (self.run / "log.txt").open("a") as file:
            file.write(f"{self._spent_s():8.0f} cpu s  {line}\n")

    def judge(self, model: PPO, steps: int) -> None:
        """Play the games kept apart, write the curve, keep the policy if none was better."""
        with in_float32(model.policy.features_extractor):  # as it will be used: one other action can turn a won game into an endless rally
            returns, lengths = play_games(self._plan.env, _act(model), CHECKPOINT_SEED, self._plan.episodes, self._plan.max_length)
        mean = float(returns.mean())
        if mean >= self._best_return:
            self._best_return = mean
            model.save(self.best_path, exclude=list(LEFT_OUT))
        with self.curve_path.open("a", newline="") as file:
            row = [steps, f"{mean:.3f}", f"{returns.std():.3f}", f"{lengths.mean():.1f}", "", f"{self._spent_s():.1f}"]
            csv.writer(file).writerow(row)
        self._write_state()
        if self._progress is not None:
            self._progress(Progress(steps, self._plan.steps, mean, None, self._spent_s()))

    def _spent_s(self) -> float:
        return self._cpu_s + time.process_time() - self._cpu_start_s

    def _write_state(self) -> None:
        state = {"ppo_steps": self.ppo_steps, "best_return": self._best_return, "cpu_s": self._spent_s()}
        self._state_path.write_text(json.dumps(state))


def _act(model: PPO) -> Callable[[NDArray[np.uint8]], NDArray[np.int64]]:
    return lambda obs: choose(model, obs, True)


def _story(recipe: Recipe, plan: _Plan) -> str:
    expert = recipe.train.hyperparameters["expert"]
    return f"""1. **A warm start, not learnt from points.** The first {plan.imitation.steps:,} steps are DAgger: the network plays, a
   scripted expert that reads the console's memory (`quarl.train.{expert}_expert`) says what it would have done, and the network learns to
   say the same. The network itself sees only the screen.
2. The value head is fitted to the returns of the network's own play.
3. PPO of Stable-Baselines3 on the signs of the points, {plan.ppo_steps:,} steps."""


def _ppo_settings(plan: _Plan, journal: _Journal) -> dict[str, Any]:
    settings = dict(plan.ppo)
    share_left = 1.0 - journal.ppo_steps / max(1, plan.ppo_steps)
    settings["learning_rate"] = LinearSchedule(float(settings["learning_rate"]) * share_left, 0.0, 1.0)
    return settings


def _read_plan(recipe: Recipe, quick: bool) -> _Plan:
    settings = dict(recipe.train.hyperparameters)
    own = (
        "expert",
        "imitation_share",
        "imitation_round",
        "imitation_epochs",
        "imitation_batch_size",
        "imitation_learning_rate",
        "sharpening",
        "value_steps",
        "evaluations",
    )
    ppo = ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "learning_rate", "clip_range", "ent_coef")
    missing = [name for name in (*own, *ppo) if name not in settings]
    unknown = [name for name in settings if name not in (*own, *ppo)]
    if missing or unknown:
        raise InputError(f"{recipe.name}: [train.hyperparameters]: missing {missing}, unknown {unknown}; allowed {[*own, *ppo]}")
    if settings["expert"] not in EXPERTS:
        raise InputError(f'{recipe.name}: expert "{settings["expert"]}"; allowed: {", ".join(EXPERTS)}')
    numbers: dict[str, Any] = settings
    steps = recipe.train.quick_steps if quick else recipe.train.steps
    imitation_steps = int(steps * float(numbers["imitation_share"]))
    n_steps = min(int(numbers["n_steps"]), max(2, (steps - imitation_steps) // recipe.train.envs))
    rollout = n_steps * recipe.train.envs
    imitation = Imitation(
        console=recipe.env.judged_kwargs,
        expert=str(numbers["expert"]),
        seed=recipe.train.seed,
        envs=recipe.train.envs,
        steps=imitation_steps,
        round_steps=min(int(numbers["imitation_round"]), imitation_steps),
        epochs=int(numbers["imitation_epochs"]),
        batch_size=int(numbers["imitation_batch_size"]),
        learning_rate=float(numbers["imitation_learning_rate"]),
    )
    return _Plan(
        env=recipe.env,
        imitation=imitation,
        sharpening=float(numbers["sharpening"]),
        value_steps=min(int(numbers["value_steps"]), steps),
        ppo_steps=(steps - imitation_steps) // rollout * rollout,  # so that the learning rate ends at 0 and not below
        evaluations=1 if quick else int(numbers["evaluations"]),
        episodes=2 if quick else SELECTION_EPISODES,
        max_length=200 if quick else SELECTION_LENGTH,
        ppo={name: numbers[name] for name in ppo} | {"n_steps": n_steps},
    )
