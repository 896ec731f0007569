"""A small grid from file to page: each cell once, whoever computes it, holes with their reasons."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.study.figures import line_name
from quarl.study.page import write_page
from quarl.study.plan import Study, cells_of, read_study, trainings_of
from quarl.study.result import RESULT_COLUMNS, Result
from quarl.study.run_cell import Place, train_policy
from quarl.study.run_study import PAGE, RESULTS, SCHEMA, Standing, run_study, sources_of
from quarl.study.store import Store
from quarl.study.summary import reward_tables
from quarl.workers import Here, Workers, open_workers
from quarl.workers.processes import Processes
from tests.conftest import need
from tests.train.test_keras_dqn import TINY
from tests.train.test_sb3 import PPO, few_episodes

__all__ = ["few_episodes"]  # a fixture of this module too

STUDY = """\
name = "small"
title = "Small <grid>"
episodes = 6

[[policies]]
source = "cartpole_ppo"

[[methods]]
method = "fp16"

[[methods]]
method = "paper"
weights = [8, 2]

[[methods]]
method = "ladder"
weights = [8, 2]
inputs = [8]
"""
TRAINED = """
[[policies]]
recipe = "tiny_ppo"
seeds = [5]
steps = 256

[[methods]]
method = "distil"
weights = [2]
inputs = [12]
edges = 8
steps = 12

