"""The pages of the documentation: links lead somewhere, and every page is listed."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from quarl.bundle.manifest import Manifest, Origin
from quarl.bundle.policy_file import OPS
from quarl.graph.contract import Action, Contract, Observation

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "toolchain" / "docs"
LINK = re.compile(r"\]\(([^)\s#]+)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def pages() -> list[Path]:
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, timeout=60)
    return [ROOT / name for name in sorted(listed.stdout.decode().split("\0")) if name]


def anchors(page: Path) -> set[str]:
    """Return what a link may name behind #, as GitHub makes it of headings."""
    headings = HEADING.findall(page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        if path.startswith(("http://", "https://")):
            continue
        target = page.parent / path
        assert target.exists(), f"{path} does not exist"
        assert not anchor or anchor in anchors(target), f"{path} has no heading #{anchor}"


@pytest.mark.parametrize("folder", [DOCS, DOCS / "decisions"], ids=["docs", "decisions"])
def test_every_page_is_listed_in_its_index(folder: Path) -> None:
    listed = {path for path, _ in LINK.findall((folder / "index.md").read_text())}
    assert {page.name for page in folder.glob("*.md")} - {"index.md"} <= listed


def test_no_word_of_the_glossary_is_defined_twice() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(words) > 40
    assert sorted(words, key=lambda word: word.strip("`").lower()) == words
    assert len(set(words)) == len(words)


SOURCE_FILE = re.compile(r"`((?:toolchain/)?(?:quarl|firmware_harness|tests|models)/[\w./]+\.\w+)`")


def test_source_files_that_pages_name_exist() -> None:
    named = {
        (page.relative_to(ROOT).as_posix(), name)
        for page in pages()
        if page.name != "CHANGELOG.md"  # tells what was there at the time
        for name in SOURCE_FILE.findall(page.read_text())
    }
    assert len(named) > 20
    for page, name in sorted(named):
        assert any((root / name).exists() for root in (ROOT, ROOT / "toolchain")), (page, name)


def test_the_page_of_formats_names_every_field_and_operation() -> None:
    page = re.sub(r"```.*?```", "", (DOCS / "formats.md").read_text(), flags=re.DOTALL)
    tables = (Manifest, Origin, Contract, Observation, Action)
    fields = {field.name for table in tables for field in dataclasses.fields(table)}
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", page))))
    assert not {*fields, *OPS} - words
