"""What every test may use."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from quarl.importers.beside_tensorflow import prepare_for_tensorflow
from tests.support.kinds import KINDS, kinds_of

# No test depends on wall time. CI tries the same cases every time; new ones are found where
# somebody can look at them.
settings.register_profile(
    "quarl",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("quarl")
os.environ.pop("PYTHONUNBUFFERED", None)  # users seldom set it: what is printed waits in a buffer
prepare_for_tensorflow()  # the same process tests both frameworks


NEEDED_BY_MODULE: dict[str, set[str]] = {}  # what a module calls `need` with as it is imported


def need(*names: str) -> None:
    """Skip the test where a Python package or a program is missing; under CI that is a failure."""
    caller = sys._getframe(1)
    if caller.f_code.co_name == "<module>":
        NEEDED_BY_MODULE.setdefault(caller.f_globals["__name__"], set()).update(names)
    missing = [
        name
        for name in names
        if importlib.util.find_spec(name) is None and shutil.which(name) is None
    ]
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"needs {', '.join(missing)}, which CI must have")
        pytest.skip(f"needs {', '.join(missing)}", allow_module_level=True)


@pytest.fixture(scope="session", autouse=True)
def _history_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the runs of the tests out of the history of whoever runs them."""
    os.environ["QUARL_HISTORY"] = str(tmp_path_factory.mktemp("history") / "history.sqlite3")


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the C kernels, compiled once for the session."""
    return tmp_path_factory.mktemp("kernels") / "objects"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with what it starts (tests/support/kinds.py), and as slow the cases that
    `every` leaves to `make test-all`.
    """
    cases: Counter[object] = Counter()
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        functions = [item.function, *(fixture.func for found in fixtures for fixture in found)]
        kinds = kinds_of(iter(functions))
        module = item.function.__module__
        if module.startswith("tests.e2e."):
            kinds.add("e2e")
        by_module = NEEDED_BY_MODULE.get(module, set())
        kinds |= {kind for kind, members in KINDS.items() if members & by_module}
        for kind in sorted(kinds):
            item.add_marker(kind)
        every = item.get_closest_marker("every")
        if every is not None and item.get_closest_marker("slow") is None:
            if cases[item.function] % every.args[0]:
                item.add_marker("slow")
            cases[item.function] += 1


STARTED: set[str] = set()  # programs that the running test started


def _note_program(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        words = [arguments[0], *arguments[1][:4]] if isinstance(arguments[1], list) else []
        STARTED.update(Path(os.fsdecode(word)).name for word in words if word)


sys.addaudithook(_note_program)


@pytest.fixture(autouse=True)
def _what_a_test_starts_is_declared(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts a compiler, say, where nothing on its way calls `need` for it."""
    yield
    started = STARTED.copy()
    STARTED.clear()
    marks = {mark.name for mark in request.node.iter_markers()}
    undeclared = sorted(set().union(*KINDS.values()) & started)
    if undeclared and not marks & {*KINDS, "slow", "play", "train"}:
        pytest.fail(f"this test starts {', '.join(undeclared)}: call need() for it")
