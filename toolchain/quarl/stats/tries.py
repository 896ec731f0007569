"""How the error of a release is shared among candidates that are tried one after the other.

In: which try it is. Out: the share of the error that it may use.
The k-th try uses 2 ** -k of the error. All tries together use less than the whole, so the
probability that any of them passes wrongly is at most the whole error, however many there are, and
whatever the tests, their distribution or the rule by which the next candidate is chosen (Boole's
inequality). Each try plays seeds of its own (`quarl.stats.seeds.parity_seed`).
"""

from __future__ import annotations

import math

from quarl.stats.sequential import flawless_episodes


def error_share(attempt: int) -> float:
    """Return the share of the error that a try may use, counted from 1."""
    return 0.5**attempt


def episodes_of_try(
    episodes: int, failure_margin: float, alpha: float, attempt: int, share: float
) -> int:
    """Return how many episodes a try plays at most where the first one plays `episodes`: more in
    the proportion in which a flawless release needs more of them.

    Args:
        share: of the error `alpha` that the try may use.
    """
    if attempt == 1:
        return episodes
    first = flawless_episodes(failure_margin, error_share(1) * alpha)
    return math.ceil(episodes * flawless_episodes(failure_margin, share * alpha) / first)
