"""The studies that ship: each plan is read strictly, and the policies it names are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarl.resources import models_dir
from quarl.study.plan import Training, cells_of, read_study, trainings_of

PLANS = sorted((Path(__file__).parents[2] / "models" / "studies").glob("*/study.toml"))


def test_the_studies_that_ship() -> None:
    names = [plan.parent.name for plan in PLANS]
    assert names == [
        "atari4",
        "bits",
        "bits_long",
        "mujoco",
        "ptq",
        "qat",
        "qat_cartpole",
        "qat_mountaincar",
        "qat_pendulum",
        "spread",
    ]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.parent.name)
def test_a_plan_is_read_and_names_what_is_there(plan: Path) -> None:
    study = read_study(plan)
    assert study.name == plan.parent.name
    trainings: list[Training | None] = [t for _, t in trainings_of(study, plan.parent)]
    for source in (entry.source for entry in study.policies):
        if source is None:
            continue
        folder = plan.parent / source
        folder = folder if folder.exists() else models_dir() / source
        assert (folder / "recipe.toml").is_file()
        assert (folder / "calibration.npz").is_file()
        trainings.append(None)
    for training in trainings:
        cells = list(cells_of(study, "it", training, is_image=False))
        assert len({cell.key("it") for cell in cells}) == len(cells) > 1


def test_three_trainings_of_each_recipe_have_keys_of_their_own() -> None:
    plan = next(plan for plan in PLANS if plan.parent.name == "qat")
    trainings = [training for _, training in trainings_of(read_study(plan), plan.parent)]
    assert len({training.key for training in trainings}) == len(trainings) == 9
