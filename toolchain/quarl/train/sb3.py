"""Training with Stable-Baselines3 and sb3-contrib: PPO, A2C, DQN, QR-DQN, SAC, TD3, TQC on any
gymnasium environment.

Goes in: a recipe and a run folder. Comes out: a `Trained` policy, the best checkpoint by its mean
return on episodes kept for that.
The run folder holds the checkpoint that a later call resumes from, the best one so far, and the
learning curve.

Hyperparameters of a recipe go to the algorithm's constructor as they are, but for these:
    net_arch, activation      layers ([64, 64] or {pi = [...], qf = [...]}) and "tanh", "relu" or "elu" between them
    learning_rate_end         the learning rate falls to this value on a straight line
    normalize_rewards         rewards are divided by the running deviation of the return while training
    clip_obs                  where normalised observations are clipped, 10 unless given
    fold_normalizer           put the normaliser into the first layer when done, without its clipping: give a large clip_obs
    evaluations               how many checkpoints are made and judged, 20 unless given
    action_noise              standard deviation of the noise that DDPG and TD3 explore with, in actions of -1 to 1
    action_noise_kind         "normal" unless given, or "ornstein-uhlenbeck"
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule, set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from quarl.errors import InputError
from quarl.graph.contract import Normalizer
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import run_episodes
from quarl.seeds import CHECKPOINT_SEED
from quarl.sources.recipe import EnvRecipe, Recipe, Setting
from quarl.train.journal import Journal
from quarl.train.parallel import make_lanes
from quarl.train.trained import Progress, Trained

CHECKPOINT_EPISODES = 40
ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "elu": torch.nn.ELU,
}
LEFT_OUT = (
    "start_time", "_last_obs", "_last_original_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer", "replay_buffer_class",
)  # fmt: skip


def fit(
    recipe: Recipe,
    run: Path,
    *,
    quick: bool,
    resume: bool,
    progress: Callable[[Progress], None] | None,
) -> Trained:
    """Return the trained policy.

    Raises:
        InputError: an algorithm or hyperparameter that Stable-Baselines3 does not have, or nothing
            to resume from.
    """
    torch.set_num_threads(1)
    settings = dict(recipe.train.hyperparameters)
    evaluations = _whole(settings.pop("evaluations", 20), "evaluations")
    clip_obs = float(_number(settings.pop("clip_obs", 10.0), "clip_obs"))
    fold = bool(settings.pop("fold_normalizer", False))
    normalize_rewards = bool(settings.pop("normalize_rewards", False))
    steps = recipe.train.quick_steps if quick else recipe.train.steps

    envs: VecEnv = Lanes(recipe.env, recipe.train.envs)
    if recipe.train.normalize_observations or normalize_rewards:
        gamma = float(_number(settings.get("gamma", 0.99), "gamma"))
        norm_obs = recipe.train.normalize_observations
        envs = VecNormalize(
            envs, norm_obs=norm_obs, norm_reward=normalize_rewards, clip_obs=clip_obs, gamma=gamma
        )
    algorithm = _algorithm(recipe.algorithm)
    set_random_seed(recipe.train.seed)
    journal = Journal(run, steps, progress, resume=resume)
    checkpoint, best_checkpoint = _Checkpoint(run / "checkpoint"), _Checkpoint(run / "best")
    try:
        if resume:
            model = checkpoint.load(algorithm, envs)
        else:
            envs.seed(recipe.train.seed)
            noise = _action_noise(settings, envs)
            model = algorithm(
                "MlpPolicy",
                envs,
                seed=recipe.train.seed,
                device="cpu",
                **_constructor(settings) | noise,
            )
        judge = _Judge(
            EnvSpec(recipe.env.id, recipe.env.kwargs),
            journal,
            checkpoint,
            best_checkpoint,
            max(1, steps // evaluations),
        )
        if steps > model.num_timesteps:
            model.learn(steps - model.num_timesteps, callback=judge, reset_num_timesteps=not resume)
        best = algorithm.load(best_checkpoint.model_path, device="cpu")
        normalizer = best_checkpoint.normalizer()
        if fold and normalizer is not None:
            _fold(best, normalizer)
            normalizer = None
        return Trained(
            _actor(best, normalizer),
            lambda path: save_model(best, path),
            normalizer,
            journal.curve_path,
            steps,
            CHECKPOINT_EPISODES,
        )
    finally:
        envs.close()


class Lanes(VecEnv):
    """A gymnasium vector environment as Stable-Baselines3 wants it: lanes restart by themselves,
    the last observation goes to `info`.
    """

    def __init__(self, env: EnvRecipe, lanes: int) -> None:
        self._envs = make_lanes(env, lanes)
        super().__init__(lanes, self._envs.single_observation_space, self._envs.single_action_space)
        self._actions: NDArray[Any] | None = None
        self._returns = np.zeros(lanes)
        self._lengths = np.zeros(lanes, np.int64)

    def reset(self) -> NDArray[Any]:
        """Start an episode in every lane; with the seeds given to `seed` where there are any."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        obs, _ = self._envs.reset(seed=seeds)  # type: ignore[arg-type]  # gymnasium's vector environments take a list
        self._reset_seeds()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return np.array(obs)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions [lanes, ...]."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Return observations, rewards, ends and infos; where an episode ended, the observation is
        the next episode's first.
        """
        obs, rewards, terminated, truncated, info = self._envs.step(self._actions)
        done = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            for lane in np.flatnonzero(done):
                infos[lane]["terminal_observation"] = np.array(obs[lane])
                infos[lane]["TimeLimit.truncated"] = bool(truncated[lane] and not terminated[lane])
                infos[lane]["episode"] = {
                    "r": float(self._returns[lane]),
                    "l": int(self._lengths[lane]),
                    "t": 0.0,
                }
                if "success" in info:
                    infos[lane]["is_success"] = bool(info["success"][lane])
            self._returns[done] = 0.0
            self._lengths[done] = 0
            obs, info = self._envs.reset(options={"reset_mask": done})
        for told, lives in zip(
            infos, info.get("lives", ()), strict=False
        ):  # of the games that go on, or have just begun
            told["lives"] = int(lives)
        return np.array(obs), np.asarray(rewards, np.float32), done, infos

    def close(self) -> None:
        """Close the environment."""
        self._envs.close()

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Return the attribute once per lane; all lanes share it."""
        return [getattr(self._envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None
    ) -> None:
        """Set the attribute of all lanes."""
        setattr(self._envs, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *args: Any,
        indices: int | Iterable[int] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Return what the method answers, once per lane."""
        return [getattr(self._envs, method_name)(*args, **kwargs)] * len(
            list(self._get_indices(indices))
        )

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: int | Iterable[int] | None = None,
    ) -> list[bool]:
        """Say that no lane is wrapped; this class reports episodes itself."""
        return [False] * len(list(self._get_indices(indices)))


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A model and its normaliser in a folder. Nothing of it is committed."""

    folder: Path

    @property
    def model_path(self) -> Path:
        return self.folder / "model.zip"

    def save(self, model: BaseAlgorithm, *, whole: bool) -> None:
        """Write the model; `whole` adds what only going on with the training needs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        model.save(self.model_path)
        envs = model.get_vec_normalize_env()
        if envs is not None:
            rewards = envs.ret_rms
            state = {
                "return_var": rewards.var,
                "return_mean": rewards.mean,
                "return_count": rewards.count,
            }
            if envs.norm_obs:
                assert not isinstance(envs.obs_rms, dict)
                state |= {
                    "mean": envs.obs_rms.mean,
                    "var": envs.obs_rms.var,
                    "count": envs.obs_rms.count,
                }
                state |= {
                    "epsilon": np.float64(envs.epsilon),
                    "clip_obs": np.float64(envs.clip_obs),
                }
            np.savez(self.folder / "normalizer.npz", **state)  # type: ignore[arg-type]
        if whole and isinstance(model, OffPolicyAlgorithm):
            model.save_replay_buffer(self.folder / "replay.pkl")

    def load(self, algorithm: type[BaseAlgorithm], envs: VecEnv) -> BaseAlgorithm:
        """Return the model, ready to go on in `envs`."""
        if not self.model_path.exists():
            raise InputError(
                f"{self.folder}: there is no checkpoint to resume from. Train without --resume."
            )
        model = algorithm.load(self.model_path, env=envs, device="cpu", force_reset=True)
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(self.folder / "replay.pkl")
        if isinstance(envs, VecNormalize):
            with np.load(self.folder / "normalizer.npz") as state:
                envs.ret_rms.mean, envs.ret_rms.var, envs.ret_rms.count = (
                    state["return_mean"],
                    state["return_var"],
                    state["return_count"],
                )
                if envs.norm_obs:
                    assert not isinstance(envs.obs_rms, dict)
                    envs.obs_rms.mean, envs.obs_rms.var, envs.obs_rms.count = (
                        state["mean"],
                        state["var"],
                        state["count"],
                    )
        return model

    def normalizer(self) -> Normalizer | None:
        """Return the observation normaliser; None where observations are used as they are."""
        path = self.folder / "normalizer.npz"
        if not path.exists():
            return None
        with np.load(path) as state:
            if "mean" not in state:
                return None
            mean, var = tuple(state["mean"].tolist()), tuple(state["var"].tolist())
            return Normalizer(mean, var, float(state["epsilon"]), float(state["clip_obs"]))


class _Judge(BaseCallback):
    """Plays the policy every so many steps and at the end, and keeps the latest and the best
    checkpoint.
    """

    def __init__(
        self, env: EnvSpec, journal: Journal, latest: _Checkpoint, best: _Checkpoint, every: int
    ) -> None:
        super().__init__()
        self._env, self._journal = env, journal
        self._latest, self._best = latest, best
        self._every = every

    def _on_step(self) -> bool:
        if self.num_timesteps // self._every > self._journal.steps // self._every:
            self._evaluate()
        return True

    def _on_training_end(self) -> None:
        if self.num_timesteps > self._journal.steps:
            self._evaluate()

    def _evaluate(self) -> None:
        self._latest.save(self.model, whole=True)
        actor = _actor(self.model, self._latest.normalizer())
        played = run_episodes(
            self._env, actor, range(CHECKPOINT_SEED, CHECKPOINT_SEED + CHECKPOINT_EPISODES)
        )
        if self._journal.judge(self.num_timesteps, played):
            self._best.save(self.model, whole=False)


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


def save_model(model: BaseAlgorithm, path: Path) -> None:
    """Write the policy as `model.save` does, without what only training needs: optimiser moments
    and the last observations.
    """
    for optimizer in _optimizers(model):
        optimizer.state.clear()
    model.observation_space.seed(0)  # its generator is saved with it
    model.save(path, exclude=LEFT_OUT)
    _make_repeatable(path)


def _make_repeatable(path: Path) -> None:
    """Write a zip of `model.save` again without what the machine and the hour put in: the same
    training gives the same bytes.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    _, _, members["system_info.txt"] = members["system_info.txt"].partition(
        b"\n"
    )  # its first line is the kernel of this machine
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(
                zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED
            )


def _optimizers(model: BaseAlgorithm) -> list[torch.optim.Optimizer]:
    names, _ = model._get_torch_save_params()
    found = []
    for name in names:
        value: Any = model
        for part in name.split("."):
            value = getattr(value, part)
        if isinstance(value, torch.optim.Optimizer):
            found.append(value)
    return found


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
