"""The evaluator of a run as a Ray actor.

In: policies, as references to their blocks in the object store. Out: the curve, and the best policy
in the run's folder. Killed, Ray starts it again, and it goes on with the curve that is there.
"""

from __future__ import annotations

from typing import Any

import ray

from quarl.actorq.evaluating import Judge, Moment, Point
from quarl.actorq.plan import Plan
from quarl.errors import QuarlError


class EvaluatorProcess:
    """Judges policies in the order they come."""

    def __init__(self, plan: Plan) -> None:
        runtime = "kernel" if plan.runtime == "torch" else plan.runtime
        episodes = plan.settings.evaluation_episodes
        self._own = Judge(plan.folder, plan.env, plan.contract, episodes, runtime)
        self._failure: Exception | None = None

    def judge(self, int8: list[Any], floats: list[Any], moment: Moment) -> None:
        """Add a point to the curve. What fails is told by `points`; nobody waits for this call."""
        try:
            self._own.judge(ray.get(int8[0]), ray.get(floats[0]), moment)
        except ray.exceptions.ObjectLostError:
            return  # the learner died; the next one publishes another
        except QuarlError as error:
            self._failure = self._failure or error

    def points(self) -> tuple[Point, ...]:
        """Return the curve. Called after `judge`, it waits for what is being judged.

        Raises:
            QuarlError: the first failure.
        """
        if self._failure is not None:
            raise self._failure
        return self._own.points
