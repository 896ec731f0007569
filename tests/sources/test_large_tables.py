"""A few lines of TOML that stand for more than anybody computes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.importers import ImportOptions
from quarl.quantize.observation_file import read_observation_file
from quarl.sources.contract_file import with_contract_file
from quarl.study.plan import cells_of, read_study

STUDY = '[[policies]]\nsource = "a"\n[[methods]]\nmethod = "distil"\n'


def test_a_history_of_a_billion_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text('[observation]\nhistory = 1000000000\nnames = ["a"]\n')
    with pytest.raises(InputError, match=r"observation.history: 1000000000; allowed: .* to 1,000"):
        with_contract_file(ImportOptions(), path)


def test_a_grid_of_more_cells_than_anybody_computes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    seeds = ", ".join(map(str, range(20_000)))
    path.write_text(f'name = "a"\n{STUDY}weights = [4, 5, 6, 7, 8, 3]\nseeds = [{seeds}]\n')
    with pytest.raises(InputError, match="a grid of 120,000 cells; allowed: at most 100,000"):
        read_study(path)


def test_widths_that_are_named_many_times_are_one(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    many = ", ".join(["8"] * 20_000)
    path.write_text(f'name = "a"\n{STUDY}weights = [{many}]\nactivations = [{many}]\n')
    start = time.process_time()
    (cell,) = cells_of(read_study(path), "a", None, is_image=False)
    assert cell.widths.weights == 8
    assert time.process_time() - start < 20


def test_a_table_that_says_it_is_wide_takes_no_memory_for_it(tmp_path: Path) -> None:
    path = tmp_path / "observations.csv"
    path.write_text("a," * 200_000 + "\n" + "1\n" * 200_000)
    with pytest.raises(InputError, match="200,000 rows are too short for 200,001 numbers each"):
        read_observation_file(path)
