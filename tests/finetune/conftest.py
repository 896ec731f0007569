from __future__ import annotations

import pytest

from tests.conftest import need


@pytest.fixture(autouse=True)
def _needs_torch() -> None:
    need("torch")
