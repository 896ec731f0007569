"""The part of a Keras DQN that learns in integers: a student in torch takes the network's place.

In: a recipe with a [qat] table, the float network at the end of the delay, and observations that it
has met. Out: a learner for the loop of `keras_dqn`; after it the integers of the best checkpoint,
and the Keras network with the real weights behind them.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
import torch
from numpy.typing import NDArray

from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act
from quarl.importers import ImportOptions, read_policy
from quarl.rollouts.actors import Actor
from quarl.sources.recipe import QatRecipe
from quarl.train.dqn_plan import MAX_GRADIENT, DqnPlan
from quarl.train.integer_actor import (
    PROJECT_EVERY,
    REMEMBERED,
    Quantizer,
    Whole,
    real_weights,
    student_of,
    trainable,
)
from quarl.train.integer_files import IntegerFiles
from quarl.train.keras_learner import save_network
from quarl.train.replay import Batch, Replay

FLOAT = "graft.keras"  # of the run's folder: the network that was taken over
EPSILON = 1e-7  # of Adam, as Keras has it


class IntegerLearner:
    """The student, its target network and what updates them."""

    def __init__(self, student: Whole, plan: DqnPlan, files: IntegerFiles) -> None:
        self.online = student
        self.target = copy.deepcopy(student).requires_grad_(False)
        self._optimizer = torch.optim.Adam(trainable(student), plan.rate(0.0), eps=EPSILON)
        self._plan, self._files = plan, files
        self._updates = 0

    @torch.no_grad()
    def values(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the student's values [n, actions]."""
        values: NDArray[np.float32] = self.online(torch.from_numpy(obs)).numpy()
        return values

    def update(self, batch: Batch, *, share: float) -> None:
        """Take one step of Adam on the batch; `share` of the training is done."""
        obs, action, reward, discount, next_obs = (torch.from_numpy(column) for column in batch)
        with torch.no_grad():
            chosen = self.online(next_obs).argmax(dim=1, keepdim=True)
            target = reward + discount * self.target(next_obs).gather(1, chosen)[:, 0]
        value = self.online(obs).gather(1, action.long()[:, None])[:, 0]
        loss = torch.nn.functional.huber_loss(value, target)
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.rate(share)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trainable(self.online), MAX_GRADIENT)
        self._optimizer.step()
        self._updates += 1
        if self._updates % PROJECT_EVERY == 0:
            self.online.student.project()
        if self._updates % self._plan.target_update == 0:
            self.target.load_state_dict(self.online.state_dict())

    def actor(self) -> Actor:
        """Return what acts with the integers as they stand."""
        return partial(act, self._integers())

    def keep_best(self) -> None:
        """Remember the integers as they stand and the real weights behind them."""
        self._files.keep_best(self._integers(), real_weights(self.online.student))

    def write(self) -> None:
        """Write all that a later call needs to go on."""
        self._files.write_state(
            {
                "online": self.online.state_dict(),
                "target": self.target.state_dict(),
                "adam": self._optimizer.state_dict(),
                "updates": self._updates,
            }
        )

    def read(self) -> None:
        """Go on from what `write` wrote."""
        state = self._files.state()
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["adam"])
        self._updates = state["updates"]

    def _integers(self) -> QuantPolicy:
        self.online.student.project()
        return self.online.student.export()


class Quantise:
    """Lets integers take over, resumes them and finishes them, in one run's folder."""

    def __init__(self, qat: QatRecipe, plan: DqnPlan, folder: Path) -> None:
        torch.set_num_threads(1)
        self._qat, self._plan = qat, plan
        self._network, self._files = folder / FLOAT, IntegerFiles(folder)

    def forget(self) -> None:
        """Begin anew, whatever an earlier training left in the folder."""
        self._files.forget()

    @property
    def has_state(self) -> bool:
        """Whether a training had got as far as integers."""
        return self._files.has_state

    def take_over(self, network: Any, store: Replay) -> IntegerLearner:
        """Return what learns in the network's place; ranges come from the observations in the
        store.
        """
        save_network(network, self._network)
        self._files.keep_observations(store.latest(REMEMBERED))
        return self._learner()

    def resume(self) -> IntegerLearner:
        """Return what learned when the training was killed."""
        learner = self._learner()
        learner.read()
        return learner

    def finish(self, learner: IntegerLearner) -> tuple[QuantPolicy, Any]:
        """Return the best integers, and the Keras network with the real weights behind them."""
        if not self._files.has_best:  # killed before the first was kept
            learner.keep_best()
        integers, weights = self._files.best()
        network = keras.saving.load_model(self._network, compile=False)
        for name, (weight, bias) in weights.items():
            network.get_layer(name).set_weights([weight.T, bias])
        return integers, network

    def _learner(self) -> IntegerLearner:
        network = keras.saving.load_model(self._network, compile=False)
        action = Action("discrete", int(network.output_shape[-1]))
        policy = read_policy(self._network, ImportOptions(no_normalizer=True, action_space=action))
        assert isinstance(policy, Policy)
        obs = self._files.observations()
        student = student_of(policy, obs, self._qat, gives_values=True)
        whole = Whole(Quantizer(student.observation), student)
        return IntegerLearner(whole, self._plan, self._files)
