"""The notebooks of the documentation run as they stand, from an empty folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import need
from tests.support.notebooks import cells, run_notebook

FOLDER = Path(__file__).parents[2] / "toolchain" / "docs" / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))

pytestmark = pytest.mark.play


def test_there_are_three_and_the_index_names_them() -> None:
    index = (FOLDER.parent / "index.md").read_text()
    assert len(BOOKS) == 3
    assert all(f"(notebooks/{path.name})" in index for path in BOOKS)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_no_output_and_follows_the_format(path: Path) -> None:
    table = json.loads(path.read_text())
    assert (table["nbformat"], table["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in table["cells"]}) == len(table["cells"])
    for cell in cells(path):
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_the_first_release_passes_and_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    release, differing, verdict, answer, failed, _ = run_notebook(FOLDER / "first_release.ipynb")
    assert release.startswith("<table")
    assert set(json.loads(differing.replace("'", '"')).values()) == {0}
    assert verdict.startswith("<table")
    assert answer.endswith("'pass'>, [])")
    assert "action_agreement" in failed
    assert Path(capsys.readouterr().out.splitlines()[-1]).is_file()


@pytest.mark.slow
def test_a_network_and_an_environment_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("torch")
    monkeypatch.chdir(tmp_path)
    *_, release, returns, verdict = run_notebook(FOLDER / "own_network.ipynb")
    assert "reach" in release
    assert returns.startswith("array([[-")
    assert "pass" in verdict


@pytest.mark.slow
def test_bits_are_counted_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need("matplotlib")
    monkeypatch.chdir(tmp_path)
    run_notebook(FOLDER / "how_many_bits.ipynb")
    assert (tmp_path / "out" / "bits.svg").is_file()
    said = capsys.readouterr().out.splitlines()
    kept = [float(line.split()[2]) for line in said[:4]]
    assert kept[0] > 80 > kept[-1]
    assert "bits keep four decisions of five" in said[-1]
