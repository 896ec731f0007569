"""Power: how many episodes an equal policy needs to pass, found by playing the test on what was
seen.

In: the paired differences of a pilot, the margin, the error. Out: a number of episodes.
The usual formula knows the spread alone. Differences of returns have heavy tails, and the gate
takes the most careful of several bounds; both cost episodes (a quarter more where one episode in
five takes another course). So the differences seen, moved to zero loss, are drawn again and again
at growing numbers of episodes and judged by t and by t corrected for skewness.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quarl.stats import special
from quarl.stats.noninferiority import POWER, episodes_by_formula, skew_lower_bounds

DRAWS = 1_000
LARGEST_DRAW = 2_000  # episodes; with more of them the tails no longer matter
GROWTH = 1.04  # least step
SLACK = 0.015  # of the power, for the bootstrap bound, which is not drawn here
_SEED = 0x50


def episodes_needed(difference: NDArray[np.float64], margin: float, alpha: float) -> int | None:
    """Return for how many episodes an equal policy proves `margin` (return units) with POWER; None
    where a million are too few.

    Args:
        difference: [n >= 2], candidate - source of a pilot; its mean is taken out, its shape is
            kept.
    """
    spread = float(difference.std(ddof=1))
    count = episodes_by_formula(margin, 0.0 if np.ptp(difference) == 0 else spread, alpha)
    if count is None or count == 2 or count > LARGEST_DRAW:
        return count
    centred = difference - difference.mean()
    target = POWER + SLACK
    while count <= LARGEST_DRAW and (power := _power(centred, count, margin, alpha)) < target:
        # what is proven grows with the root of the number: the step that normal differences would
        # need, a little at least
        reach = float(special.ndtri(1 - alpha) + special.ndtri(max(power, 0.5)))
        wanted = float(special.ndtri(1 - alpha) + special.ndtri(target))
        count = math.ceil(count * max(GROWTH, (wanted / reach) ** 2))
    return count


def _power(centred: NDArray[np.float64], count: int, margin: float, alpha: float) -> float:
    drawn = centred[np.random.default_rng(_SEED).integers(len(centred), size=(DRAWS, count))]
    means, spreads = drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
    still = spreads <= 1e-12 * np.abs(centred).max()
    spreads[still] = 1.0
    t_lower = means - float(special.stdtrit(count - 1, 1 - alpha)) * spreads / math.sqrt(count)
    lower = np.where(
        still, means, np.minimum(t_lower, skew_lower_bounds(drawn, means, spreads, alpha))
    )
    return float((lower >= -margin).mean())
