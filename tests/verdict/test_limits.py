"""What a release is asked by default comes from its recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.bundle.limits import DEFAULT_LIMITS, Limits
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.graph.env_spec import EnvSpec
from quarl.stats.noninferiority import failure_p_value
from quarl.stats.sequential import flawless_episodes
from quarl.verdict.assess import ParityRequest
from quarl.verdict.limits import recipe_limits
from quarl.verdict.planning import check_provable, plan_sentence


def test_the_source_is_held_to_its_score_only_in_the_environment_it_was_scored_in() -> None:
    source = pipeline.import_source("pendulum_sac")
    recipe, env = source.recipe, source.env
    assert recipe is not None
    assert recipe.score is not None
    assert recipe_limits(recipe, env).source_return == recipe.score.mean_return
    assert recipe_limits(recipe, EnvSpec("Pendulum-v1", {"g": 5.0})).source_return is None
    sticky = replace(recipe, env=replace(recipe.env, kwargs={"g": 5.0}))
    assert recipe_limits(sticky, env).source_return is None
    judged = replace(sticky, gate=replace(sticky.gate, source_return=-150.0))
    assert recipe_limits(judged, env).source_return == -150.0


def test_without_a_recipe_the_defaults_are_asked() -> None:
    assert recipe_limits(None, None) == DEFAULT_LIMITS


@pytest.mark.parametrize("margin", [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_fewest_episodes_are_those_by_which_the_exact_test_passes_without_a_failure(
    margin: float, alpha: float
) -> None:
    count = flawless_episodes(margin, alpha)
    assert failure_p_value(count, 0, 0, margin) <= alpha
    assert count == 2 or failure_p_value(count - 1, 0, 0, margin) > alpha


def test_limits_that_no_number_of_successes_proves_are_refused_with_the_number_it_takes() -> None:
    check_provable(DEFAULT_LIMITS, 149)
    with pytest.raises(InputError, match=r"50 episodes cannot prove .* it takes 149") as refused:
        check_provable(DEFAULT_LIMITS, 50)
    allowed = float(str(refused.value).rpartition("= ")[2])
    check_provable(Limits(failure_margin=allowed), 50)
    with pytest.raises(InputError):
        check_provable(Limits(failure_margin=allowed - 0.001), 50)


def test_nothing_is_played_for_limits_that_cannot_be_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pipeline.import_source("cartpole_ppo")
    monkeypatch.setattr(
        "quarl.exporter.export.observations_of", None
    )  # a call would be a TypeError
    few = Limits(episodes=50)
    with pytest.raises(InputError, match="50 episodes cannot prove"):
        pipeline.export(source, tmp_path / "out", ExportRequest(limits=few))
    with pytest.raises(InputError, match="20 episodes cannot prove"):
        pipeline.ship(source, tmp_path / "out", ExportRequest(rung=0), ParityRequest(episodes=20))
    assert not (tmp_path / "out").exists()


def test_the_plan_says_when_it_looks_and_how_many_episodes_it_takes() -> None:
    limits = Limits(random_return=0.0)
    said = plan_sentence(limits, 400)
    assert "at most 400 paired episodes, looked at after 50, 100, 200;" in said
    assert "149 episodes at least" in said
