"""The results of ActorQ that ship: nothing differed, and the page says what they say."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import need

need("ray", "torch", "matplotlib")
from quarl.actorq.comparison import cost_rows  # noqa: E402
from quarl.actorq.record import Record  # noqa: E402
from quarl.actorq.tables import tables_of  # noqa: E402
from quarl.sources.recipe import parse_recipe  # noqa: E402
from tests.bench.actorq_runs import CELLS, STUDY, THRESHOLDS, kept_records  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "toolchain" / "docs" / "actorq-results.md", ROOT / "README.md"
RECORDS: list[Record] = kept_records()


def test_every_kept_run_was_asked_for_and_no_output_differed() -> None:
    names = {
        cell.run_name(kind, seed) for cell in CELLS for seed in cell.seeds for kind in cell.kinds
    }
    assert {record.folder.name for record in RECORDS} <= names
    assert {record.differing for record in RECORDS} == {0}
    assert {point.differing for record in RECORDS for point in record.points} == {0}


def test_the_page_holds_every_line_of_the_results() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for table in tables_of(RECORDS, THRESHOLDS, []):
        assert f"## {table.title}" in text
        for row in table.rows:
            assert f"| {' | '.join(row)} |" in text, row


def test_the_readme_says_what_the_results_say() -> None:
    readme, told = README.read_text(encoding="utf-8"), 0
    for record in RECORDS:
        if record.case.name == "cheetah_2048":
            maker = " ".join(record.case.machine.replace("(R)", "").split()[:2])
            lines = [
                text
                for text in readme.splitlines()
                if text.startswith(f"| {maker}")
                and f"a pull every {record.case.pull_every} steps |" in text
            ]
            for line in lines:
                assert f" {sum(cost_rows(record).values()):,.0f}" in line.replace("*", " ")
            told += len(lines)
    assert told == 12, "eight of one machine, and of another those with a pull every 30 steps"


def test_the_recipes_are_named_after_their_folders() -> None:
    for path in STUDY.glob("*/recipe.toml"):
        assert parse_recipe(path.read_text(), str(path)).name == path.parent.name
