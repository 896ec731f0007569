"""What rounded observations alone allow of a policy's decisions."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from quarl.bundle.rung_result import Ceiling
from quarl.evidence.agreement import Agreement, DiscreteAgreement
from quarl.finetune.ceiling import input_ceiling
from quarl.graph.policy import Policy
from quarl.quantize.calibration import Calibration
from quarl.quantize.settings import QuantSettings
from quarl.quantize.thinning import MOST_OBSERVATIONS, thinned

CEILING_BITS = (8, 12)  # widths of observations


def ceilings_of(policy: Policy, calibration: Calibration, obs: NDArray[Any]) -> tuple[Ceiling, ...]:
    """Return what rounded observations alone allow on observations [n, *shape]; nothing for pixels,
    which are integers already, and where a range is infinite.
    """
    if policy.contract.observation.is_image:
        return ()
    calibration, obs = thinned(policy, calibration), obs[:: -(-len(obs) // MOST_OBSERVATIONS)]
    found = []
    for bits in CEILING_BITS:
        settings = QuantSettings(feature_scales=True, input_bits=bits)
        agreement = input_ceiling(policy, calibration, settings, obs)
        share = None if agreement is None else differing_share(agreement)
        if share is not None:
            found.append(Ceiling(bits, share))
    return tuple(found)


def differing_share(agreement: Agreement) -> float | None:
    """Return the share of other choices, or the mean action error as a share of the range, to four
    digits: the last ones of a float sum differ between processors and numbers of threads. None
    where a range is infinite.
    """
    if isinstance(agreement, DiscreteAgreement):
        return float(f"{1 - agreement.agreement:.4g}")
    share = agreement.mean_share
    return None if share is None else float(f"{share:.4g}")
