"""Training with Stable-Baselines3 and sb3-contrib: PPO, A2C, DQN, QR-DQN, SAC, TD3, TQC on any
gymnasium environment.

Goes in: a recipe and a run folder. Comes out: a `Trained` policy, the best checkpoint by its mean
return on episodes kept for that.
The run folder holds the checkpoint that a later call resumes from, the best one so far, and the
learning curve.

Hyperparameters of a recipe go to the algorithm's constructor as they are, but for these:
    net_arch, activation      layers ([64, 64] or {pi = [...], qf = [...]}) and "tanh", "relu" or
                              "elu" between them
    learning_rate_end         the learning rate falls to this value on a straight line
    normalize_rewards         rewards are divided by the running deviation of the return while
                              training
    clip_obs                  where normalised observations are clipped, 10 unless given
    fold_normalizer           put the normaliser into the first layer when done, without its
                              clipping: give a large clip_obs
    evaluations               how many checkpoints are made and judged, 20 unless given
    action_noise              standard deviation of the noise that DDPG and TD3 explore with, in
                              actions of -1 to 1
    action_noise_kind         "normal" unless given, or "ornstein-uhlenbeck"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule, set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from quarl.errors import InputError
from quarl.graph.contract import Normalizer
from quarl.graph.env_spec import EnvSpec
from quarl.graph.reference import act
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import run_episodes
from quarl.sources.recipe import Recipe, Setting
from quarl.stats.seeds import CHECKPOINT_SEED
from quarl.train.journal import Journal
from quarl.train.precision import in_bf16
from quarl.train.quantised import Quantise
from quarl.train.sb3_files import Checkpoint, save_model
from quarl.train.sb3_lanes import Lanes
from quarl.train.trained import Run, Trained

CHECKPOINT_EPISODES = 40
ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "elu": torch.nn.ELU,
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recipe's numbers, read once."""

    evaluations: int
    clip_obs: float
    fold: bool
    normalize_rewards: bool
    gamma: float
    settings: Mapping[str, Setting]  # of the algorithm's constructor


