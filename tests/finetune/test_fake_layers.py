"""Layers of the student: the gradients are those of plain operations."""

from __future__ import annotations

import numpy as np
import pytest

from quarl.graph.functions import NAMES, activate
from tests.conftest import need

need("torch")

from quarl.finetune.fake_layers import _smooth, rounded, scaled_integers  # noqa: E402

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


@pytest.mark.parametrize("shape", [(5, 1), (7,), ()], ids=["rows", "channels", "one step"])
def test_integers_and_their_gradients_are_those_of_the_plain_operations(
    shape: tuple[int, ...],
) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 7, generator=generator, requires_grad=True)
    factor = (4 * torch.rand(shape, generator=generator)).requires_grad_()
    wanted = rounded(x * factor).clamp(-3, 2)
    made = scaled_integers(x, factor, -3, 2)
    assert torch.equal(made, wanted)
    assert {-3.0, 2.0} < set(made.unique().tolist())
    gradient = torch.randn(5, 7, generator=generator)
    for one, other in zip(
        torch.autograd.grad(made, (x, factor), gradient),
        torch.autograd.grad(wanted, (x, factor), gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
