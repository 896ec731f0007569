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
    imitation_learning_rate   of Adam, while imitating
    value_steps               steps played to fit the value head
    n_steps, batch_size, n_epochs, gamma, gae_lambda, learning_rate, clip_range, ent_coef     PPO's own; the rate falls to 0
    evaluations               how often PPO's policy is judged
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule, set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from quarl.envs.atari import AtariLanes, Console
from quarl.errors import InputError
from quarl.recipe import Recipe
from quarl.train.pong_expert import PongExpert
from quarl.train.trained import CURVE_FIELDS, Progress, Trained

SELECTION_SEED = 3_000_000
SELECTION_EPISODES = 16
STACK = 4


class Expert(Protocol):
    """A player that reads the memory of one console."""

    urgency: float  # how much hangs on the last advice

    def start(self) -> None:
        """Forget the game before."""

    def advise(self) -> int:
        """Return the action to take now."""
        ...

    def watch(self, action: int) -> None:
        """Take in what was done, which need not be what was advised."""


EXPERTS: dict[str, Callable[[Console, np.random.Generator], Expert]] = {"pong": PongExpert}


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recipe's numbers, read once."""

    game: str
    expert: str
    seed: int
    envs: int
    imitation_steps: int
    imitation_round: int
    imitation_epochs: int
    imitation_learning_rate: float
    value_steps: int
    ppo_steps: int
    evaluations: int
    episodes: int
    max_length: int
    ppo: Mapping[str, Any]

    @property
    def steps(self) -> int:
        return self.imitation_steps + self.ppo_steps


def fit(recipe: Recipe, run: Path, *, quick: bool, resume: bool, progress: Callable[[Progress], None] | None) -> Trained:
    """Return the trained policy, the best on games kept apart for choosing.

    Raises:
        InputError: an unknown expert, a hyperparameter that is missing or unknown, or nothing to resume from.
    """
    torch.set_num_threads(1)
    plan = _read_plan(recipe, quick)
    set_random_seed(plan.seed)
    journal = _Journal(run, plan, progress, resume)
    envs = AtariVecEnv(plan.game, plan.envs)
    envs.seed(plan.seed)
    model = PPO("CnnPolicy", envs, seed=plan.seed, device="cpu", **_ppo_settings(plan, journal))
    _compute_in_bfloat16(model)
    _imitate(model, plan, journal)
    if journal.ppo_steps == 0:
        _fit_values(model, plan)
    else:
        model.set_parameters(run / "ppo.zip")
    if journal.ppo_steps < plan.ppo_steps:
        model.learn(plan.ppo_steps - journal.ppo_steps, callback=_Judge(plan, journal))
    best = PPO.load(journal.best_path, device="cpu")
    return Trained(_act(best), lambda path: _save(best, path), None, journal.curve_path, plan.steps)


