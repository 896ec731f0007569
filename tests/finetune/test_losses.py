"""Losses have their least where the student decides as its source does."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from quarl.finetune.losses import gives_values, loss_of  # noqa: E402
from quarl.graph.contract import Action  # noqa: E402

BOX = Action("box", 2, (-1.0, -2.0), (1.0, 2.0))
DISCRETE = Action("discrete", 3)


def descent(loss: object, start: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    made = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([made], 0.03)
    for _ in range(300):
        optimizer.zero_grad()
        loss(made, wanted).backward()  # type: ignore[operator]
        optimizer.step()
    return made.detach()


def test_box_actions_are_met_and_come_back_from_beyond_a_bound() -> None:
    wanted = torch.tensor([[0.5, -1.0], [5.0, -9.0]])
    loss = loss_of(BOX, "PPO", wanted)
    made = descent(loss, torch.tensor([[3.0, 0.0], [-3.0, 1.0]]), wanted)
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    wanted_action = torch.minimum(torch.maximum(wanted, low), high)
    made_action = torch.minimum(torch.maximum(made, low), high)
    assert torch.allclose(made_action, wanted_action, atol=0.1)


def test_beyond_a_bound_that_the_source_reaches_nothing_pulls() -> None:
    wanted = torch.tensor([[5.0, 5.0]])
    loss = loss_of(BOX, "PPO", wanted)
    assert loss(torch.tensor([[1.5, 7.0]]), wanted).item() == 0


def test_a_box_without_bounds_is_measured_by_the_spread_of_the_source() -> None:
    action = Action("box", 1, (-math.inf,), (math.inf,))
    wanted = torch.tensor([[0.0], [10.0]])
    assert loss_of(action, "PPO", wanted)(wanted + 1, wanted).item() == pytest.approx(0.1)


def test_logits_are_met_up_to_a_constant() -> None:
    wanted = torch.tensor([[0.1, 0.2, 0.0], [3.0, 3.1, 3.25]])
    made = descent(loss_of(DISCRETE, "PPO", wanted), torch.zeros(2, 3), wanted)
    centred = wanted - wanted.mean(dim=1, keepdim=True)
    assert torch.allclose(made - made.mean(dim=1, keepdim=True), centred, atol=0.01)


def test_of_values_only_the_choice_counts() -> None:
    wanted = torch.tensor([[100.0, 100.2, 99.0], [5.0, 4.9, 4.8]])
    loss = loss_of(DISCRETE, "DQN", wanted)
    assert descent(loss, torch.zeros(2, 3), wanted).argmax(dim=1).tolist() == [1, 0]
    sharper = wanted + torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert loss(sharper, wanted) < loss(wanted, wanted)


def test_of_values_of_images_all_actions_count() -> None:
    wanted = torch.tensor([[100.0, 100.2, 99.0], [5.0, 4.9, 4.8]])
    loss = loss_of(DISCRETE, "DQN", wanted, is_image=True)
    assert loss(wanted, wanted).item() == pytest.approx(0, abs=1e-6)
    sharper = wanted + torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert loss(sharper, wanted) > 0.1


def test_the_loss_does_not_depend_on_the_scale_of_the_outputs() -> None:
    wanted = torch.randn(64, 3)
    made = wanted + 0.3 * torch.randn(64, 3)
    for algorithm in ("PPO", "DQN"):
        small = loss_of(DISCRETE, algorithm, wanted)(made, wanted)
        large = loss_of(DISCRETE, algorithm, 1000 * wanted)(1000 * made, 1000 * wanted)
        assert large.item() == pytest.approx(small.item(), rel=1e-4)


def test_a_single_action_has_a_loss_too() -> None:
    assert (
        loss_of(Action("discrete", 1), "DQN", torch.zeros(2, 1))(
            torch.ones(2, 1), torch.zeros(2, 1)
        )
        == 1
    )


def test_which_algorithms_give_values() -> None:
    assert gives_values("DQN")
    assert gives_values("QR-DQN")
    assert not gives_values("PPO")
