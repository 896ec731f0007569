"""Settings are read strictly, and say what they mean for a run."""

from __future__ import annotations

import pytest

from quarl.actorq.settings import settings_of
from quarl.errors import InputError
from tests.support.actorq import SMALL, recipe_of


def test_a_recipe_gives_its_settings() -> None:
    settings = settings_of(recipe_of(SMALL))
    assert settings.layers == (128, 128)
    assert settings.actors.precision == "int8"
    assert settings.algorithm == "DQN"


def test_a_command_line_changes_the_actors_alone() -> None:
    settings = settings_of(recipe_of(SMALL), precision="fp16", count=None)
    assert (settings.actors.precision, settings.actors.count) == ("fp16", 2)


def test_every_problem_is_named_at_once() -> None:
    wrong = """
layers = [0]
activation = "gelu"
learning_rat = 1.0
gamma = 2.0
actors = { precision = "int4", count = 0, colour = "red" }
replay = { samples_per_insert = 0.0 }
"""
    with pytest.raises(InputError) as caught:
        settings_of(recipe_of(wrong))
    words = str(caught.value)
    for key in ("layers", "activation", "learning_rat", "gamma", "precision", "count", "colour"):
        assert key in words
    assert "samples_per_insert" in words
    assert "did you mean learning_rate?" in words


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("value_low = 10.0\nvalue_high = -10.0", "value_low: 10.0"),
        ("replay = { capacity = 10, min_rows = 20 }", "replay.capacity: 10"),
        ("replay = { shards = 3 }", r"replay.shards: 3; allowed: actors.count \(2\) or fewer"),
        ('algorithm = "DQN"', "algorithm belongs above"),
    ],
)
def test_contradictions_are_named(lines: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        settings_of(recipe_of(lines))


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(InputError, match='"DQN", "D4PG"'):
        settings_of(recipe_of(SMALL, algorithm="PPO"))


def test_learner_steps_follow_from_environment_steps() -> None:
    settings = settings_of(recipe_of(SMALL))
    assert settings.learner_steps(3_000) == 700  # (3,000 - 200) * 16 / 64
    assert settings.env_steps(700) == 3_000
    assert settings.learner_steps(10) == 1
