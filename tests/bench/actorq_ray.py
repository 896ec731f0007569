"""ActorQ's numbers under Ray: the store's rates, what a policy costs an actor, and how soon a lost
actor is back.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quarl.actorq.accounts import Account
from quarl.actorq.block import NetShape
from quarl.actorq.measure import blocks_of, sample_net
from quarl.actorq.messages import Report
from quarl.actorq.players import KernelPlayer
from quarl.actorq.run import Wishes, run_actorq
from quarl.actorq.settings import settings_of
from quarl.actorq.store import Status, Store
from quarl.actorq.transitions import Rows, row_type
from quarl.graph.contract import Action, Contract, Observation
from tests.bench.row import Row
from tests.support.actorq import SMALL, recipe_of, stop, when

CHEETAH = Contract(
    Observation((17,), "float32", "vector"), Action("box", 6, (-1.0,) * 6, (1.0,) * 6, "unscale")
)
FREE = "batch_size = 1_000_000_000\nreplay = { capacity = 200_000, min_rows = 1 }"  # nobody waits
INSERTS_S, BATCHES_S, ASK_US = 100_000, 2_000, 5.0
BACK_S, NODE_BACK_S = 1.0, 20.0
ROUNDS, PULL_EVERY = 5, 30
ENDLESS = 1_000_000
KILLS, PAUSE_S = 5, 2.0  # and seconds between them


def bench_actorq_ray(folder: Path) -> list[Row]:
    """ActorQ under Ray: the store's rates, what a policy costs an actor, and how soon an actor is
    back.
    """
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    quiet["_system_config"] = {"worker_niceness": 0}  # workers share a core as this process does
    ray.init(address="local", num_cpus=4, include_dashboard=False, **quiet)
    try:
        rows = [*_rates(ray), *_pulls(ray), _killed(folder / "killed")]
    finally:
        ray.shutdown()
    return [*rows, _lost_node(folder / "lost")]


def _store(ray: Any) -> Any:
    settings = settings_of(recipe_of(FREE, algorithm="D4PG"))
    return ray.remote(Store).options(num_cpus=0).remote(settings, row_type(CHEETAH), 0)


def _report(ticket: int = 0) -> Report:
    return Report(0, ticket, 1_000, Account("actor", pid=1), ())


def _rates(ray: Any) -> list[Row]:
    """Rows and batches a second, as one caller that does not wait for each answer sees them."""
    store, rows = _store(ray), []
    for count in (100, 1_000):
        sent = np.zeros(count, row_type(CHEETAH))
        rate = count * _calls_s(ray, lambda r=sent: store.insert.remote(r, _report()), 40)  # type: ignore[misc]
        holds = rate >= INSERTS_S if count == 1_000 else None
        limit = f">= {INSERTS_S:,}" if count == 1_000 else ""
        rows.append(
            Row(f"rows inserted a second, {count:,} in a call", f"{rate:,.0f}", limit, holds)
        )
    for batches in (1, 8):
        rate = batches * _calls_s(ray, lambda b=batches: store.sample.remote(256, b), 40)  # type: ignore[misc]
        holds = rate >= BATCHES_S if batches == 8 else None
        limit = f">= {BATCHES_S:,}" if batches == 8 else ""
        rows.append(
            Row(
                f"batches of 256 sampled a second, {batches} in a call",
                f"{rate:,.0f}",
                limit,
                holds,
            )
        )
    ray.kill(store)
    return rows


def _calls_s(ray: Any, call: Callable[[], Any], count: int) -> float:
    """Return calls answered a second, the best of a few rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ray.get([call() for _ in range(count)])
        best = max(best, count / (time.perf_counter() - began))
    return best


def _pulls(ray: Any) -> list[Row]:
    """CPU of an actor for a policy: to hear of it, and to take and load it, for each step."""
    net = sample_net(NetShape((17, 512, 512, 512, 6), "relu", True))
    block = blocks_of(net)["int8"]
    player, store = KernelPlayer(block), _store(ray)
    ticket = ray.get(store.publish.remote([ray.put(block)], 1, Account("learner")))
    sent: Rows = np.zeros(PULL_EVERY, row_type(CHEETAH))

    def hear(known: int) -> Any:
        return ray.get(store.insert.remote(sent, _report(known)))

    def take() -> None:
        player.load(ray.get(answer.policy[0]))

    answer = hear(0)
    costs = _cpu_us({"new": lambda: hear(0), "known": lambda: hear(ticket), "take": take})
    ray.kill(store)
    ask = max(0.0, costs["new"] - costs["known"]) / PULL_EVERY
    return [
        Row(
            f"asking for a policy, a pull every {PULL_EVERY} steps, CPU us a step",
            f"{ask:.1f}",
            f"<= {ASK_US:g}",
            ask <= ASK_US,
        ),
        Row(
            "  taking and loading it, CPU us a step", f"{costs['take'] / PULL_EVERY:.1f}", "", None
        ),
        Row("  sending the rows, CPU us a step", f"{costs['known'] / PULL_EVERY:.1f}", "", None),
    ]


def _cpu_us(calls: dict[str, Callable[[], object]], count: int = 60) -> dict[str, float]:
    """Return the CPU time of this process for a call of each, Ray's threads included; the least of
    a few rounds in which the calls take turns.
    """
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.process_time()
            for _ in range(count):
                call()
            best[name] = min(best[name], (time.process_time() - began) / count * 1e6)
    return best


def _killed(run: Path) -> Row:
    """Seconds from the end of an actor's process until rows of the next one are there: the median
    of a few.
    """
    seconds: list[float] = []

    def kill(status: Status) -> None:
        for turn in range(KILLS):
            actor, pid, seen = turn % 2, status.actors[turn % 2].pid, list[Status]()

            def is_back(now: Status, actor: int = actor, pid: int = pid) -> bool:
                return now.actors[actor].pid != pid

            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            when(run, is_back, seen.append).join()
            seconds.append(time.monotonic() - began)
            (status,) = seen
            time.sleep(PAUSE_S)
        stop(run)(status)

    killer = when(run, lambda s: len(s.actors) == 2 and s.learner_step > 50, kill)
    run_actorq(recipe_of(SMALL, steps=ENDLESS), run)
    killer.join()
    median = float(np.median(seconds))
    return Row(
        f"a killed actor acts again after, median of {KILLS}",
        f"{median:.2f} s",
        f"<= {BACK_S:g} s",
        median <= BACK_S,
    )


def _lost_node(run: Path) -> Row:
    """Seconds from the loss of an actor's node until it acts on another, Ray's own settings."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    cluster.wait_for_nodes()
    seconds: list[float] = []

    def lose(status: Status) -> None:
        places = {account.node for account in status.actors}
        lost = next(node for node in nodes if node.node_id in places)
        cluster.remove_node(lost, allow_graceful=False)
        began = time.monotonic()

        def is_back(now: Status) -> bool:
            return len(now.actors) == 2 and lost.node_id not in {a.node for a in now.actors}

        when(run, is_back, lambda s: None).join()
        seconds.append(time.monotonic() - began)
        stop(run)(status)

    loser: threading.Thread = when(run, lambda s: len(s.actors) == 2 and s.learner_step > 50, lose)
    try:
        run_actorq(recipe_of(SMALL, steps=ENDLESS), run, Wishes(address=cluster.address))
        loser.join()
    finally:
        cluster.shutdown()
    found = seconds[0]
    return Row(
        "an actor of a lost node acts on another after",
        f"{found:.1f} s",
        f"<= {NODE_BACK_S:g} s",
        found <= NODE_BACK_S,
    )
