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
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule, set_random_seed
from stable_baselines3.common.vec_env import VecEnvWrapper

from quarl.envs.atari import AtariLanes, Console
from quarl.errors import InputError
from quarl.lanes import EnvSpec
from quarl.recipe import RECIPE_FILE, Recipe, ScoreRecipe, read_recipe
from quarl.rollouts import Episodes, collect_observations, run_episodes
from quarl.seeds import CALIBRATION_SEED, CHECKPOINT_SEED, HELDOUT_SEED, RANDOM_SEED, SCORE_SEED
from quarl.train.dagger import EXPERTS, Imitation, choose, features_of, imitate
from quarl.train.folder import fill_measured, write_observations
from quarl.train.sb3 import LEFT_OUT, Lanes, save_model
from quarl.train.trained import CURVE_FIELDS, Progress, Trained

SCORE_EPISODES = 30
CALIBRATION_EPISODES, CALIBRATION_OBSERVATIONS = 20, 300
HELDOUT_EPISODES, HELDOUT_OBSERVATIONS = 10, 200
IMITATION_JUDGED = 40_960  # steps between two looks at an imitating network
SELECTION_EPISODES = 16
SELECTION_LENGTH = 5_000  # where a game kept for choosing is cut off: some rallies would never end


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recipe's numbers, read once."""

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


def fit(recipe: Recipe, run: Path, *, quick: bool, resume: bool, progress: Callable[[Progress], None] | None) -> Trained:
    """Return the trained policy, the best on games kept apart for choosing.

    Raises:
        InputError: an unknown expert, a hyperparameter that is missing or unknown, or nothing to resume from.
    """
    return _fit(recipe, run, quick=quick, resume=resume, progress=progress)[1]


def _fit(recipe: Recipe, run: Path, *, quick: bool, resume: bool, progress: Callable[[Progress], None] | None) -> tuple[PPO, Trained]:
    torch.set_num_threads(1)
    plan = _read_plan(recipe, quick)
    set_random_seed(recipe.train.seed)
    journal = _Journal(run, plan, progress, resume)
    envs = _Signs(Lanes(recipe.env, recipe.train.envs))
    envs.seed(recipe.train.seed)
    model = PPO("CnnPolicy", envs, seed=recipe.train.seed, device="cpu", **_ppo_settings(plan, journal))
    _compute_in_bfloat16(model)

    def after_round(steps: int, report: str) -> None:
        journal.note(report)
        if steps // IMITATION_JUDGED > (steps - plan.imitation.round_steps) // IMITATION_JUDGED or steps >= plan.imitation.steps:
            journal.judge(model, steps)

    imitate(model, plan.imitation, run, after_round)
    if journal.ppo_steps == 0:
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
    return best, Trained(_act(best), lambda path: save_model(best, path), None, journal.curve_path, plan.steps)


def train_atari(
    recipe: Recipe,
    folder: Path,
    out: Path,
    *,
    runs: Path = Path("runs"),
    quick: bool = False,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Recipe:
    """Train the policy and write its complete folder to `out`; return the recipe with the measured score.

    Args:
        folder: holds the recipe's file; its comments are kept.
        out: may be `folder` itself; its name must be the policy's.
        runs: checkpoints and curves go to `runs/<policy>`.
        quick: train for `quick_steps` and measure a game or two.
        resume: go on from the last checkpoint in `runs`.
    Raises:
        InputError: as `fit`.
    """
    best, trained = _fit(recipe, runs / recipe.name, quick=quick, resume=resume, progress=progress)
    return _write_folder(recipe, best, trained, folder, out, quick)


def _write_folder(recipe: Recipe, best: PPO, trained: Trained, folder: Path, out: Path, quick: bool) -> Recipe:
    """Measure the policy, write its folder, return the recipe with the score."""
    env = EnvSpec(recipe.env.id, recipe.env.kwargs)
    games = 1 if quick else SCORE_EPISODES
    scored = run_episodes(env, trained.actor, range(SCORE_SEED, SCORE_SEED + games))
    score = ScoreRecipe(float(scored.returns.mean()), float(scored.returns.std()), None, games, SCORE_SEED)
    chance = np.random.default_rng(RANDOM_SEED)
    actions = len(Console(str(recipe.env.kwargs["game"])).actions)
    random_play = run_episodes(env, lambda obs: chance.integers(actions, size=len(obs)), range(RANDOM_SEED, RANDOM_SEED + games))
    calibration_seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + (1 if quick else CALIBRATION_EPISODES))
    heldout_seeds = range(HELDOUT_SEED, HELDOUT_SEED + (1 if quick else HELDOUT_EPISODES))

    out.mkdir(parents=True, exist_ok=True)
    trained.save(out / recipe.source)
    for name, seeds, count in (
        ("calibration.npz", calibration_seeds, CALIBRATION_OBSERVATIONS),
        ("heldout.npz", heldout_seeds, HELDOUT_OBSERVATIONS),
    ):
        torch.manual_seed(seeds[0])  # actions are drawn: without chance, games with the same wait before them would be the same game
        write_observations(out / name, collect_observations(env, lambda obs: choose(best, obs, False), seeds, count))
    text = fill_measured((folder / RECIPE_FILE).read_text(encoding="utf-8"), score, float(random_play.returns.mean()))
    (out / RECIPE_FILE).write_text(text, encoding="utf-8")
    measured = read_recipe(out)
    (out / "SOURCE.md").write_text(_source_page(measured, trained, scored), encoding="utf-8")
    return measured


