"""Tests are marked by what they start, and a test that forgets to say so fails."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from quarl import pipeline
from tests.conftest import need
from tests.support import kinds
from tests.support.kinds import kinds_of

pytest_plugins = ("pytester",)
TOOLS = ("ziglang", "unicorn")


def _build() -> None:
    need("gcc")


def by_itself() -> None:
    need("qemu-system-arm", "gcc")


def by_a_helper() -> None:
    _build()


def by_a_tuple() -> None:
    need(*TOOLS)


def by_an_inner_function() -> None:
    def run() -> None:
        need("torch")

    run()


def by_a_function_of_the_package() -> None:
    pipeline.ship  # noqa: B018


def of_nothing() -> None:
    assert "gcc"


def of_another_name() -> None:
    assert kinds.NEED, TOOLS


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (by_itself, {"emulator", "compiler"}),
        (by_a_helper, {"compiler"}),
        (by_a_tuple, {"emulator", "compiler"}),
        (by_an_inner_function, {"framework"}),
        (by_a_function_of_the_package, {"play"}),
        (of_nothing, set()),
        (of_another_name, set()),
    ],
)
def test_a_test_is_marked_by_what_it_needs(function: Any, expected: set[str]) -> None:
    assert kinds_of(iter([function])) == expected


@pytest.mark.parametrize("name", kinds.FUNCTIONS)
def test_the_functions_that_mark_a_test_exist(name: str) -> None:
    module, function = name.rsplit(".", 1)
    assert callable(getattr(import_module(module), function))


@pytest.fixture
def compiled() -> None:
    need("ziglang")


def test_a_fixture_marks_the_tests_that_use_it(
    compiled: None, request: pytest.FixtureRequest
) -> None:
    assert request.node.get_closest_marker("compiler")


@pytest.mark.parametrize(("program", "errors"), [("gcc", 1), ("true", 0)])
def test_a_test_that_starts_a_compiler_unsaid_fails(
    pytester: pytest.Pytester, program: str, errors: int
) -> None:
    fake = pytester.path / program
    fake.write_text("#!/bin/sh")
    fake.chmod(0o755)
    pytester.makepyfile(f"""
        import subprocess
        from tests.conftest import _what_a_test_starts_is_declared

        def test_starts():
            subprocess.run([{str(fake)!r}], check=True)
    """)
    result = pytester.runpytest_inprocess("-p", "no:xdist")
    result.assert_outcomes(passed=1, errors=errors)


def test_of_like_cases_make_test_runs_every_nth(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.mark.every(3)
        @pytest.mark.parametrize("case", range(7))
        def test_like(case):
            assert case % 3 == 0
    """)
    pytester.makeconftest("from tests.conftest import pytest_collection_modifyitems  # noqa: F401")
    result = pytester.runpytest_inprocess("-p", "no:xdist", "-m", "not slow")
    result.assert_outcomes(passed=3, deselected=4)
