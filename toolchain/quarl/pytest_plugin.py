"""The pytest plugin: `pytest --quarl-bundle DIR` makes each check of the gate one test.

Goes in: finished bundles, and limits where the user gives some. Comes out: a test per check, which
fails with what was found, what is allowed and what to do; a check that is reported without a limit
is skipped, and so is one that is not proven where [gate] not_proven = "warn" lets it pass. Loaded
by every pytest run where quarl is installed, so nothing of quarl is imported before a bundle is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from quarl.verdict.verdict import Check


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("quarl", "release gate of reinforcement-learning policies")
    group.addoption(
        "--quarl-bundle",
        action="append",
        default=[],
        metavar="DIR",
        help="Bundle to judge: each check of its gate is a test.",
    )
    group.addoption(
        "--quarl-limits",
        metavar="FILE.toml",
        help="What is asked, a table [gate] on the defaults; a bundle may ask for more.",
    )


def pytest_collection(session: pytest.Session) -> None:
    """Check the options before anything is collected: a bundle that is not there ends the run."""
    for folder in session.config.getoption("--quarl-bundle"):
        if not Path(folder).is_dir():
            raise pytest.UsageError(
                f"--quarl-bundle {folder}: there is no such folder; quarl ship SOURCE --out "
                f"{folder} writes it"
            )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the checks of the bundles behind the tests that were collected."""
    limits = config.getoption("--quarl-limits")
    for folder in config.getoption("--quarl-bundle"):
        bundle = Bundle.from_parent(
            session,
            name=folder,
            path=Path(folder).resolve(),
            limits=None if limits is None else Path(limits),
        )
        items += bundle.collect()


class Bundle(pytest.Collector):
    """A bundle and its checks."""

    def __init__(self, limits: Path | None, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]  # pytest hands its own arguments through
        self._limits = limits

    def collect(self) -> Iterator[CheckItem]:
        """Judge the bundle and give a test for each check.

        Raises:
            pytest.UsageError: the bundle or the limits cannot be read.
        """
        from quarl import pipeline
        from quarl.bundle.release import open_bundle
        from quarl.errors import QuarlError
        from quarl.files.open import read_file
        from quarl.verdict.limits import read_gate_file

        try:
            limits = None
            if self._limits is not None:
                text = read_file(self._limits).decode(errors="replace")
                limits = read_gate_file(text, str(self._limits))
            verdict = pipeline.gate(open_bundle(self.path), limits=limits)
        except QuarlError as error:
            raise pytest.UsageError(f"quarl: {error}") from error
        for check in verdict.checks:
            yield CheckItem.from_parent(
                self, name=check.name, check=check, lenient=verdict.may_ship
            )


class CheckItem(pytest.Item):
    """One check of the gate."""

    def __init__(self, check: Check, lenient: bool, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]  # pytest hands its own arguments through
        self._check, self._lenient = check, lenient

    def runtest(self) -> None:
        """Pass, fail or skip as the gate judged."""
        from quarl.verdict.verdict import Outcome

        check = self._check
        if check.outcome is Outcome.REPORTED:
            pytest.skip(f"no limit: {check.detail}")
        if check.outcome is Outcome.NOT_PROVEN and self._lenient:
            pytest.skip(f"not proven, allowed as a warning: {check.detail}")
        if check.outcome is not Outcome.PASS:
            raise CheckFailedError(check)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str:
        """Say what was found and what to do; the gate's own code says nothing here."""
        if isinstance(excinfo.value, CheckFailedError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the check as the reports show it."""
        return self.path, None, f"quarl gate: {self._check.name}"


class CheckFailedError(AssertionError):
    """A check of the gate says no."""

    def __init__(self, check: Check) -> None:
        from quarl.verdict.formats.wording import ANSWERS, found_text, limit_text

        found = (
            f"{check.name}: {ANSWERS[check.outcome]}: {found_text(check)}, {limit_text(check)} "
            f"({check.kind})"
        )
        super().__init__("\n".join(line for line in (found, check.detail, check.advice) if line))
