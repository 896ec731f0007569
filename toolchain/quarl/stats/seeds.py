"""First seeds of every kind of episode: ranges a million apart, so that nothing is judged on
episodes it was fitted or chosen on.
"""

from __future__ import annotations

SCORE_SEED = 1_000_000  # how good a source policy is, after its training
CHECKPOINT_SEED = 3_000_000  # episodes that choose among the checkpoints of a training
CALIBRATION_SEED = 4_000_000  # ranges and weights are fitted to these
HELDOUT_SEED = 5_000_000  # observations that agreement and equality are measured on
SELECTION_SEED = 6_000_000  # episodes that choose the rung
PARITY_SEED = 7_000_000  # episodes the gate judges
RANDOM_SEED = 8_000_000  # random play, the zero of the scale of returns
LESSON_SEED = 9_000_000  # episodes a student learns from
LESSON_HELDOUT_SEED = 10_000_000  # episodes that choose among its checkpoints and candidates
# episodes the gate judges where it has refused other candidates before, a million for each try
RETRY_SEED = 11_000_000
# episodes that actors learn from: a billion of them, apart from all others
ACTOR_SEED = 1_000_000_000


def parity_seed(attempt: int) -> int:
    """Return the first seed of the episodes that the gate judges in a try, counted from 1."""
    return PARITY_SEED if attempt == 1 else RETRY_SEED + (attempt - 2) * 1_000_000


def parity_seeds(attempt: int, start: int, stop: int) -> range:
    """Return the seeds of episodes start to stop - 1 of a try."""
    first = parity_seed(attempt)
    return range(first + start, first + stop)