class AtariVecEnv(VecEnv):
    """`AtariLanes` as Stable-Baselines3 wants them: rewards are the signs of the points, lanes restart by themselves."""

    def __init__(self, game: str, lanes: int) -> None:
        self._lanes = AtariLanes(game, lanes)
        super().__init__(lanes, self._lanes.single_observation_space, self._lanes.single_action_space)
        self._actions = np.zeros(lanes, np.int64)
        self._returns = np.zeros(lanes)
        self._lengths = np.zeros(lanes, np.int64)

    def reset(self) -> NDArray[np.uint8]:
        """Start a game in every lane."""
        obs, _ = self._lanes.reset(seed=self._seeds)
        self._reset_seeds()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions [lanes]."""
        self._actions = np.asarray(actions, np.int64)

    def step_wait(self) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Return observations, rewards, ends and infos; where a game ended, the observation is the next game's first."""
        obs, points, terminated, truncated, _ = self._lanes.step(self._actions)
        self._returns += points
        self._lengths += 1
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for lane in np.flatnonzero(done):
            infos[lane] = {"terminal_observation": obs[lane].copy(), "TimeLimit.truncated": bool(truncated[lane] and not terminated[lane])}
            infos[lane]["episode"] = {"r": float(self._returns[lane]), "l": int(self._lengths[lane]), "t": 0.0}
        if done.any():
            self._returns[done] = 0.0
            self._lengths[done] = 0
            fresh, _ = self._lanes.reset(options={"reset_mask": done})
            obs[done] = fresh[done]
        return obs, np.sign(points).astype(np.float32), done, infos

    def close(self) -> None:
        """Close the lanes."""
        self._lanes.close()

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Return the attribute once per lane; all lanes share it."""
        return [getattr(self._lanes, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set the attribute of all lanes."""
        setattr(self._lanes, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any) -> list[Any]:
        """Return what the method answers, once per lane."""
        return [getattr(self._lanes, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """Say that no lane is wrapped; this class reports episodes itself."""
        return [False] * len(list(self._get_indices(indices)))


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What was seen and advised in one round: [steps, lanes, ...]."""

    frames: NDArray[np.uint8]  # [steps, lanes, 84, 84], the newest of each stack
    age: NDArray[np.int32]  # steps since the lane's game began or the round began, whichever is later
    advice: NDArray[np.int64]
    urgency: NDArray[np.float32]

    def usable(self) -> NDArray[np.int64]:
        """Return the flat indices of steps whose whole stack is in the round."""
        return np.flatnonzero(self.age.ravel() >= STACK - 1)

    def stacks(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return observations [n, 4, 84, 84] of these steps."""
        step, lane = np.divmod(index, self.frames.shape[1])
        return np.stack([self.frames[step - back, lane] for back in range(STACK - 1, -1, -1)], axis=1)


def _imitate(model: PPO, plan: _Plan, journal: _Journal) -> None:
    """Teach the model's features and action head by DAgger, from where the journal stands."""
    policy = model.policy
    parameters = [*policy.features_extractor.parameters(), *policy.action_net.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=plan.imitation_learning_rate)
    lessons = journal.read_lessons()
    if lessons:
        state = torch.load(journal.imitation_path, weights_only=True)
        policy.load_state_dict(state["policy"])
        optimizer.load_state_dict(state["optimizer"])
    rounds = -(-plan.imitation_steps // plan.imitation_round)
    if len(lessons) >= rounds:
        return
    school = _School(plan, plan.seed + len(lessons))
    for number in range(len(lessons), rounds):
        lesson = school.play(model, plan.imitation_round // plan.envs, follow=number == 0)
        lessons.append(lesson)
        for group in optimizer.param_groups:  # the last third cools down
            group["lr"] = plan.imitation_learning_rate * min(1.0, 3.0 * (1.0 - number / rounds) + 0.05)
        loss, agreement = _study(policy, optimizer, lessons, plan, np.random.default_rng((plan.seed, number)))
        journal.write_lesson(number, lesson, {"policy": policy.state_dict(), "optimizer": optimizer.state_dict()})
        journal.note(f"round {number + 1} of {rounds}: loss {loss:.3f}, agreement {agreement:.3f}, games {school.report()}")
        if (number + 1) % 10 == 0 or number + 1 == rounds:
            journal.judge(model, (number + 1) * plan.imitation_round)


class _School:
    """Lanes with a console and an expert each."""

    def __init__(self, plan: _Plan, seed: int) -> None:
        self._lanes = AtariLanes(plan.game, plan.envs)
        self._rng = np.random.default_rng(seed)
        self._consoles = [Console(plan.game) for _ in range(plan.envs)]
        self._experts = [EXPERTS[plan.expert](console, self._rng) for console in self._consoles]
        self._returns = np.zeros(plan.envs)
        self._finished: list[float] = []
        self._obs = np.zeros(0, np.uint8)
        self._restart(np.ones(plan.envs, np.bool_))

    def _restart(self, mask: NDArray[np.bool_]) -> None:
        seeds = [int(self._rng.integers(2**31 - 1)) for _ in mask]
        everything = bool(mask.all())
        obs, info = self._lanes.reset(seed=seeds, options=None if everything else {"reset_mask": mask})
        if everything:
            self._obs = obs
        self._obs[mask] = obs[mask]
        for lane in np.flatnonzero(mask):
            self._consoles[lane].start(int(info["episode_frame_number"][lane]))
            self._experts[lane].start()
            self._returns[lane] = 0.0

    def report(self) -> str:
        """Return the returns of the last games."""
        return " ".join(f"{points:.0f}" for points in self._finished[-8:])

    def play(self, model: PPO, steps: int, *, follow: bool) -> _Lesson:
        """Return a round in every lane; the model acts, or the expert with `follow`, and half of the lanes do without chance."""
        lanes = self._lanes.num_envs
        frames = np.zeros((steps, lanes, *self._obs.shape[2:]), np.uint8)
        age, advice, urgency = np.zeros((steps, lanes), np.int32), np.zeros((steps, lanes), np.int64), np.zeros((steps, lanes), np.float32)
        since = np.zeros(lanes, np.int32)
        sure = np.arange(lanes) % 2 == 0
        for step in range(steps):
            frames[step], age[step] = self._obs[:, -1], since
            advice[step] = [expert.advise() for expert in self._experts]
            urgency[step] = [expert.urgency for expert in self._experts]
            actions = advice[step].copy() if follow else np.where(sure, _choose(model, self._obs, True), _choose(model, self._obs, False))
            obs, points, terminated, truncated, _ = self._lanes.step(actions)
            self._obs = obs
            self._returns += points
            since += 1
            for lane, expert in enumerate(self._experts):
                self._consoles[lane].step(int(actions[lane]))
                expert.watch(int(actions[lane]))
            done = terminated | truncated
            if done.any():
                self._finished += self._returns[done].tolist()
                self._restart(done)
                since[done] = 0
        return _Lesson(frames, age, advice, urgency)


def _study(
    policy: Any, optimizer: torch.optim.Optimizer, lessons: list[_Lesson], plan: _Plan, rng: np.random.Generator
) -> tuple[float, float]:
    """Update the policy on the newest lesson and as many older steps; return the mean loss and the agreement with the advice."""
    losses, agreements = [], []
    half = int(plan.ppo["batch_size"]) // 2
    new = lessons[-1].usable()
    old = [lesson.usable() for lesson in lessons]
    ends = np.cumsum([len(usable) for usable in old])
    policy.set_training_mode(True)
    for _ in range(plan.imitation_epochs):
        order = rng.permutation(new)
        for start in range(0, len(order) - half + 1, half):
            parts = [(lessons[-1], order[start : start + half])]
            drawn = rng.integers(ends[-1], size=half)
            owner = np.searchsorted(ends, drawn, side="right")
            for which in np.unique(owner):
                first = ends[which] - len(old[which])
                parts.append((lessons[which], old[which][drawn[owner == which] - first]))
            obs = torch.from_numpy(np.concatenate([lesson.stacks(index) for lesson, index in parts]))
            advice = torch.from_numpy(np.concatenate([lesson.advice.ravel()[index] for lesson, index in parts]))
            urgency = torch.from_numpy(np.concatenate([lesson.urgency.ravel()[index] for lesson, index in parts]))
            logits = policy.action_net(policy.extract_features(obs))
            loss = (torch.nn.functional.cross_entropy(logits, advice, reduction="none") * urgency).sum() / urgency.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            agreements.append(float((logits.argmax(1) == advice).float().mean()))
    return float(np.mean(losses)), float(np.mean(agreements))


def _fit_values(model: PPO, plan: _Plan) -> None:
    """Fit the value head to the discounted returns of the policy's own play, by ridge regression on its features."""
    envs, gamma = model.env, model.gamma
    assert envs is not None
    steps = max(2, plan.value_steps // plan.envs)
    features, rewards, dones = [], np.zeros((steps, plan.envs)), np.zeros((steps, plan.envs))
    obs = envs.reset()
    for step in range(steps):
        with torch.no_grad():
            features.append(model.policy.extract_features(torch.from_numpy(obs)).float().numpy())
        obs, rewards[step], dones[step], _ = envs.step(_choose(model, obs, False))
    returns = np.zeros((steps, plan.envs))
    ahead = np.zeros(plan.envs)
    for step in range(steps - 1, -1, -1):
        ahead = rewards[step] + gamma * ahead * (1.0 - dones[step])
        returns[step] = ahead
    kept = max(1, steps - int(3 / (1 - gamma)))  # the returns of the last steps are cut off
    x = np.stack(features[:kept]).reshape(kept * plan.envs, -1).astype(np.float64)
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
        self._imitated = plan.imitation_steps
        self._left = max(1, plan.ppo_steps)

    def _on_rollout_start(self) -> None:
        done = self._before + self.num_timesteps
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


LEFT_OUT = ("_last_obs", "_last_original_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer")


class _Journal:
    """The run folder: what was learnt from, the curve, the best policy."""

    def __init__(self, run: Path, plan: _Plan, progress: Callable[[Progress], None] | None, resume: bool) -> None:
        self.run = run
        self.best_path = run / "best.zip"
        self.curve_path = run / "curve.csv"
        self.imitation_path = run / "imitation.pt"
        self.ppo_steps = 0
        self._lessons_path = run / "lessons"
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
        self._lessons_path.mkdir(parents=True, exist_ok=True)
        for path in self._lessons_path.glob("*.npz"):
            path.unlink()
        with self.curve_path.open("w", newline="") as file:
            csv.writer(file).writerow(CURVE_FIELDS)
        (run / "log.txt").write_text("")
        self._write_state()

    def read_lessons(self) -> list[_Lesson]:
        """Return the rounds played so far."""
        lessons = []
        for path in sorted(self._lessons_path.glob("*.npz")):
            with np.load(path) as arrays:
                lessons.append(_Lesson(arrays["frames"], arrays["age"], arrays["advice"], arrays["urgency"]))
        return lessons

    def write_lesson(self, number: int, lesson: _Lesson, state: dict[str, Any]) -> None:
        """Keep a round and the state of the network after it."""
        torch.save(state, self.imitation_path)
        arrays = {"frames": lesson.frames, "age": lesson.age, "advice": lesson.advice, "urgency": lesson.urgency}
        np.savez_compressed(self._lessons_path / f"{number:04d}.npz", **arrays)  # type: ignore[arg-type]
        self._write_state()

    def note(self, line: str) -> None:
        """Add a line to the log."""
        with (self.run / "log.txt").open("a") as file:
            file.write(f"{self._spent_s():8.0f} cpu s  {line}\n")

    def judge(self, model: PPO, steps: int) -> None:
        """Play the games kept apart, write the curve, keep the policy if none was better."""
        returns, lengths = play_games(self._plan.game, _act(model), SELECTION_SEED, self._plan.episodes, self._plan.max_length)
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


def play_games(
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
    extractor = model.policy.features_extractor.to(memory_format=torch.channels_last)
    plain = extractor.forward

    def forward(obs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return plain(obs.contiguous(memory_format=torch.channels_last)).float()

    extractor.forward = forward


def _choose(model: PPO, obs: NDArray[np.uint8], sure: bool) -> NDArray[np.int64]:
    """Return actions [lanes]: the likeliest, or drawn."""
    model.policy.set_training_mode(False)
    with torch.no_grad():
        logits = model.policy.action_net(model.policy.extract_features(torch.from_numpy(obs)))
        chosen = logits.argmax(1) if sure else torch.distributions.Categorical(logits=logits).sample()
    return np.asarray(chosen.numpy(), np.int64)


def _act(model: PPO) -> Callable[[NDArray[np.uint8]], NDArray[np.int64]]:
    return lambda obs: _choose(model, obs, True)


def _save(model: PPO, path: Path) -> None:
    """Write the policy as `model.save` does, without what only training needs: optimiser moments and the last observations."""
    model.policy.optimizer.state.clear()
    model.save(path, exclude=list(LEFT_OUT))


def _ppo_settings(plan: _Plan, journal: _Journal) -> dict[str, Any]:
    settings = dict(plan.ppo)
    share_left = 1.0 - journal.ppo_steps / max(1, plan.ppo_steps)
    settings["learning_rate"] = LinearSchedule(float(settings["learning_rate"]) * share_left, 0.0, 1.0)
    return settings


def _read_plan(recipe: Recipe, quick: bool) -> _Plan:
    settings = dict(recipe.train.hyperparameters)
    own = ("expert", "imitation_share", "imitation_round", "imitation_epochs", "imitation_learning_rate", "value_steps", "evaluations")
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
    return _Plan(
        game=str(recipe.env.kwargs["game"]),
        expert=str(numbers["expert"]),
        seed=recipe.train.seed,
        envs=recipe.train.envs,
        imitation_steps=imitation_steps,
        imitation_round=min(int(numbers["imitation_round"]), imitation_steps),
        imitation_epochs=int(numbers["imitation_epochs"]),
        imitation_learning_rate=float(numbers["imitation_learning_rate"]),
        value_steps=min(int(numbers["value_steps"]), steps),
        ppo_steps=steps - imitation_steps,
        evaluations=1 if quick else int(numbers["evaluations"]),
        episodes=2 if quick else SELECTION_EPISODES,
        max_length=200 if quick else 27_000,
        ppo={name: numbers[name] for name in ppo},
    )
