"""Evidence of a good release, for the tests of the gate to damage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.limits import Limits
from quarl.evidence.agreement import DiscreteAgreement
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.evidence import (
    BackendEquality,
    CalibratedOn,
    Consistency,
    Evidence,
    ExampleReplay,
    ImportProof,
)
from quarl.profiles.figure import Figure
from quarl.rollouts.clipping import ClippedInputs
from quarl.rollouts.episodes import Episodes

COUNT = 400
LIMITS = Limits(
    episodes=COUNT,
    random_return=20.0,
    failure_return=475.0,
    failure_margin=0.01,
    source_return=500.0,
    min_agreement=0.95,
    budgets={"artifact_bytes": 20_000, "latency_p99_us": 50.0},
)


def episodes(returns: NDArray[np.float64], successes: NDArray[np.bool_] | None = None) -> Episodes:
    return Episodes(
        tuple(range(len(returns))), returns, np.full(len(returns), 500, np.int32), successes
    )


def pairs(
    candidate_loss: float = 0.0, control_loss: float = 0.0, spread: float = 1.0, count: int = COUNT
) -> PairedEpisodes:
    rng = np.random.default_rng(0)
    source = rng.normal(500, 2, count)
    candidate, control = (
        source - loss + rng.normal(0, spread, count) for loss in (candidate_loss, control_loss)
    )
    return PairedEpisodes("CartPole-v1", episodes(source), episodes(candidate), episodes(control))


AGREEMENT = DiscreteAgreement(
    observations=1000,
    agreement=0.97,
    weighted_agreement=0.99,
    source_tie_rate=0.0,
    candidate_tie_rate=0.01,
    output_step=0.1,
    median_gap_steps=12.0,
    clear_steps=2.0,
    clear_observations=900,
    clear_agreement=1.0,
    first_difference=17,
)
GOOD = Evidence(
    import_proof=ImportProof("stable-baselines3 2.9.2", 512, 3e-7),
    backends=tuple(
        BackendEquality(name, "1.0", 1000, 2000, 0, None) for name in ("litert", "onnxruntime")
    ),
    example=ExampleReplay(256, 0, 0, ()),
    agreement=AGREEMENT,
    paired=pairs(),
    consistency=Consistency((), ()),
    calibration=CalibratedOn(2000, 40),
    clipped=ClippedInputs(800_000, 12, "pole angle", 1e-4),
    figures=(
        Figure("artifact_bytes", 12_000, "B", "exact"),
        Figure("latency_p99_us", 9.5, "us", "measured"),
    ),
)
