"""Training with Keras: DQN (Mnih et al. 2015) on any gymnasium environment with a vector of
observations and discrete actions.

Goes in: a recipe and a run folder. Comes out: a `Trained` policy, the best checkpoint by its mean
return on episodes kept for that:
a Keras Sequential of Normalization (where the recipe normalises), Dense layers with ReLU, and one
value an action.

Double targets (van Hasselt et al. 2016), rewards over several steps, lanes that each explore at a
rate of their own (Horgan et al. 2018). The run folder holds the checkpoint that a later call
resumes from, the best one so far, and the learning curve. The store of transitions is not kept: a
resumed training fills it again with the play of its checkpoint.

Hyperparameters of a recipe:
    layers                    widths of the hidden layers
    learning_rate, learning_rate_end     of Adam; it falls from one to the other on a straight line
    batch_size, gamma
    n_step                    how many rewards a target adds up before it takes a value
    reward_scale              factor of the rewards while learning: values near 1 are learnt
                              quickest
    buffer_size, learning_starts         transitions kept; steps played before the first update
    updates_per_step          updates after each step of all lanes together
    target_update             updates after which the target network becomes a copy
    epsilon                   exploration of the boldest lane; the others go down to epsilon^8
    evaluations               how many checkpoints are made and judged
    teacher, teacher_updates  optional: a shipped Keras DQN of the same environment, gamma and
                              reward_scale, and how many updates learn its
                              values of all actions, while it plays; then DQN goes on, and weights
                              are kept from its second half alone
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from gymnasium import spaces
from numpy.typing import NDArray

with suppress(
    RuntimeError
):  # once TensorFlow has computed something, its threads cannot be changed
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec
from quarl.resources import models_dir
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import run_episodes
from quarl.sources.recipe import Recipe, read_recipe
from quarl.stats.seeds import CHECKPOINT_SEED
from quarl.train.journal import Journal
from quarl.train.parallel import make_lanes
from quarl.train.replay import Batch, Replay
from quarl.train.trained import Run, Trained

CHECKPOINT_EPISODES = 200
CHECKPOINT, BEST = "checkpoint.npz", "best.keras"  # of the run's folder
NORMALIZED_STEPS = 200  # of random play in every lane, which decide the normalisation
MAX_GRADIENT = 10.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """A recipe's numbers, read once."""

    layers: tuple[int, ...]
    learning_rate: float
    learning_rate_end: float
    batch_size: int
    gamma: float
    n_step: int
    reward_scale: float
    buffer_size: int
    learning_starts: int
    updates_per_step: int
    target_update: int
    epsilon: float
    evaluations: int
    teacher: str = ""
    teacher_updates: int = 0

    def taught_updates(self, steps: int, lanes: int) -> int:
        """Return how many updates learn from the teacher in a training of `steps`: at most half of
        it.
        """
        return min(self.teacher_updates, steps // (2 * lanes)) if self.teacher else 0


def fit(recipe: Recipe, run: Run) -> Trained:
    """Return the trained policy.

    Raises:
        InputError: another algorithm, a hyperparameter that is missing, unknown or of the wrong
            kind, an environment with other observations or actions, or nothing to resume from.
    """
    if recipe.algorithm != "DQN":
        raise InputError(
            f'{recipe.name}: algorithm "{recipe.algorithm}"; quarl trains DQN with keras'
        )
    plan = _read_plan(recipe)
    steps = run.steps_of(recipe)
    keras.utils.set_random_seed(recipe.train.seed)
    tf.config.experimental.enable_op_determinism()
    journal = Journal(run, steps)
    rng = np.random.default_rng((recipe.train.seed, journal.steps))
    play = _Play(recipe, plan, rng)
    try:
        learner = _Learner(_network(recipe, plan, play), plan)
        if run.resume:
            learner.read(run.folder / CHECKPOINT)
        _learn(recipe, plan, play, learner, journal, run.folder)
    finally:
        play.close()
    best = keras.saving.load_model(run.folder / BEST, compile=False)
    return Trained(
        _actor(best),
        lambda path: _save(best, path),
        None,
        journal.curve_path,
        steps,
        CHECKPOINT_EPISODES,
        _warm_start(recipe, plan, steps),
    )


def _learn(
    recipe: Recipe,
    plan: _Plan,
    play: _Play,
    learner: _Learner,
    journal: Journal,
    folder: Path,
) -> None:
    """Play and learn until the journal's total, judging the policy now and then."""
    start, steps = journal.steps, journal.total
    every = max(1, steps // plan.evaluations)
    done, share = start, recipe.train.envs
    warm = min(plan.learning_starts, steps // 4) // share * share  # whole rounds of the lanes
    taught = plan.taught_updates(steps, share)
    if start == 0 and taught:
        teacher = _Teacher(recipe, plan)
        while play.store.size < warm:
            play.step(teacher.values)
        for _ in range(taught):
            play.step(teacher.values)
            obs = play.store.draw(plan.batch_size, play.rng).obs
            learner.imitate(obs, teacher.values(obs))
    while play.store.size < warm:  # random play at first, the checkpoint's own play after a resume
        play.step(learner.values if start else None)
    done += 0 if start else warm + taught * share
    judged_from = (warm + taught * share + steps) // 2 if taught else 0
    while done < steps:
        play.step(learner.values)
        done += share
        for _ in range(plan.updates_per_step):
            learner.update(play.store.draw(plan.batch_size, play.rng), share=done / steps)
        if done // every > (done - share) // every or done >= steps:
            learner.write(folder / CHECKPOINT)
            seeds = range(CHECKPOINT_SEED, CHECKPOINT_SEED + CHECKPOINT_EPISODES)
            played = run_episodes(
                EnvSpec(recipe.env.id, recipe.env.kwargs), _actor(learner.online), seeds
            )
            if journal.judge(done, played, may_be_best=done >= judged_from):
                _save(learner.online, folder / BEST)


class _Play:
    """The lanes and the transitions that come of them."""

    def __init__(self, recipe: Recipe, plan: _Plan, rng: np.random.Generator) -> None:
        self.rng = rng
        self._envs = make_lanes(recipe.env, recipe.train.envs)
        observation, action = self._envs.single_observation_space, self._envs.single_action_space
        if not (
            isinstance(observation, spaces.Box)
            and len(observation.shape) == 1
            and isinstance(action, spaces.Discrete)
        ):
            self._envs.close()
            raise InputError(
                f"{recipe.env.id}: {observation}, {action}; DQN with Keras takes a vector and "
                "discrete actions"
            )
        self.obs_len, self.actions = observation.shape[0], int(action.n)
        self.store = Replay(
            plan.buffer_size, observation.shape, np.float32, plan.n_step, plan.gamma
        )
        lanes = recipe.train.envs
        self._epsilon = plan.epsilon ** (1 + 7 * np.arange(lanes) / max(1, lanes - 1))
        self._scale = plan.reward_scale
        self._obs = self._reset(seed=[int(seed) for seed in rng.integers(2**31 - 1, size=lanes)])

    def step(self, values: Callable[[NDArray[Any]], NDArray[Any]] | None) -> None:
        """Play one step in all lanes, at random without `values`."""
        lanes = len(self._obs)
        actions = self.rng.integers(self.actions, size=lanes)
        if values is not None:
            bold = self.rng.random(lanes) < self._epsilon
            actions = np.where(bold, actions, values(self._obs).argmax(axis=1))
        obs, reward, terminated, truncated, _ = self._envs.step(actions)
        obs = np.array(obs, np.float32)
        self.store.add(self._obs, actions, self._scale * reward, obs, terminated, truncated)
        done = terminated | truncated
        self._obs = self._reset(options={"reset_mask": done}) if done.any() else obs

    def seen(self, steps: int) -> NDArray[np.float32]:
        """Return observations [n, obs_len] of random play."""
        rows = []
        for _ in range(steps):
            self.step(None)
            rows.append(self._obs)
        return np.concatenate(rows)

    def close(self) -> None:
        """Close the environment."""
        self._envs.close()

    def _reset(self, **how: Any) -> NDArray[np.float32]:
        return np.array(self._envs.reset(**how)[0], np.float32)


class _Teacher:
    """A shipped policy and its values."""

    def __init__(self, recipe: Recipe, plan: _Plan) -> None:
        folder = models_dir() / plan.teacher
        known = read_recipe(folder)
        if known.framework != "keras" or (known.env.id, known.env.kwargs) != (
            recipe.env.id,
            recipe.env.kwargs,
        ):
            raise InputError(
                f"{recipe.name}: teacher {plan.teacher} is of {known.framework} for "
                f"{known.env.id}; allowed: keras, the same environment"
            )
        network = keras.saving.load_model(folder / known.source, compile=False)
        self._forward = tf.function(lambda obs: network(obs), reduce_retracing=True)

    def values(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return its values [n, actions]."""
        values: NDArray[np.float32] = self._forward(tf.convert_to_tensor(obs)).numpy()
        return values


class _Learner:
    """The online and the target network and what updates them."""

    def __init__(self, network: Any, plan: _Plan) -> None:
        self.online = network
        self._target = keras.models.clone_model(network)
        self._target.set_weights(network.get_weights())
        self._optimizer = keras.optimizers.Adam(plan.learning_rate, global_clipnorm=MAX_GRADIENT)
        self._optimizer.build(network.trainable_variables)
        self._plan = plan
        self._updates = 0
        self._forward = tf.function(lambda obs: self.online(obs), reduce_retracing=True)
        self._descend = tf.function(self._gradient_step, reduce_retracing=True)
        self._copy = tf.function(self._imitation_step, reduce_retracing=True)

    def values(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the online network's values [n, actions]."""
        values: NDArray[np.float32] = self._forward(tf.convert_to_tensor(obs)).numpy()
        return values

    def update(self, batch: Batch, *, share: float) -> None:
        """Take one step of Adam on the batch; `share` of the training is done."""
        plan = self._plan
        self._optimizer.learning_rate.assign(
            plan.learning_rate + share * (plan.learning_rate_end - plan.learning_rate)
        )
        self._descend(*(tf.convert_to_tensor(column) for column in batch))
        self._updates += 1
        if self._updates % plan.target_update == 0:
            self._target.set_weights(self.online.get_weights())

    def imitate(self, obs: NDArray[Any], values: NDArray[np.float32]) -> None:
        """Take one step of Adam towards a teacher's values [n, actions]; the target network follows
        as after DQN's own updates.
        """
        self._copy(tf.convert_to_tensor(obs), tf.convert_to_tensor(values))
        self._updates += 1
        if self._updates % self._plan.target_update == 0:
            self._target.set_weights(self.online.get_weights())

    def write(self, path: Path) -> None:
        """Write all that a later call needs to go on."""
        arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        np.savez(path, updates=self._updates, **arrays)

    def read(self, path: Path) -> None:
        """Go on from what `write` wrote."""
        if not path.exists():
            raise InputError(
                f"{path.parent}: there is no checkpoint to resume from. Train without --resume."
            )
        with np.load(path) as arrays:
            self._updates = int(arrays["updates"])
            for name, variable in self._variables().items():
                variable.assign(arrays[name])

    def _variables(self) -> dict[str, Any]:
        groups = {
            "online": self.online.weights,
            "target": self._target.weights,
            "adam": self._optimizer.variables,
        }
        return {
            f"{group}_{number}": variable
            for group, variables in groups.items()
            for number, variable in enumerate(variables)
        }

    def _gradient_step(
        self, obs: Any, action: Any, reward: Any, discount: Any, next_obs: Any
    ) -> None:
        chosen = tf.argmax(self.online(next_obs), axis=1, output_type=tf.int32)
        target = reward + discount * tf.gather(self._target(next_obs), chosen, batch_dims=1)
        with tf.GradientTape() as tape:
            value = tf.gather(self.online(obs), action, batch_dims=1)
            loss = tf.reduce_mean(keras.losses.huber(target[:, None], value[:, None]))
        gradients = tape.gradient(loss, self.online.trainable_variables)
        self._optimizer.apply_gradients(
            zip(gradients, self.online.trainable_variables, strict=True)
        )

    def _imitation_step(self, obs: Any, values: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.online(obs) - values))
        gradients = tape.gradient(loss, self.online.trainable_variables)
        self._optimizer.apply_gradients(
            zip(gradients, self.online.trainable_variables, strict=True)
        )


def _warm_start(recipe: Recipe, plan: _Plan, steps: int) -> str:
    taught = plan.taught_updates(steps, recipe.train.envs)
    if not taught:
        return ""
    return (
        f"A warm start: in the first {taught:,} updates the network learns the values that "
        f"`{plan.teacher}` gives to all actions,\n"
        "on what is seen while that policy plays; then DQN goes on with its own play, and "
        "the weights are from its second half.\n"
    )


def _network(recipe: Recipe, plan: _Plan, play: _Play) -> Any:
    """Return the untrained network; its normalisation comes from random play."""
    layers: list[Any] = [keras.Input((play.obs_len,), name="obs")]
    if recipe.train.normalize_observations:
        seen = play.seen(NORMALIZED_STEPS).astype(np.float64)
        layers.append(
            keras.layers.Normalization(
                mean=seen.mean(axis=0), variance=seen.var(axis=0) + 1e-6, name="normalization"
            )
        )
    layers += [
        keras.layers.Dense(
            width, activation="relu", kernel_initializer="he_uniform", name=f"hidden_{number}"
        )
        for number, width in enumerate(plan.layers, start=1)
    ]
    return keras.Sequential(
        [*layers, keras.layers.Dense(play.actions, name="values")], name="policy"
    )


def _actor(network: Any) -> Actor:
    forward = tf.function(lambda obs: network(obs), reduce_retracing=True)
    return lambda obs: (
        forward(tf.convert_to_tensor(np.asarray(obs, np.float32)))
        .numpy()
        .argmax(axis=1)
        .astype(np.int64)
    )


def _save(network: Any, path: Path) -> None:
    """Write the `.keras` file without the hour it was made: the same training gives the same
    bytes.
    """
    network.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    del metadata["date_saved"]
    members["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(
                zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED
            )


def _read_plan(recipe: Recipe) -> _Plan:
    settings: dict[str, Any] = dict(recipe.train.hyperparameters)
    names = list(_Plan.__dataclass_fields__)
    needed = [
        name for name, field in _Plan.__dataclass_fields__.items() if field.default is MISSING
    ]
    missing, unknown = (
        [name for name in needed if name not in settings],
        [name for name in settings if name not in names],
    )
    if missing or unknown:
        raise InputError(
            f"{recipe.name}: [train.hyperparameters]: missing {missing}, unknown {unknown}; "
            f"allowed {names}"
        )
    layers = settings.pop("layers")
    if not (
        isinstance(layers, list)
        and layers
        and all(isinstance(width, int) and width > 0 for width in layers)
    ):
        raise InputError(f"{recipe.name}: layers: {layers!r}; allowed: widths above 0, as [64, 64]")
    teacher = settings.pop("teacher", "")
    if not isinstance(teacher, str):
        raise InputError(
            f"{recipe.name}: teacher: {teacher!r}; allowed: the name of a shipped policy"
        )
    for name, value in settings.items():
        whole = _Plan.__dataclass_fields__[name].type == "int"
        if not isinstance(value, int if whole else int | float) or value <= 0:
            raise InputError(
                f"{recipe.name}: {name}: {value!r}; allowed: "
                f"{'an integer' if whole else 'a number'} above 0"
            )
    return _Plan(layers=tuple(layers), teacher=teacher, **settings)
