"""Layers of the student: a table's gradient is that of its function."""

from __future__ import annotations

import numpy as np
import pytest

from quarl.graph.functions import NAMES, activate
from tests.conftest import need

need("torch")

from quarl.finetune.fake_layers import _smooth  # noqa: E402

WITH_NUMBERS = ("leaky_relu(0.2)", "elu(0.5)", "clip(-1,1)", "celu(0.7)", "hardsigmoid(0.2,0.5)")


@pytest.mark.parametrize(
    "function",
    [*(n for n in NAMES if n not in {"celu", "clip", "leaky_relu", "hardsigmoid"}), *WITH_NUMBERS],
)
def test_every_function_of_the_graph_has_a_smooth_form(function: str) -> None:
    import torch

    x = np.linspace(0.05, 3, 60, dtype=np.float32)
    made = _smooth(function, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(made, activate(function, x), rtol=1e-5, atol=1e-6)
