"""What a release is asked by default comes from its recipe."""

from __future__ import annotations

from dataclasses import replace

from quarl import pipeline
from quarl.lanes import EnvSpec
from quarl.pipeline import _limits_of


def test_the_source_is_held_to_its_score_only_in_the_environment_it_was_scored_in() -> None:
    source = pipeline.import_source("pendulum_sac")
    assert source.recipe is not None
    assert source.recipe.score is not None
    assert _limits_of(source, None).source_return == source.recipe.score.mean_return
    assert _limits_of(replace(source, env=EnvSpec("Pendulum-v1", {"g": 5.0})), None).source_return is None
    sticky = replace(source.recipe, env=replace(source.recipe.env, kwargs={"g": 5.0}))
    assert _limits_of(replace(source, recipe=sticky), None).source_return is None
    judged = replace(sticky, gate=replace(sticky.gate, source_return=-150.0))
    assert _limits_of(replace(source, recipe=judged), None).source_return == -150.0
