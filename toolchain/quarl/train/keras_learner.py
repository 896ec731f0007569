"""What learns in a DQN with Keras: the online and the target network, in float32.

Goes in: batches of transitions. Comes out: values of observations, a checkpoint to resume from, and
the best network as a `.keras` file.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import keras  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.npz import npz_bytes, read_npz
from quarl.rollouts.actors import Actor
from quarl.train.dqn_plan import MAX_GRADIENT, DqnPlan
from quarl.train.replay import Batch

CHECKPOINT, BEST = "checkpoint.npz", "best.keras"  # of the run's folder


class Statistics(NamedTuple):
    """Of observations, float64 [obs_len] each: what a network normalises them by."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


class KerasLearner:
    """The online and the target network and what updates them."""

    def __init__(self, network: Any, plan: DqnPlan, folder: Path) -> None:
        self.online = network
        self._target = keras.models.clone_model(network)
        self._target.set_weights(network.get_weights())
        self._optimizer = keras.optimizers.Adam(plan.learning_rate, global_clipnorm=MAX_GRADIENT)
        self._optimizer.build(network.trainable_variables)
        self._plan, self._folder = plan, folder
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
        self._optimizer.learning_rate.assign(self._plan.rate(share))
        self._descend(*(tf.convert_to_tensor(column) for column in batch))
        self._updates += 1
        if self._updates % self._plan.target_update == 0:
            self._target.set_weights(self.online.get_weights())

    def imitate(self, obs: NDArray[Any], values: NDArray[np.float32]) -> None:
        """Take one step of Adam towards a teacher's values [n, actions]; the target network follows
        as after DQN's own updates.
        """
        self._copy(tf.convert_to_tensor(obs), tf.convert_to_tensor(values))
        self._updates += 1
        if self._updates % self._plan.target_update == 0:
            self._target.set_weights(self.online.get_weights())

    def actor(self) -> Actor:
        """Return what acts with the online network."""
        return actor_of(self.online)

    def keep_best(self) -> None:
        """Remember the online network as it stands."""
        save_network(self.online, self._folder / BEST)

    def write(self) -> None:
        """Write all that a later call needs to go on."""
        arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        arrays |= {"updates": np.array(self._updates), **_statistics_of(self.online)}
        data = npz_bytes(arrays, compress=False)
        write_whole(self._folder / CHECKPOINT, data)

    @classmethod
    def read(cls, plan: DqnPlan, folder: Path, obs_len: int, actions: int) -> KerasLearner:
        """Return a learner that goes on from what `write` wrote."""
        path = folder / CHECKPOINT
        arrays = read_npz(path) if path.exists() else {}
        if "mean" not in arrays:  # nor where a quarl wrote it that did not keep it
            raise InputError(
                f"{path.parent}: there is no checkpoint to resume from. Train without --resume."
            )
        statistics = Statistics(arrays["mean"], arrays["variance"])
        is_normalised = len(statistics.mean) > 0
        network = build_network(
            plan.layers, obs_len, actions, statistics if is_normalised else None
        )
        learner = cls(network, plan, folder)
        learner._updates = int(arrays["updates"])
        for name, variable in learner._variables().items():
            variable.assign(arrays[name])
        return learner

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


def _statistics_of(network: Any) -> dict[str, NDArray[np.float64]]:
    """Return what the network normalises by, which is no variable of it; empty where nothing."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            return {"mean": layer.input_mean, "variance": layer.input_variance}
    return {"mean": np.zeros(0), "variance": np.zeros(0)}


def build_network(
    widths: tuple[int, ...], obs_len: int, actions: int, statistics: Statistics | None
) -> Any:
    """Return an untrained network.

    Args:
        widths: of the hidden layers.
        statistics: that it normalises observations by; None: it takes them as they are.
    """
    layers: list[Any] = [keras.Input((obs_len,), name="obs")]
    if statistics is not None:
        layers.append(
            keras.layers.Normalization(
                mean=statistics.mean, variance=statistics.variance, name="normalization"
            )
        )
    layers += [
        keras.layers.Dense(
            width, activation="relu", kernel_initializer="he_uniform", name=f"hidden_{number}"
        )
        for number, width in enumerate(widths, start=1)
    ]
    return keras.Sequential([*layers, keras.layers.Dense(actions, name="values")], name="policy")


def actor_of(network: Any) -> Actor:
    """Return what acts with a network."""
    forward = tf.function(lambda obs: network(obs), reduce_retracing=True)
    return lambda obs: (
        forward(tf.convert_to_tensor(np.asarray(obs, np.float32)))
        .numpy()
        .argmax(axis=1)
        .astype(np.int64)
    )


def save_network(network: Any, path: Path) -> None:
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
