"""The studies that ship with their results: every cell of the plan is there, and the page that
tells them says the same numbers.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from quarl.resources import models_dir
from quarl.study.plan import read_study
from quarl.study.result import RESULT_COLUMNS
from tests.bench.bits import Row, rows_of, table

ROOT = Path(__file__).parents[2]
STUDIES = models_dir() / "studies"
PAGE = ROOT / "toolchain" / "docs" / "quarl.md"


def error_of(row: Row) -> str:
    """Return relative error and interval as the page writes them."""
    low_high = [_number(row[column]) for column in ("error_low", "error_high")]
    return f"{_number(row['relative_error'])} [{', '.join(low_high)}]"


def _number(text: str) -> str:
    value = float(text)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}".replace("-0.0", "0.0")


@pytest.mark.parametrize("name", sorted(path.parent.name for path in STUDIES.glob("*/results.csv")))
def test_shipped_results_hold_every_cell_of_their_plan(name: str) -> None:
    study, rows = read_study(STUDIES / name / "study.toml"), rows_of(name)
    policies = {Path(one.source or one.recipe or "").name for one in study.policies}
    assert list(rows[0]) == list(RESULT_COLUMNS)
    assert {row["policy"] for row in rows} == policies
    assert [row["problem"] for row in rows] == [""] * len(rows)
    assert {row["differing"] for row in rows} == {"0"}
    each = {sum(row["policy"] == policy for row in rows) for policy in policies}
    assert len(each) == 1, "the same cells of every policy"


def test_the_page_says_what_the_results_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in rows_of("ptq"):
        if row["method"] == "fp16":
            continue
        (line,) = [text for text in _lines_of(page, row["policy"]) if text.startswith(_cells(row))]
        assert error_of(row) in line, row["policy"]


@pytest.mark.parametrize("name", ["qat_pendulum", "qat_mountaincar"])
def test_the_page_says_what_training_in_integers_came_to(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for method, title in (
        ("ladder", "the ladder (rung 4)"),
        ("distil", "distillation"),
        ("qat", "training in integers from half of the steps on"),
    ):
        rows = [row for row in rows_of(name) if row["method"] == method]
        widths = [[row for row in rows if row["weights"] == bits] for bits in "8432"]
        assert f"| {title} | {' | '.join(map(seeds_of, widths))} |" in page


def seeds_of(rows: list[Row]) -> str:
    """Return the return of several trainings and the loss of each, as the page writes them."""
    returns = [float(row["mean_return"]) for row in rows]
    lost = ", ".join(_number(row["relative_error"]) for row in rows)
    return f"{statistics.mean(returns):.1f} +- {statistics.stdev(returns):.1f} ({lost})"


def test_the_page_on_training_holds_the_table_of_bits() -> None:
    page = (PAGE.parent / "training.md").read_text(encoding="utf-8")
    assert table() in page, "python -m tests.bench.bits"


def _cells(row: Row) -> str:
    return "QuaRL's" if row["method"] == "paper" else "ours"


def _lines_of(page: str, policy: str) -> list[str]:
    """Return the two lines of a policy in the table of widths, without its name."""
    lines = page.splitlines()
    at = next(
        i for i, line in enumerate(lines) if line.startswith(f"| `{policy}` (") and "QuaRL" in line
    )
    return [line.split("|", 2)[2].strip() for line in lines[at : at + 2]]
