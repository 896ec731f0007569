"""The shipped policies as the device sweeps see them: integers, held-out observations and the
answers they must give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, integer_outputs
from quarl.importers import ImportOptions
from quarl.quantize.ladder import DEFAULT_RUNG, quantize_on_rung
from quarl.resources import models_dir
from quarl.sources.observations import observations_of
from quarl.sources.source import open_source

SHIPPED = sorted({path.parent.name for path in models_dir().glob("*/policy.*")})
LARGE = sorted(
    {
        path.parent.name
        for path in models_dir().glob("*/policy.*")
        if path.stat().st_size > 1_000_000
    }
)
VECTORS, IMAGES = 1000, 100  # held-out observations a device must answer like the host

Device = TypeVar("Device")


@dataclass(frozen=True, slots=True, eq=False)
class Shipped:
    """One shipped policy, its held-out observations [n, *shape], and the host's answers to them."""

    policy: QuantPolicy
    heldout: NDArray[Any]
    outputs: NDArray[Any]
    actions: NDArray[Any]

    @property
    def is_image(self) -> bool:
        return self.policy.contract.observation.is_image


def pairs(devices: Sequence[Device], *, is_quick: bool) -> list[tuple[Device, str]]:
    """Return what to run on what: every policy on every device; where it is to be quick, a large
    policy on one of them, in turn.
    """
    return [
        (device, name)
        for name in SHIPPED
        for turn, device in enumerate(devices)
        if not is_quick or name not in LARGE or turn == LARGE.index(name) % len(devices)
    ]


@cache
def shipped(name: str, count: int | None = None) -> Shipped:
    """Return the policy of that name with `count` held-out observations spread over all of them;
    with all that a sweep needs if None.
    """
    source = open_source(name, ImportOptions(), None)
    calibration, heldout = observations_of(source, None)
    policy = source.policy
    quantized = (
        quantize_on_rung(policy, calibration, DEFAULT_RUNG)
        if isinstance(policy, Policy)
        else policy
    )
    wanted = IMAGES if policy.contract.observation.is_image else VECTORS
    assert len(heldout.obs) >= wanted, (
        f"{name} ships {len(heldout.obs)} held-out observations, {wanted} are needed"
    )
    obs = (
        heldout.obs[:wanted]
        if count is None
        else heldout.obs[np.linspace(0, wanted - 1, count).astype(int)]
    )
    return Shipped(quantized, obs, integer_outputs(quantized, obs), act(quantized, obs))