class _Signs(VecEnvWrapper):
    """Lanes whose rewards are the signs of the points."""

    def reset(self) -> Any:
        """Start a game in every lane."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Return observations, signs, ends and infos."""
        obs, points, done, infos = self.venv.step_wait()
        return obs, np.sign(points), done, infos


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
        game, episodes = self._plan.imitation.game, self._plan.episodes
        with _in_float32(model):  # as it will be used: one other action can turn a won game into an endless rally
            returns, lengths = _play_games(game, _act(model), CHECKPOINT_SEED, episodes, self._plan.max_length)
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


def _play_games(
    game: str, act: Callable[[NDArray[np.uint8]], NDArray[np.int64]], seed: int, episodes: int, max_length: int = 27_000
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return returns and lengths of games with seeds `seed`, `seed + 1` ..., one lane each; a game is cut off after `max_length` steps."""
    lanes = AtariLanes(game, episodes)
    obs, _ = lanes.reset(seed=seed)
    returns, lengths, playing = np.zeros(episodes), np.zeros(episodes, np.int64), np.ones(episodes, np.bool_)
    while playing.any():
        obs, points, terminated, truncated, _ = lanes.step(act(obs))
        returns[playing] += points[playing]
        lengths[playing] += 1
        playing &= ~(terminated | truncated) & (lengths < max_length)
        done = terminated | truncated
        if done.any():
            fresh, _ = lanes.reset(options={"reset_mask": done})
            obs[done] = fresh[done]
    return returns, lengths


def _compute_in_bfloat16(model: PPO) -> None:
    """Compute the features in bfloat16, which doubles the speed; the heads stay in float32, so that probabilities keep their digits."""
    extractor: torch.nn.Module = model.policy.features_extractor
    extractor.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
    plain = extractor.forward

    def forward(obs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features: torch.Tensor = plain(obs.contiguous(memory_format=torch.channels_last))
        return features.float()

    extractor.forward = forward


@contextmanager
def _in_float32(model: PPO) -> Iterator[None]:
    extractor: Any = model.policy.features_extractor
    halved = extractor.__dict__.pop("forward")
    try:
        yield
    finally:
        extractor.forward = halved


def _act(model: PPO) -> Callable[[NDArray[np.uint8]], NDArray[np.int64]]:
    return lambda obs: choose(model, obs, True)


def _source_page(recipe: Recipe, trained: Trained, scored: Episodes) -> str:
    """Return SOURCE.md: who made the weights and how, the score, the learning curve."""
    settings = recipe.train.hyperparameters
    with trained.curve.open(newline="") as file:
        rows = [[row[0], row[1], row[2], row[3], row[5]] for row in csv.reader(file)][1:]
    imitated = int(recipe.train.steps * float(str(settings["imitation_share"])))
    worst, low, median = np.quantile(scored.returns, (0.0, 0.05, 0.5))
    packages = ", ".join(f"{name} {version(name)}" for name in ("stable-baselines3", "torch", "ale-py", "gymnasium", "numpy"))
    return f"""# {recipe.name}

{recipe.task}

Trained by the quarl project from `recipe.toml` in this folder, seed {recipe.train.seed}, {trained.steps:,} steps of four frames in \
{recipe.train.envs} parallel games, {float(rows[-1][4]):,.0f} s of one core ({platform.machine()}). The licence is quarl's own.
Packages: python {platform.python_version()}, {packages}.

1. **A warm start, not learnt from points.** The first {imitated:,} steps are DAgger: the network plays, a scripted expert that reads the
   console's memory (`quarl.train.{settings["expert"]}_expert`) says what it would have done, and the network learns to say the same.
   The network itself sees only the screen.
2. The value head is fitted to the returns of the network's own play.
3. PPO of Stable-Baselines3 on the signs of the points, {trained.steps - imitated:,} steps.

The weights are those with the best mean return at a checkpoint, on games kept apart for choosing. They are saved by `PPO.save` without
the optimiser's moments: `stable_baselines3.PPO.load("policy.zip")` loads them. Again: `train_atari` of `quarl.train.atari`.

## Score

{len(scored.returns)} whole games, true points, no sticky actions, 0 to 30 frames of waiting before each (seeds {SCORE_SEED:_} to \
{SCORE_SEED + len(scored.returns) - 1:_}), the likeliest action in each step:
mean return {scored.returns.mean():.2f} (standard deviation {scored.returns.std():.2f}), worst {worst:.0f}, 5 % quantile {low:.0f}, \
median {median:.0f}; {scored.lengths.mean():,.0f} steps a game. Random play: {recipe.gate.random_return:.2f}.

The game is deterministic, and so is the player: only the frames of waiting tell two games apart. There are some thirty different starts,
so the games of the score and those that chose the checkpoint are largely the same ones.

## Learning curve

{SELECTION_EPISODES} games at each checkpoint, cut off after {SELECTION_LENGTH:,} steps.

| steps | mean return | standard deviation | steps a game | cpu s |
|---:|---:|---:|---:|---:|
{chr(10).join("| " + " | ".join(row) + " |" for row in rows)}

## Observations

`calibration.npz` and `heldout.npz` hold `obs`, uint8 [n, 4, 84, 84] (channels first: the network's own order, the newest frame last),
and `episode`, the number of the game each is from. They come from games of this policy in which actions are drawn from its odds: without
chance there are only some thirty different games. The two files share none.
"""


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
        game=str(recipe.env.kwargs["game"]),
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
        imitation=imitation,
        sharpening=float(numbers["sharpening"]),
        value_steps=min(int(numbers["value_steps"]), steps),
        ppo_steps=(steps - imitation_steps) // rollout * rollout,  # so that the learning rate ends at 0 and not below
        evaluations=1 if quick else int(numbers["evaluations"]),
        episodes=2 if quick else SELECTION_EPISODES,
        max_length=200 if quick else SELECTION_LENGTH,
        ppo={name: numbers[name] for name in ppo} | {"n_steps": n_steps},
    )
