"""A run on a simulated cluster of three nodes: it is joined by its address, and outlives a node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quarl.errors import InputError
from tests.conftest import need
from tests.support.actorq import SMALL, recipe_of, when

need("ray", "torch", "ziglang")
from quarl.actorq.run import Wishes, run_actorq  # noqa: E402
from quarl.workers.cluster import cluster  # noqa: E402


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Any]:
    """A head with one processor, and two nodes with one each; a lost node is noticed soon."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    soon = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": soon}
    made = Cluster(initialize_head=True, head_node_args=head)
    nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    yield made, nodes
    made.shutdown()


def test_actors_run_on_other_nodes_and_a_lost_node_costs_its_actor_only(
    three_nodes: Any, tmp_path: Path
) -> None:
    made, nodes = three_nodes
    run = tmp_path / "run"
    places: list[set[str]] = []

    def lose(status: Any) -> None:
        places.append({account.node for account in status.actors})
        made.remove_node(nodes[0], allow_graceful=False)

    loser = when(run, lambda status: len(status.actors) == 2 and status.learner_step > 50, lose)
    outcome = run_actorq(recipe_of(SMALL, steps=20_000), run, Wishes(address=made.address))
    loser.join()
    assert len(places[0]) == 2  # one actor on each of the two other nodes
    assert outcome.status.learner_step == 4_950
    assert outcome.differing == 0


def test_a_shard_that_lost_its_actors_holds_nobody_up(three_nodes: Any, tmp_path: Path) -> None:
    made, nodes = three_nodes
    nodes[0] = made.add_node(num_cpus=1)  # for the one that the test before has lost
    made.wait_for_nodes()
    run = tmp_path / "run"
    inserted: list[list[int]] = []

    def lose(status: Any) -> None:
        import ray

        stores = [ray.get_actor(f"{name} {run.resolve()}") for name in ("store", "store 1")]
        inserted.append([s.inserted for s in ray.get([each.status.remote() for each in stores])])
        made.remove_node(nodes[0], allow_graceful=False)

    loser = when(run, lambda status: status.learner_step > 50, lose)
    sharded = SMALL.replace("min_rows = 200", "min_rows = 200, shards = 2")
    outcome = run_actorq(recipe_of(sharded, steps=8_000), run, Wishes(address=made.address))
    loser.join()
    assert min(inserted[0]) >= 50  # each actor sent rows to its own shard
    assert outcome.status.learner_step == 1_950
    assert outcome.differing == 0
    checkpoint = next((run / "checkpoints").iterdir())
    assert (checkpoint / "replay.npy").exists()
    assert (checkpoint / "shard-1" / "replay.npy").exists()


def test_a_cluster_too_small_is_refused(three_nodes: Any, tmp_path: Path) -> None:
    made, _ = three_nodes
    many = recipe_of(SMALL.replace("count = 2", "count = 40"))
    with pytest.raises(InputError, match="the run needs 41"):
        run_actorq(many, tmp_path / "run", Wishes(address=made.address))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
        ("somewhere", "must be local, auto"),
        ("ray://127.0.0.1:10001", "must be local, auto"),
    ],
)
def test_an_address_that_does_not_answer_is_named(tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(InputError, match=f"--ray {address}: {words}"), cluster(address, 1):
        pass
