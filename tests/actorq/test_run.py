"""Whole runs on a local Ray: they learn, ship, and refuse what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quarl.errors import InputError
from tests.conftest import need
from tests.support.actorq import SMALL, recipe_of, recipe_text

need("ray", "torch", "ziglang")

from quarl.actorq.evaluating import read_curve  # noqa: E402
from quarl.actorq.players import open_player  # noqa: E402
from quarl.actorq.release import write_policy  # noqa: E402
from quarl.actorq.run import Wishes, run_actorq  # noqa: E402
from quarl.graph.quant_policy import QuantPolicy  # noqa: E402
from quarl.graph.reference import integer_outputs  # noqa: E402
from quarl.importers import ImportOptions  # noqa: E402
from quarl.pipeline import export, import_source  # noqa: E402

pytestmark = pytest.mark.usefixtures("local_ray")


def test_dqn_learns_with_int8_actors_and_its_integers_are_those_that_ship(tmp_path: Path) -> None:
    recipe, run = recipe_of(SMALL), tmp_path / "run"
    outcome = run_actorq(recipe, run)
    assert outcome.differing == 0
    assert outcome.compared > 0
    assert outcome.status.learner_step == 1_200
    assert max(point.int8_mean for point in outcome.points) > 40  # chance plays 22
    assert read_curve(run) == outcome.points
    assert outcome.learner is not None
    assert outcome.learner.steps == 1_200
    assert {account.name for account in outcome.status.actors} == {"actor 0", "actor 1"}
    table = json.loads((run / "accounts.json").read_text())
    assert table["learner"]["phases_s"]["learn"] > 0

    folder = write_policy(outcome, recipe, recipe_text(SMALL))
    source = import_source(str(folder), ImportOptions(), None)
    assert isinstance(source.integers, QuantPolicy)
    bundle = export(source, tmp_path / "bundle")
    shipped = bundle.quantized
    played = open_player("kernel", np.fromfile(run / "best" / "int8.block", np.uint8))
    obs = outcome.rows["obs"][:256]
    assert np.array_equal(integer_outputs(shipped, obs), played(obs))


def test_a_folder_that_holds_a_run_is_not_used_again(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="--resume goes on with it"):
        run_actorq(recipe_of(SMALL), tmp_path)
    with pytest.raises(InputError, match="there is no run to resume"):
        run_actorq(recipe_of(SMALL), tmp_path / "new", Wishes(resume=True))


def test_a_discrete_environment_for_d4pg_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="D4PG needs continuous actions"):
        run_actorq(recipe_of(SMALL, algorithm="D4PG"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
