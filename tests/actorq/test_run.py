"""Whole runs on a local Ray: they learn, ship, and refuse what cannot be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.sources.recipe import parse_recipe
from tests.conftest import need
from tests.support.actorq import SMALL, recipe_of, recipe_text, stop, when

need("ray", "torch", "ziglang")

from quarl.actorq.evaluating import read_curve  # noqa: E402
from quarl.actorq.players import open_player  # noqa: E402
from quarl.actorq.record import read_record  # noqa: E402
from quarl.actorq.release import write_policy  # noqa: E402
from quarl.actorq.run import Wishes, run_actorq  # noqa: E402
from quarl.actorq.settings import settings_of  # noqa: E402
from quarl.actorq.store import Status  # noqa: E402
from quarl.exporter.export import ExportRequest, export_policy  # noqa: E402
from quarl.graph.quant_policy import QuantPolicy  # noqa: E402
from quarl.graph.reference import integer_outputs  # noqa: E402
from quarl.importers import ImportOptions  # noqa: E402
from quarl.pipeline import import_source  # noqa: E402

pytestmark = pytest.mark.usefixtures("local_ray")


def test_dqn_learns_with_int8_actors_and_its_integers_are_those_that_ship(tmp_path: Path) -> None:
    recipe, run = recipe_of(SMALL), tmp_path / "run"
    outcome = run_actorq(recipe, run)
    assert outcome.differing == 0
    assert outcome.compared > 0
    assert outcome.status.learner_step == 1_950
    assert max(point.int8_mean for point in outcome.points) > 40  # chance plays 22
    assert read_curve(run) == outcome.points
    assert outcome.status.learner is not None
    assert outcome.status.learner.steps == 1_950
    assert {account.name for account in outcome.status.actors} == {"actor 0", "actor 1"}
    record = read_record(run)
    assert record.learner.phase("learn") > 0
    assert record.steps_per_cpu_s > 0
    assert record.points == outcome.points

    folder = write_policy(outcome, recipe, recipe_text(SMALL))
    source = import_source(str(folder), ImportOptions(), None)
    assert isinstance(source.integers, QuantPolicy)
    bundle = export_policy(source, tmp_path / "bundle", ExportRequest())
    shipped = bundle.quantized
    played = open_player("kernel", np.fromfile(run / "best" / "int8.block", np.uint8))
    obs = outcome.rows["obs"][:256]
    assert np.array_equal(integer_outputs(shipped, obs), played(obs))


def test_d4pg_learns_with_int8_actors_whose_actions_pass_a_table(tmp_path: Path) -> None:
    lines = SMALL.replace("evaluations = 10", "evaluations = 3\nlearning_rate = 1e-3")
    recipe = recipe_of(lines, algorithm="D4PG", env="Pendulum-v1", steps=2_200)
    outcome = run_actorq(recipe, tmp_path / "run")
    assert outcome.differing == 0
    assert outcome.compared > 0
    assert outcome.status.learner_step == 500
    folder = write_policy(outcome, recipe, recipe_text(lines, algorithm="D4PG", env="Pendulum-v1"))
    source = import_source(str(folder), ImportOptions(), None)
    assert source.integers is not None
    assert source.policy.contract.action.transform == "unscale"
    assert (outcome.rows["action"] >= -1).all()
    assert (outcome.rows["action"] <= 1).all()


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


LONGER = SMALL.replace("checkpoint_s = 0", "checkpoint_s = 0.5")
ENDLESS = 1_000_000  # environment steps: the test ends such a run


def test_an_actor_that_is_started_again_loads_what_acting_needs_and_no_more() -> None:
    """Each module is a part of the second in which it is back."""
    program = "import sys, quarl.actorq.actor_process; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=120, capture_output=True, text=True
    )
    modules = set(found.stdout.split())
    assert {"ray", "gymnasium", "quarl.actorq.acting"} <= modules
    rooms = ("quantize", "exporter", "emitters", "files.documents", "sources", "graph.quant_policy")
    heavy = {"torch", "tensorflow", "pydantic", "scipy", *(f"quarl.{room}" for room in rooms)}
    assert not heavy & modules


def test_a_killed_actor_is_started_again_and_the_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first: list[int] = []

    def kill(status: Status) -> None:
        first.append(status.actors[0].pid)
        os.kill(status.actors[0].pid, signal.SIGKILL)

    killer = when(run, lambda s: len(s.actors) == 2 and s.learner_step > 50, kill)
    ender = when(run, lambda s: bool(first) and s.actors[0].pid != first[0], stop(run))
    outcome = run_actorq(recipe_of(SMALL, steps=ENDLESS), run)
    killer.join()
    ender.join()
    assert outcome.restarts == ("actor 0 died and was started again (1)",)
    assert outcome.differing == 0


def test_a_killed_learner_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first: list[int] = []

    def kill(status: Status) -> None:
        assert status.learner is not None
        first.append(status.learner.pid)
        os.kill(status.learner.pid, signal.SIGKILL)

    def is_back(status: Status) -> bool:
        return bool(first) and status.learner is not None and status.learner.pid != first[0]

    killer = when(
        run,
        lambda s: s.learner is not None and any((run / "checkpoints").glob("0*")),
        kill,
    )
    ender = when(run, is_back, stop(run))
    outcome = run_actorq(recipe_of(LONGER, steps=ENDLESS), run)
    killer.join()
    ender.join()
    assert outcome.restarts == ("learner died and was started again (1)",)
    learner = outcome.status.learner
    assert learner is not None
    newest = int(max(path.name for path in (run / "checkpoints").iterdir()))
    assert learner.steps < newest  # it did not begin anew
    assert outcome.differing == 0


def test_an_interrupted_run_is_resumed_with_all_it_had(tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", recipe_of(LONGER)

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_actorq(recipe_of(LONGER, steps=ENDLESS), run, tell=interrupt)
    step = int(next((run / "checkpoints").iterdir()).name)
    rows = len(np.load(run / "checkpoints" / f"{step:010d}" / "replay.npy"))
    with pytest.raises(InputError, match=r"other settings: settings\.actors\.precision"):
        run_actorq(recipe, run, Wishes(resume=True, changes={"precision": "fp32"}))
    later = recipe.train.steps + recipe_of(LONGER).train.steps
    goal = settings_of(recipe).env_steps(step) + later
    outcome = run_actorq(recipe_of(LONGER, steps=goal), run, Wishes(resume=True))
    done = settings_of(recipe).learner_steps(goal)
    assert outcome.status.learner_step == done
    assert outcome.status.learner is not None
    assert outcome.status.learner.steps == done - step
    assert outcome.status.inserted > rows
    walls = [point.wall_s for point in outcome.points]
    assert walls == sorted(walls)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "words"),
    [pytest.param("raise", "the motor fell off", marks=pytest.mark.slow), ("nan", "NaN")],
)
def test_an_environment_that_fails_is_named_and_ends_the_run_with_its_checkpoint(
    tmp_path: Path, how: str, words: str
) -> None:
    lines = SMALL.replace("count = 2", "count = 1, restarts = 1")
    text = recipe_text(lines, env="tests.support.unsteady_env:Unsteady-v0")
    env = f'[env]\nkwargs = {{ fails_at = 130, how = "{how}" }}'
    recipe = parse_recipe(text.replace("[env]", env), "small")
    told: list[str] = []
    with pytest.raises(InputError) as caught:
        run_actorq(recipe, tmp_path / "run", tell=told.append)
    message = str(caught.value)
    assert "actor 0 failed 2 times, at most 1 restarts are allowed" in message
    assert words in message
    assert "seed 1" in message
    assert "--resume" in message
    assert any("actor 0 begins again (1)" in line for line in told)
    assert any((tmp_path / "run" / "checkpoints").glob("0*"))


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused: list[str] = []

    def second(status: Status) -> None:
        try:
            run_actorq(recipe_of(SMALL), run, Wishes(resume=True))
        except InputError as error:
            refused.append(str(error))
        stop(run)(status)

    thread = when(run, lambda status: True, second)
    run_actorq(recipe_of(SMALL, steps=ENDLESS), run)
    thread.join()
    assert "another run writes into it now" in refused[0]
