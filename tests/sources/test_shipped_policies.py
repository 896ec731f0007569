"""Every shipped policy is what its folder says: read exactly, as good as advertised, calibrated and
judged on different observations.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl import pipeline
from quarl.reports.player import play, source_player
from quarl.resources import models_dir
from quarl.sources.observations import observations_of
from quarl.sources.proof import prove
from tests.conftest import need

FINISHED = sorted(path.parent.name for path in models_dir().glob("*/SOURCE.md"))
EXACT = 1e-5
EPISODES = {True: 2, False: 30}  # of images and of vectors


def packages(name: str) -> None:
    recipe = (Path(models_dir()) / name / "recipe.toml").read_text(encoding="utf-8")
    need(*(("ale_py",) if "quarl.envs.atari" in recipe else ()))


@pytest.mark.parametrize("name", FINISHED)
def test_a_shipped_policy_is_read_exactly(name: str) -> None:
    packages(name)
    source = pipeline.import_source(name)
    need(
        *{"stable-baselines3": ("torch", "stable_baselines3"), "keras": ("keras",)}.get(
            source.framework, ()
        )
    )
    proof = prove(source, trust=True)
    assert proof.max_abs_error is not None, proof.reason
    assert proof.max_abs_error <= EXACT


@pytest.mark.every(2)
@pytest.mark.play
@pytest.mark.parametrize("name", FINISHED)
def test_a_shipped_policy_plays_as_well_as_its_score_says(name: str) -> None:
    packages(name)
    source = pipeline.import_source(name)
    assert source.recipe is not None
    score = source.recipe.score
    assert score is not None
    count = EPISODES[source.policy.contract.observation.is_image]
    played = play(source_player(source, None, None), range(score.seed, score.seed + count))
    assert (
        abs(played.returns.mean() - score.mean_return)
        <= 4 * score.std_return / np.sqrt(count) + 1e-3
    )
    if score.success_rate is not None:
        assert played.successes is not None
        missed = 1 - score.success_rate
        assert (
            1 - played.successes.mean()
            <= missed + 4 * np.sqrt(missed * (1 - missed) / count) + 1e-3
        )


@pytest.mark.long
@pytest.mark.parametrize("name", FINISHED)
def test_what_a_shipped_policy_is_judged_on_was_not_calibrated_on(name: str) -> None:
    packages(name)
    fitted, held = observations_of(pipeline.import_source(name), None)
    shared = {row.tobytes() for row in fitted.obs} & {row.tobytes() for row in held.obs}
    assert (
        len(shared) <= len(held.obs) // 20
    )  # the first screen of an Atari game is the same in many
    assert len(np.unique(fitted.episode)) >= 8
