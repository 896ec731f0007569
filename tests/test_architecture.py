"""The walls of the house: which room may import which, no circle of modules, and few entries to
read.

`ROOMS` is the order of rooms, lowest first. A room imports rooms of lower lines only. Imports
inside functions and under `TYPE_CHECKING` count like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import quarl

PACKAGE = Path(quarl.__file__).parent
DOCS = Path(__file__).parents[1] / "toolchain" / "docs" / "decisions" / "0008-rooms.md"
ROOMS = """
errors
resources stats envs
files tools
workers
graph boards
quantize firmware runtimes pi
bundle emitters links
profiles rollouts
importers evidence
sources
finetune
verdict train
reports actorq
exporter
study
pipeline
cli api pytest_plugin
__main__
"""
MOST_ENTRIES = 35
MOST_LINES_OF_A_FILE = 450
LONG_FILES = {"pi/agent.py"}  # one file by nature: it is copied to a Pi and runs there alone
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_THE_CHAIN = 120
MOST_PARAMETERS = 6


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(("quarl", *(part for part in parts if part != "__init__")))] = path
    return found


def imports_of(text: str, modules: set[str]) -> Iterator[tuple[str, int]]:
    """Yield each module of `modules` that the source text imports, with its line."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(package)):
                whole = [f"{package}.{alias.name}" for alias in node.names]
                names = [name if name in modules else package for name in whole]
            case _:
                continue
        yield from ((name, node.lineno) for name in names if name in modules)


def _room(module: str) -> str:
    return (*module.split("."), "")[1]


def _arrows() -> dict[str, set[tuple[str, int]]]:
    modules = _modules()
    return {
        name: {found for found in imports_of(path.read_text(), set(modules)) if found[0] != name}
        for name, path in modules.items()
    }


def upward(arrows: dict[str, set[tuple[str, int]]], levels: dict[str, int]) -> list[str]:
    """Return 'MODULE:LINE imports MODULE' for every import of a room that is not lower."""
    return [
        f"{module}:{line} imports {target}"
        for module, found in arrows.items()
        for target, line in sorted(found)
        if _room(target)
        and _room(module)
        and _room(module) != _room(target)
        and levels[_room(target)] >= levels[_room(module)]
    ]


LEVELS = {room: level for level, rooms in enumerate(ROOMS.split("\n")) for room in rooms.split()}


def test_every_room_has_its_place_in_the_order() -> None:
    assert {_room(module) for module in _modules()} - {""} == set(LEVELS)


@pytest.mark.long
def test_nothing_imports_upward() -> None:
    assert upward(_arrows(), LEVELS) == []


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    from quarl.cli import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import quarl.cli",
        "from quarl import cli",
    ],
)
def test_a_hidden_import_upward_is_seen(text: str) -> None:
    arrows = {"quarl.graph.policy": set(imports_of(text, set(_modules())))}
    assert len(upward(arrows, LEVELS)) == 1


@pytest.mark.long
def test_no_circle_of_modules() -> None:
    arrows = {name: {target for target, _ in found} for name, found in _arrows().items()}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


def test_the_docs_show_the_order_of_the_test() -> None:
    assert ROOMS.strip() in DOCS.read_text()


def _functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return [each.arg for each in every if each.arg not in ("self", "cls")]


@pytest.mark.long
def test_a_function_fits_on_a_screen() -> None:
    lengths = {place: (node.end_lineno or 0) - node.lineno + 1 for place, node in _functions()}
    assert {p: n for p, n in lengths.items() if n > MOST_LINES_OF_A_FUNCTION} == {}


@pytest.mark.long
def test_no_function_takes_many_parameters() -> None:
    counts = {place: len(_parameters(node)) for place, node in _functions()}
    assert {place: n for place, n in counts.items() if n > MOST_PARAMETERS} == {}


def test_no_file_is_long() -> None:
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text().splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {f for f, n in lengths.items() if n > MOST_LINES_OF_A_FILE} <= LONG_FILES


def test_the_chain_fits_on_a_screen_or_two() -> None:
    assert len((PACKAGE / "pipeline.py").read_text().splitlines()) <= MOST_LINES_OF_THE_CHAIN


def test_the_listing_fits_on_a_screen() -> None:
    entries = [entry for entry in PACKAGE.iterdir() if entry.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES
    assert len([entry for entry in entries if entry.is_dir()]) <= MOST_ENTRIES
