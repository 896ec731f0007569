"""One small Ray for the tests of this room."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """Start Ray on this machine; runs of the tests join it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=4, include_dashboard=False, **quiet)
    yield
    ray.shutdown()
