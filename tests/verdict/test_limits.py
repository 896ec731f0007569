"""What a release is asked by default comes from its recipe."""

from __future__ import annotations

from dataclasses import replace

from quarl import pipeline
from quarl.bundle.limits import DEFAULT_LIMITS
from quarl.graph.env_spec import EnvSpec
from quarl.verdict.limits import recipe_limits


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
