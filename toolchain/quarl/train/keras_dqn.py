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

With a [qat] table the loop goes on in integers after the delay: `keras_quantised` learns then, with
the same store, targets, exploration and rates.

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

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

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

from quarl.errors import InputError, ToolMissingError
from quarl.graph.env_spec import EnvSpec
from quarl.graph.quant_policy import QuantPolicy
from quarl.resources import models_dir
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import Episodes, run_episodes
from quarl.sources.recipe import Recipe, read_recipe
from quarl.stats.seeds import CHECKPOINT_SEED
from quarl.train.dqn_plan import DqnPlan, read_plan
from quarl.train.journal import Journal
from quarl.train.keras_learner import (
    BEST,
    KerasLearner,
    Statistics,
    actor_of,
    build_network,
    save_network,
)
from quarl.train.parallel import make_lanes
from quarl.train.replay import Batch, Replay
from quarl.train.trained import Run, Trained

if TYPE_CHECKING:
    from quarl.train.keras_quantised import Quantise

CHECKPOINT_EPISODES = 200
NORMALIZED_STEPS = 200  # of random play in every lane, which decide the normalisation


class Learner(Protocol):
    """What the loop asks of whatever learns."""

    def values(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the values [n, actions] that play explores around."""
        ...

    def update(self, batch: Batch, *, share: float) -> None:
        """Learn from the batch; `share` of the training is done."""
        ...

    def actor(self) -> Actor:
        """Return the policy as it stands, to be judged."""
        ...

    def write(self) -> None:
        """Write all that a later call needs to go on."""
        ...

    def keep_best(self) -> None:
        """Remember the policy as it stands as the best so far."""
        ...


def fit(recipe: Recipe, run: Run) -> Trained:
    """Return the trained policy.

    Raises:
        InputError: another algorithm, a hyperparameter that is missing, unknown or of the wrong
            kind, an environment with other observations or actions, a delay longer than the
            training, or nothing to resume from.
        ToolMissingError: integers are to be learned, and torch is not installed.
    """
    if recipe.algorithm != "DQN":
        raise InputError(
            f'{recipe.name}: algorithm "{recipe.algorithm}"; quarl trains DQN with keras'
        )
    plan = read_plan(recipe)
    steps = run.steps_of(recipe)
    quantise = _quantise(recipe, plan, run)
    keras.utils.set_random_seed(recipe.train.seed)
    tf.config.experimental.enable_op_determinism()
    journal = Journal(run, steps)
    rng = np.random.default_rng((recipe.train.seed, journal.steps))
    play = _Play(recipe, plan, rng)
    try:
        training = _Training(recipe, plan, play, journal)
        if quantise is None:
            _learn_in_float(training, run, steps)
            integers, best = None, keras.saving.load_model(run.folder / BEST, compile=False)
        else:
            integers, best = _learn_in_integers(training, run, quantise)
    finally:
        play.close()
    return Trained(
        actor_of(best),
        lambda path: save_network(best, path),
        None,
        journal.curve_path,
        steps,
        CHECKPOINT_EPISODES,
        _warm_start(recipe, plan, steps),
        integers,
    )


def _quantise(recipe: Recipe, plan: DqnPlan, run: Run) -> Quantise | None:
    """Return what lets integers take over; None where the recipe has no [qat] table."""
    if recipe.qat is None:
        return None
    steps, lanes = run.steps_of(recipe), recipe.train.envs
    delay = recipe.qat.delay_steps(steps)
    if delay > steps - lanes:
        raise InputError(
            f"[qat]: the training ends after {steps:,} steps in {lanes} environments, before a "
            f"step began after the delay of {delay:,}: give a shorter delay"
        )
    try:
        from quarl.train.keras_quantised import Quantise
    except ImportError as error:
        raise ToolMissingError(
            f"{recipe.name}: [qat] learns in torch: {error}. Install it with: pip install "
            "quarl[sb3]"
        ) from error
    return Quantise(recipe.qat, plan, run.folder)


def _learn_in_float(training: _Training, run: Run, until: int) -> tuple[KerasLearner, int]:
    """Learn until so many steps; return what learned, and the steps done."""
    plan, play = training.plan, training.play
    if run.resume:
        learner = KerasLearner.read(plan, run.folder, play.obs_len, play.actions)
        done = training.resume(learner)
    else:
        is_normalised = training.recipe.train.normalize_observations
        statistics = play.statistics() if is_normalised else None
        network = build_network(plan.layers, play.obs_len, play.actions, statistics)
        learner = KerasLearner(network, plan, run.folder)
        done = training.begin(learner)
    return learner, training.learn(learner, done, until)


def _learn_in_integers(
    training: _Training, run: Run, quantise: Quantise
) -> tuple[QuantPolicy, Any]:
    """Learn in float for the delay, then in integers; return the best integers, and the network
    with the real weights behind them.
    """
    steps, qat = training.journal.total, training.recipe.qat
    assert qat is not None
    if run.resume and quantise.has_state:
        learner = quantise.resume()
        done = training.resume(learner)
    else:
        if not run.resume:
            quantise.forget()
        floats, done = _learn_in_float(training, run, qat.delay_steps(steps))
        learner = quantise.take_over(floats.online, training.play.store)
        training.judge(learner, done)  # what rounding alone gives is the first candidate
    training.learn(learner, done, steps)
    return quantise.finish(learner)


@dataclass(frozen=True, slots=True)
class _Training:
    """Play and learning side by side; what learns is handed in."""

    recipe: Recipe
    plan: DqnPlan
    play: _Play
    journal: Journal

    def begin(self, learner: KerasLearner) -> int:
        """Fill the store, and learn from a teacher where there is one; return the steps done."""
        lanes = self.recipe.train.envs
        warm, taught = self._warm(), self.plan.taught_updates(self.journal.total, lanes)
        teacher = _Teacher(self.recipe, self.plan) if taught else None
        self.play.fill(warm, None if teacher is None else teacher.values)
        for _ in range(taught):
            assert teacher is not None
            self.play.step(teacher.values)
            obs = self.play.store.draw(self.plan.batch_size, self.play.rng).obs
            learner.imitate(obs, teacher.values(obs))
        return warm + taught * lanes

    def resume(self, learner: Learner) -> int:
        """Fill the store with the checkpoint's own play; return the steps done."""
        self.play.fill(self._warm(), learner.values)
        return self.journal.steps

    def learn(self, learner: Learner, done: int, until: int) -> int:
        """Play and learn until so many steps, judging the policy now and then; return the steps
        done.
        """
        plan, play = self.plan, self.play
        steps, share = self.journal.total, self.recipe.train.envs
        every = max(1, steps // plan.evaluations)
        is_delay = until < steps  # whose policies are not the ones to keep
        while done < until:
            play.step(learner.values)
            done += share
            for _ in range(plan.updates_per_step):
                learner.update(play.store.draw(plan.batch_size, play.rng), share=done / steps)
            if done // every > (done - share) // every or done >= steps:
                self.judge(learner, done, may_be_best=not is_delay)
        return done

    def judge(self, learner: Learner, done: int, *, may_be_best: bool = True) -> None:
        """Keep what a later call goes on from, let the policy play, and keep it if it may be the
        best and is.
        """
        steps, share = self.journal.total, self.recipe.train.envs
        taught = self.plan.taught_updates(steps, share)
        judged_from = (self._warm() + taught * share + steps) // 2 if taught else 0
        learner.write()
        counts = may_be_best and done >= judged_from
        if self.journal.judge(done, self._played(learner), may_be_best=counts):
            learner.keep_best()

    def _played(self, learner: Learner) -> Episodes:
        seeds = range(CHECKPOINT_SEED, CHECKPOINT_SEED + CHECKPOINT_EPISODES)
        env = EnvSpec(self.recipe.env.id, self.recipe.env.kwargs)
        return run_episodes(env, learner.actor(), seeds)

    def _warm(self) -> int:
        return self.plan.warm_steps(self.journal.total, self.recipe.train.envs)


class _Play:
    """The lanes and the transitions that come of them."""

    def __init__(self, recipe: Recipe, plan: DqnPlan, rng: np.random.Generator) -> None:
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

    def fill(self, size: int, values: Callable[[NDArray[Any]], NDArray[Any]] | None) -> None:
        """Play until so many transitions are kept."""
        while self.store.size < size:
            self.step(values)

    def statistics(self) -> Statistics:
        """Return the statistics of observations in random play."""
        rows = []
        for _ in range(NORMALIZED_STEPS):
            self.step(None)
            rows.append(self._obs)
        seen = np.concatenate(rows).astype(np.float64)
        return Statistics(seen.mean(axis=0), seen.var(axis=0) + 1e-6)

    def close(self) -> None:
        """Close the environment."""
        self._envs.close()

    def _reset(self, **how: Any) -> NDArray[np.float32]:
        return np.array(self._envs.reset(**how)[0], np.float32)


class _Teacher:
    """A shipped policy and its values."""

    def __init__(self, recipe: Recipe, plan: DqnPlan) -> None:
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


def _warm_start(recipe: Recipe, plan: DqnPlan, steps: int) -> str:
    taught = plan.taught_updates(steps, recipe.train.envs)
    if not taught:
        return ""
    return (
        f"A warm start: in the first {taught:,} updates the network learns the values that "
        f"`{plan.teacher}` gives to all actions,\n"
        "on what is seen while that policy plays; then DQN goes on with its own play, and "
        "the weights are from its second half.\n"
    )
