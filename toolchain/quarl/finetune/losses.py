"""What a student is asked to match: the decisions of its source, not its outputs.

Measured (toolchain/docs/training.md): of box actions the absolute error; of action values the
cross-entropy with the source's choice; of logits, and of the values of images, the divergence from
its probabilities. A network for images has millions of weights and few images to learn from: it
learns single choices by heart. Outputs count in median gaps between the source's best two actions,
so one temperature fits all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from quarl.graph.contract import Action

VALUE_ALGORITHMS = ("DQN", "QR-DQN", "C51", "RAINBOW")
OUTSIDE = 0.1  # weight of what lies beyond an action's bound, where the action no longer changes

Loss = Callable[[Tensor, Tensor], Tensor]


def gives_values(algorithm: str) -> bool:
    """Whether the outputs of the algorithm's policies are action values, not logits."""
    return algorithm.upper() in VALUE_ALGORITHMS


def loss_of(action: Action, algorithm: str, outputs: Tensor, *, is_image: bool = False) -> Loss:
    """Return the loss of outputs [n, count] against the source's.

    Args:
        outputs: a sample of the source's, [n, count].
    """
    if action.kind == "box":
        return _box_loss(action, outputs)
    if action.count < 2:
        return lambda made, wanted: nn.functional.l1_loss(made, wanted)
    best = outputs.topk(2, dim=1).values
    gap = (best[:, 0] - best[:, 1]).median().clamp_min(1e-6)

    def of_values(made: Tensor, wanted: Tensor) -> Tensor:
        return nn.functional.cross_entropy(_centred(made) / gap, wanted.argmax(dim=1))

    def of_logits(made: Tensor, wanted: Tensor) -> Tensor:
        made, wanted = (_centred(outputs) / gap for outputs in (made, wanted))
        return nn.functional.kl_div(
            made.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True
        )

    return of_values if gives_values(algorithm) and not is_image else of_logits


def _box_loss(action: Action, outputs: Tensor) -> Loss:
    low, high = (torch.tensor(np.array(b), dtype=torch.float32) for b in (action.low, action.high))
    if action.transform == "unscale":
        low, high = -torch.ones_like(low), torch.ones_like(high)
    spread = (outputs.max(dim=0).values - outputs.min(dim=0).values).clamp_min(1e-6)
    size = torch.where(torch.isfinite(high - low), high - low, spread)

    def loss(made: Tensor, wanted: Tensor) -> Tensor:
        wanted = torch.minimum(torch.maximum(wanted, low), high)
        inside = torch.minimum(torch.maximum(made, low), high)
        # beyond the bound the action is the same, yet the student must come back from there
        is_off = (wanted - inside.detach()).abs() > 0
        outside = torch.where(is_off, (made - inside).abs(), 0.0)
        return (((inside - wanted).abs() + OUTSIDE * outside) / size).mean()

    return loss


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=1, keepdim=True)
