"""The store of a run as a Ray actor.

In: the plan. Out: what `store` answers. Killed, Ray starts it again, and it goes on from the newest
checkpoint.
"""

from __future__ import annotations

from quarl.actorq.checkpoint import newest_checkpoint
from quarl.actorq.plan import Plan
from quarl.actorq.shards import folder_of_shard, settings_of_shard
from quarl.actorq.store import Store
from quarl.actorq.transitions import row_type

SHARD_SEEDS = 1_000_003  # between the seeds of two shards


class StoreProcess(Store):
    """One shard of the store; started again, it goes on from the newest checkpoint."""

    def __init__(self, plan: Plan, shard: int) -> None:
        settings = settings_of_shard(plan.settings, shard)
        super().__init__(settings, row_type(plan.contract), plan.seed + SHARD_SEEDS * shard)
        checkpoint = newest_checkpoint(plan.folder)
        if checkpoint is not None:
            self.restore(folder_of_shard(checkpoint, shard))