[[methods]]
method = "qat"
weights = [4]
inputs = [12]
"""


def study_file(folder: Path, text: str = STUDY) -> Path:
    (folder / "tiny_ppo").mkdir(parents=True, exist_ok=True)
    (folder / "tiny_ppo" / "recipe.toml").write_text(PPO)
    path = folder / "study.toml"
    path.write_text(text)
    return path


def run(
    path: Path, out: Path, workers: Workers | None = None
) -> tuple[list[Result], list[Standing]]:
    told: list[Standing] = []
    results = run_study(read_study(path), path.parent, out, workers or Here(), told.append)
    return results, told


def numbers(results: Sequence[Result]) -> list[Any]:
    return [replace(result, seconds=0.0) for result in results]


def test_a_grid_becomes_a_table_with_a_schema_and_a_page_that_loads_nothing(tmp_path: Path) -> None:
    need("matplotlib")
    path = study_file(tmp_path)
    results, _ = run(path, tmp_path / "out")
    assert [(r.method, r.weights, r.problem) for r in results] == [
        ("fp16", 16, ""),
        ("paper", 8, ""),
        ("paper", 2, ""),
        ("ladder", 8, ""),
        ("ladder", 2, ""),
    ]
    best, worst = results[0], results[2]
    assert best.agreement > 0.99 > worst.agreement
    assert best.relative_error == pytest.approx(0)
    assert best.source_return == 500
    assert worst.error_low <= worst.relative_error <= worst.error_high
    assert all(r.differing == 0 for r in results)
    assert len(best.returns) == len(best.source_returns) == 6
    rows = list(csv.reader((tmp_path / "out" / RESULTS).open(newline="")))
    assert rows[0] == list(RESULT_COLUMNS)
    assert len(rows) == 6
    assert json.loads((tmp_path / "out" / SCHEMA).read_text())["columns"] == RESULT_COLUMNS
    study = read_study(path)
    sources = sources_of(study, path.parent, tmp_path / "out")
    write_page(study, results, sources, tmp_path / "out" / PAGE)
    page = (tmp_path / "out" / PAGE).read_text()
    assert "Small &lt;grid&gt;" in page
    assert page.count("<svg") >= 3
    assert not re.search(r'(?:src|href)="(?!#)', page)
    write_page(study, results, sources, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


def test_nothing_is_computed_twice_and_a_grown_study_computes_its_new_cells(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    first, _ = run(path, tmp_path / "out")
    again, told = run(path, tmp_path / "out")
    assert numbers(again) == numbers(first)
    assert [standing.done for standing in told] == [5]
    study_file(tmp_path, STUDY.replace("weights = [8, 2]\ninputs", "weights = [8, 4, 2]\ninputs"))
    grown, told = run(path, tmp_path / "out")
    assert len(grown) == 6
    assert [standing.done for standing in told] == [5, 6]


def test_the_episodes_of_a_float_policy_are_played_once_for_all_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quarl.study import run_cell

    played: list[range] = []
    whole = run_cell.run_episodes

    def counted(env: Any, actor: Any, seeds: Any) -> Any:
        played.append(seeds)
        return whole(env, actor, seeds)

    monkeypatch.setattr(run_cell, "run_episodes", counted)
    first, _ = run(study_file(tmp_path), tmp_path / "out")
    assert len(played) == 1 + len(first)
    (kept,) = (tmp_path / "out" / "sources").iterdir()
    kept.write_bytes(b"PK")  # damaged: played again
    study_file(tmp_path, STUDY.replace("weights = [8, 2]\ninputs", "weights = [8, 4, 2]\ninputs"))
    again, _ = run(tmp_path / "study.toml", tmp_path / "out")
    assert len(played) == 1 + len(first) + 2
    assert {r.source_returns for r in again} == {first[0].source_returns}


def test_recipes_are_trained_and_learned_cells_measured(tmp_path: Path) -> None:
    need("torch", "stable_baselines3")
    text = STUDY.partition("[[methods]]")[0].replace('[[policies]]\nsource = "cartpole_ppo"\n', "")
    path = study_file(tmp_path, text + TRAINED)
    results, _ = run(path, tmp_path / "out")
    assert [(r.policy, r.training_seed, r.method, r.problem) for r in results] == [
        ("tiny_ppo", 5, "distil", ""),
        ("tiny_ppo", 5, "qat", ""),
    ]
    assert all(r.differing == 0 and r.episodes == 6 and r.entropy is not None for r in results)


@pytest.mark.parametrize("method", ["distil", "qat"])
def test_an_interrupt_ends_the_study_and_its_cell_is_computed_whole_later(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that was cut short would pass for a whole one for ever."""
    need("torch", "stable_baselines3")
    import torch

    policy, *methods = TRAINED.split("\n[[methods]]")
    (wanted,) = (entry for entry in methods if f'"{method}"' in entry)
    text = f'name = "cut"\nepisodes = 4\n{policy}\n[[methods]]{wanted}'
    path, out = study_file(tmp_path, text), tmp_path / "out"
    whole, _ = run(path, tmp_path / "whole")
    train_policy(trainings_of(read_study(path), path.parent)[0][1], Place(out))
    step, made = torch.optim.Adam.step, 0

    def cut(*arguments: Any, **options: Any) -> Any:
        nonlocal made
        made += 1
        if made == 5:
            raise KeyboardInterrupt
        return step(*arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", cut)
    with pytest.raises(KeyboardInterrupt):
        run(path, out)
    monkeypatch.setattr(torch.optim.Adam, "step", step)
    assert made == 5
    assert not list((out / "cells").glob("*"))
    again, _ = run(path, out)
    assert numbers(again) == numbers(whole)


def test_any_number_of_processes_gives_the_same_numbers(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    here, _ = run(path, tmp_path / "a")
    spread, _ = run(path, tmp_path / "b", Processes(2))
    assert numbers(spread) == numbers(here)


def test_a_ray_cluster_gives_the_same_numbers(tmp_path: Path) -> None:
    need("ray")
    path = study_file(tmp_path)
    here, _ = run(path, tmp_path / "a")
    with open_workers(None, "local") as nodes:
        spread, _ = run(path, tmp_path / "b", nodes)
    assert numbers(spread) == numbers(here)


def test_a_cell_that_fails_is_a_hole_with_its_reason_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quarl.study import run_cell

    def refused(policy: Any, bits: int) -> Any:
        raise InputError(f"no {bits} today\nat all")

    with monkeypatch.context() as patch:
        patch.setattr(run_cell, "rounded_as_paper", refused)
        results, _ = run(study_file(tmp_path), tmp_path / "out")
    assert [r.problem for r in results] == ["", "no 8 today", "no 2 today", "", ""]
    need("matplotlib")
    write_page(read_study(tmp_path / "study.toml"), results, [], tmp_path / "page.html")
    assert "no 8 today" in (tmp_path / "page.html").read_text()
    results, told = run(tmp_path / "study.toml", tmp_path / "out")
    assert [r.problem for r in results] == [""] * 5
    assert told[0].done == 3


def test_a_policy_that_is_missing_is_a_hole_too(tmp_path: Path) -> None:
    text = STUDY.replace('"cartpole_ppo"', '"no_such_policy"')
    results, _ = run(study_file(tmp_path, text), tmp_path / "out")
    assert len(results) == 5
    assert all("neither a file nor a shipped policy" in result.problem for result in results)


def test_a_damaged_result_is_computed_again(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    run(path, tmp_path / "out")
    stored = sorted((tmp_path / "out" / "cells").rglob("*.json"))
    stored[0].write_text("{")
    _, told = run(path, tmp_path / "out")
    assert told[0].done == 4
    assert Store(tmp_path / "out").find(stored[0].stem) is not None


def test_a_training_that_is_complete_is_not_trained_again(tmp_path: Path) -> None:
    need("torch", "stable_baselines3")
    from quarl.study.plan import trainings_of
    from quarl.study.run_cell import Place

    path = study_file(tmp_path, STUDY + TRAINED)
    (_, training), *_ = trainings_of(read_study(path), path.parent)
    folder = train_policy(training, Place(tmp_path / "out"))
    before = (folder / "policy.zip").stat().st_mtime_ns
    train_policy(training, Place(tmp_path / "out"))
    assert (folder / "policy.zip").stat().st_mtime_ns == before
    assert "seed = 5\nsteps = 256" in (folder / "recipe.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("episodes = 6", "episode = 6", r"episode: unknown key.*did you mean episodes"),
        ("weights = [8, 2]\ninputs", "weights = [9]\ninputs", "methods"),
        ('method = "ladder"', 'method = "magic"', "methods"),
        ('source = "cartpole_ppo"', 'source = "a"\nrecipe = "b"', "policies, entry 1: give it"),
        (
            'source = "cartpole_ppo"',
            'source = "a"\nsteps = 4',
            "seeds and steps belong to a recipe",
        ),
    ],
)
def test_a_wrong_study_is_refused_by_its_keys(
    old: str, new: str, found: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=found):
        read_study(study_file(tmp_path, STUDY.replace(old, new, 1)))


def test_a_study_that_cannot_be_kept_is_refused_before_any_work(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    with pytest.raises(InputError, match=r"study\.toml: no folder can be made there"):
        run(path, path)
    lost = STUDY.replace('source = "cartpole_ppo"', 'recipe = "nowhere"')
    with pytest.raises(InputError, match=r"nowhere/recipe\.toml: there is no such file"):
        run(study_file(tmp_path, lost), tmp_path / "out")


def test_a_recipe_of_keras_is_trained_in_integers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("tensorflow", "keras", "matplotlib")
    monkeypatch.setattr("quarl.train.keras_dqn.CHECKPOINT_EPISODES", 4)
    (tmp_path / "tiny_dqn").mkdir()
    (tmp_path / "tiny_dqn" / "recipe.toml").write_text(TINY)
    head = 'name = "small"\ntitle = "Small"\nepisodes = 6\n'
    trained = TRAINED.replace("tiny_ppo", "tiny_dqn")
    policies, methods = trained.split("[[methods]]")[0], trained.split("[[methods]]")[2]
    path = study_file(tmp_path, f"{head}{policies}[[methods]]{methods}")
    results, _ = run(path, tmp_path / "out")
    assert [(r.method, r.problem, r.differing) for r in results] == [("qat", "", 0)]


def test_pixels_take_no_widths_of_inputs_and_qat_needs_a_training(tmp_path: Path) -> None:
    study: Study = read_study(study_file(tmp_path, STUDY + TRAINED))
    cells = list(cells_of(study, "pong_ppo", None, is_image=True))
    assert "qat" not in {cell.method for cell in cells}
    assert {cell.widths.inputs for cell in cells} == {None}
    assert {cell.episodes for cell in cells} == {study.image_episodes}


def test_the_key_of_a_cell_says_everything_that_decides_it(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path))
    cells = list(cells_of(study, "cartpole_ppo", None, is_image=False))
    keys = {cell.key("x") for cell in cells}
    assert len(keys) == len(cells)
    first = cells[0]
    others = [
        replace(first, episodes=7),
        replace(first, seed=1),
        replace(first, board="nrf52840_dk"),
        replace(first, settings={"rung": 5}),
    ]
    assert len({first.key("x"), first.key("y"), *(cell.key("x") for cell in others)}) == 6
    assert replace(first, policy="elsewhere").key("x") == first.key("x")


def test_results_of_two_rungs_are_two_lines() -> None:
    one = Result("p", "t", "DQN", 1, "ladder", 8, 8, 8, 8, 0, rung=0)
    other = replace(one, rung=3)
    assert line_name(one) == "ladder rung 0, activations 8"
    assert line_name(other) != line_name(one)
    tables = reward_tables(
        [replace(r, returns=(1.0,), source_returns=(1.0,)) for r in (one, other)]
    )
    assert [len(table.rows[0]) for table in tables] == [3 + 2 * 2]


def test_numbers_of_a_result_come_back_from_its_file() -> None:
    result = Result("p", "t", "PPO", 1, "paper", 8, 8, 32, 32, 0, returns=(1.0, 2.5), entropy=0.1)
    assert Result.from_json(result.to_json().encode(), "cell") == result
    assert np.isfinite(result.relative_error)
