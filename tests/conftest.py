"""What every test may use."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from quarl.importers.beside_tensorflow import prepare_for_tensorflow

# No test depends on wall time. CI tries the same cases every time; new ones are found where
# somebody can look at them.
settings.register_profile(
    "quarl",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("quarl")
prepare_for_tensorflow()  # the same process tests both frameworks


def need(*names: str) -> None:
    """Skip the test where a Python package or a program is missing; under CI that is a failure."""
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