def fit(recipe: Recipe, run: Run) -> Trained:
    """Return the trained policy.

    Raises:
        InputError: an algorithm or hyperparameter that Stable-Baselines3 does not have, or nothing
            to resume from.
    """
    torch.set_num_threads(1)
    plan, steps = _read_plan(recipe), run.steps_of(recipe)
    envs = _envs(recipe, plan)
    try:
        algorithm = _algorithm(recipe.algorithm)
        if recipe.train.precision == "bf16":
            algorithm = in_bf16(algorithm)
        set_random_seed(recipe.train.seed)
        journal = Journal(run, steps)
        latest, best = Checkpoint(run.folder / "checkpoint"), Checkpoint(run.folder / "best")
        model = (
            latest.load(algorithm, envs) if run.resume else _begin(recipe, plan, algorithm, envs)
        )
        quantise = None if recipe.qat is None else Quantise(recipe.qat, steps, latest.folder)
        if quantise is not None and run.resume:
            quantise.resume(model, journal.steps)
        elif quantise is not None:
            quantise.forget()
        env = EnvSpec(recipe.env.id, recipe.env.kwargs)
        judge = _Judge(env, journal, latest, best, max(1, steps // plan.evaluations))
        judge.quantise = quantise
        callbacks: list[BaseCallback] = [judge] if quantise is None else [quantise, judge]
        if steps > model.num_timesteps:
            left = steps - model.num_timesteps
            model.learn(left, callback=callbacks, reset_num_timesteps=not run.resume)
        if quantise is not None:
            return _trained_in_integers(model, quantise, journal)
        return _trained_in_float(algorithm, best, journal, fold=plan.fold)
    finally:
        envs.close()


def _read_plan(recipe: Recipe) -> _Plan:
    settings = dict(recipe.train.hyperparameters)
    return _Plan(
        evaluations=_whole(settings.pop("evaluations", 20), "evaluations"),
        clip_obs=float(_number(settings.pop("clip_obs", 10.0), "clip_obs")),
        fold=bool(settings.pop("fold_normalizer", False)),
        normalize_rewards=bool(settings.pop("normalize_rewards", False)),
        gamma=float(_number(settings.get("gamma", 0.99), "gamma")),
        settings=settings,
    )


def _envs(recipe: Recipe, plan: _Plan) -> VecEnv:
    envs: VecEnv = Lanes(recipe.env, recipe.train.envs)
    norm_obs = recipe.train.normalize_observations
    if not (norm_obs or plan.normalize_rewards):
        return envs
    return VecNormalize(
        envs,
        norm_obs=norm_obs,
        norm_reward=plan.normalize_rewards,
        clip_obs=plan.clip_obs,
        gamma=plan.gamma,
    )


def _begin(
    recipe: Recipe, plan: _Plan, algorithm: type[BaseAlgorithm], envs: VecEnv
) -> BaseAlgorithm:
    """Return a model that has learned nothing yet."""
    envs.seed(recipe.train.seed)
    settings = dict(plan.settings)
    noise = _action_noise(settings, envs)
    arguments = _constructor(settings) | noise
    return algorithm("MlpPolicy", envs, seed=recipe.train.seed, device="cpu", **arguments)


class _Judge(BaseCallback):
    """Plays the policy every so many steps and at the end, and keeps the latest and the best
    checkpoint.
    """

    def __init__(
        self, env: EnvSpec, journal: Journal, latest: Checkpoint, best: Checkpoint, every: int
    ) -> None:
        super().__init__()
        self.quantise: Quantise | None = None
        self._env, self._journal = env, journal
        self._latest, self._best = latest, best
        self._every = every

    def _on_rollout_start(self) -> None:
        if self.quantise is not None and self.quantise.has_just_begun:
            self._evaluate()  # what rounding alone gives is the first candidate

    def _on_step(self) -> bool:
        if self.num_timesteps // self._every > self._journal.steps // self._every:
            self._evaluate()
        return True

    def _on_training_end(self) -> None:
        if self.num_timesteps > self._journal.steps:
            self._evaluate()

    def _evaluate(self) -> None:
        grafted = None if self.quantise is None else self.quantise.graft
        if grafted is None:
            self._latest.save(self.model, whole=True)
            actor = _actor(self.model, self._latest.normalizer())
        else:
            assert self.quantise is not None
            self.quantise.save()
            actor = partial(act, grafted.integers())
        played = run_episodes(
            self._env, actor, range(CHECKPOINT_SEED, CHECKPOINT_SEED + CHECKPOINT_EPISODES)
        )
        counts = self.quantise is None or grafted is not None
        if self._journal.judge(self.num_timesteps, played, may_be_best=counts):
            if grafted is None:
                self._best.save(self.model, whole=False)
            else:
                assert self.quantise is not None
                self.quantise.keep_best()


def _trained_in_float(
    algorithm: type[BaseAlgorithm], checkpoint: Checkpoint, journal: Journal, *, fold: bool
) -> Trained:
    best = algorithm.load(checkpoint.model_path, device="cpu")
    normalizer = checkpoint.normalizer()
    if fold and normalizer is not None:
        _fold(best, normalizer)
        normalizer = None
    return Trained(
        _actor(best, normalizer),
        lambda path: save_model(best, path),
        normalizer,
        journal.curve_path,
        journal.total,
        CHECKPOINT_EPISODES,
    )


def _trained_in_integers(model: BaseAlgorithm, quantise: Quantise, journal: Journal) -> Trained:
    integers, normalizer = quantise.finish()
    return Trained(
        _actor(model, normalizer),
        lambda path: save_model(model, path),
        normalizer,
        journal.curve_path,
        journal.total,
        CHECKPOINT_EPISODES,
        integers=integers,
    )


def _actor(model: BaseAlgorithm, normalizer: Normalizer | None) -> Actor:
    def act(obs: NDArray[Any]) -> NDArray[Any]:
        actions, _ = model.predict(
            obs if normalizer is None else normalizer.apply(obs).astype(np.float32),
            deterministic=True,
        )
        return np.asarray(actions)

    return act


def _fold(model: BaseAlgorithm, normalizer: Normalizer) -> None:
    """Change the first layers so that they take raw observations: W (x - mean) / std + b = (W /
    std) x + (b - W mean / std).
    """
    extractor = getattr(model.policy, "mlp_extractor", None)
    if extractor is None:
        raise InputError(
            f"fold_normalizer: {type(model).__name__} has no separate policy network. Use "
            "PPO, A2C or TRPO."
        )
    mean, std = torch.tensor(normalizer.mean, dtype=torch.float64), torch.tensor(normalizer.std)
    for network in (extractor.policy_net, extractor.value_net):
        first = network[0]
        with torch.no_grad():
            weight = first.weight.double() / std
            first.bias.copy_(first.bias.double() - weight @ mean)
            first.weight.copy_(weight)


def _algorithm(name: str) -> type[BaseAlgorithm]:
    import sb3_contrib
    import stable_baselines3

    found = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name, None)
    if not (isinstance(found, type) and issubclass(found, BaseAlgorithm)):
        raise InputError(
            f'algorithm "{name}": neither Stable-Baselines3 nor sb3-contrib has it. Write it '
            "as they do: PPO, QRDQN."
        )
    return found


def _constructor(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return the keyword arguments of the algorithm's constructor."""
    arguments: dict[str, Any] = dict(settings)
    policy: dict[str, Any] = dict(arguments.pop("policy_kwargs", {}))
    if "net_arch" in arguments:
        policy["net_arch"] = arguments.pop("net_arch")
    if "activation" in arguments:
        activation = arguments.pop("activation")
        if activation not in ACTIVATIONS:
            raise InputError(f'activation "{activation}"; allowed: {", ".join(ACTIVATIONS)}')
        policy["activation_fn"] = ACTIVATIONS[activation]
    if "learning_rate_end" in arguments:
        arguments["learning_rate"] = LinearSchedule(
            arguments["learning_rate"], arguments.pop("learning_rate_end"), 1.0
        )
    return arguments | {"policy_kwargs": policy}


def _action_noise(settings: dict[str, Setting], envs: VecEnv) -> dict[str, Any]:
    """Return the constructor's `action_noise`, taken out of the settings; empty where none is
    given.
    """
    kind = settings.pop("action_noise_kind", "normal")
    if "action_noise" not in settings:
        return {}
    spread = _number(settings.pop("action_noise"), "action_noise")
    size = np.full(envs.action_space.shape or (), spread)
    if kind == "normal":
        return {"action_noise": NormalActionNoise(np.zeros_like(size), size)}
    if kind == "ornstein-uhlenbeck":
        return {"action_noise": OrnsteinUhlenbeckActionNoise(np.zeros_like(size), size)}
    raise InputError(
        f"[train.hyperparameters] action_noise_kind: {kind!r}; allowed: normal, ornstein-uhlenbeck"
    )


def _whole(value: Setting, key: str) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise InputError(f"[train.hyperparameters] {key}: {value!r}; allowed: an integer above 0")


def _number(value: Setting, key: str) -> float:
    if isinstance(value, int | float):
        return value
    raise InputError(f"[train.hyperparameters] {key}: {value!r}; allowed: a number")
