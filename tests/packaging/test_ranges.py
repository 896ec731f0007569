"""What quarl asks of packages leaves room for those that users have already."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
ARITHMETIC = {"ai-edge-litert", "onnxruntime"}  # decision 0001


def requirement(name: str, extra: str | None = None) -> Requirement:
    stated = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return next(r for r in map(Requirement, stated) if r.name == name)


@pytest.mark.parametrize(
    ("name", "extra", "versions"),
    [
        ("torch", "sb3", ["2.4.0", "2.9.0", "2.13.0"]),
        ("stable-baselines3", "sb3", ["2.3.0", "2.7.0", "2.9.2"]),
        ("sb3-contrib", "sb3", ["2.3.0", "2.7.0"]),
        ("gymnasium", None, ["1.1.1", "1.2.0", "1.4.0"]),
        ("numpy", None, ["2.1.0", "2.4.6"]),
    ],
)
def test_versions_that_people_pin_are_allowed(
    name: str, extra: str | None, versions: list[str]
) -> None:
    asked = requirement(name, extra)
    assert [v for v in versions if v not in asked.specifier] == []


def test_only_what_computes_int8_is_bounded_above() -> None:
    bounded = {
        r.name
        for r in map(Requirement, PROJECT["dependencies"])
        if any(part.operator in ("<", "<=", "==", "~=") for part in r.specifier)
    }
    assert bounded == ARITHMETIC
