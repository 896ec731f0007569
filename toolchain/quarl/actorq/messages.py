"""What an actor and its store tell each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from quarl.actorq.accounts import Account
from quarl.actorq.acting import Finished


class Report(NamedTuple):
    """What an actor tells with its rows."""

    actor: int
    ticket: int  # of the policy it has
    steps: int  # environment steps since its last report
    account: Account | None
    finished: tuple[Finished, ...]
    checked: int = 0  # outputs compared with the reference since its last report
    differing: int = 0


class Answer(NamedTuple):
    """What an actor hears in return."""

    ticket: int
    learner_step: int  # of the newest policy
    policy: (
        list[Any] | None
    )  # a reference to the newest block, where it is another than the actor's
    stop: bool
