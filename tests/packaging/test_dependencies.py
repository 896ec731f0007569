"""No dependency without its reason in toolchain/docs/dependencies.md, no wheel without digests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "toolchain" / "docs" / "dependencies.md"
REQUIREMENTS = ROOT / "requirements"
INPUTS = sorted(REQUIREMENTS.glob("*.in"))
LOCKED = sorted(path for path in REQUIREMENTS.glob("*.txt") if path.name != "torch.txt")


def name_of(requirement: str) -> str:
    """Return the normal name of a requirement, without extras and versions."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def declared() -> dict[str, str]:
    """Return where each dependency is declared."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    places = {
        "build-system": project["build-system"]["requires"],
        "core": project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
    }
    for path in INPUTS:
        lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
        places[path.name] = [line for line in lines if line]
    return {name_of(each): place for place, listed in places.items() for each in listed}


def explained() -> dict[str, str]:
    """Return the reason of each package in the table."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    reasons = {name_of(name): why for names, why in rows for name in names.split(",")}
    reasons.pop("package")
    return reasons


def test_every_dependency_has_its_reason() -> None:
    reasons = explained()
    missing = {name: place for name, place in declared().items() if name not in reasons}
    assert missing == {}, "say why in toolchain/docs/dependencies.md, and why not another"
    assert all(len(why) > 20 for why in reasons.values())


def test_every_reason_is_of_a_dependency() -> None:
    assert set(explained()) - set(declared()) == set()


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.name)
def test_every_locked_package_has_its_digests(path: Path) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", path.read_text().strip())
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_a_dependency_without_a_reason_would_be_found() -> None:
    assert name_of("Foo_Bar[baz]>=1; python_version > '3'") == "foo-bar"
    assert "foo-bar" not in explained()
