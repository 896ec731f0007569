"""What one cell found: a row of the study's table, and its episodes.

Every number was measured on this or another worker's host, but `instructions`, which an emulator
counted. `RESULT_COLUMNS` is the schema of results.csv.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from quarl.files.documents import Document, decode, encode
from quarl.files.text import sheet_text

DOCUMENT = Document("the result of a cell", 1, "remove it, and it is computed again")


@dataclass(frozen=True, slots=True)
class Result:
    """One cell's numbers; where `problem` is not empty there are none."""

    policy: str
    task: str  # environment id
    algorithm: str
    training_seed: int  # of the policy
    method: str
    weights: int
    edges: int
    activations: int
    inputs: int
    seed: int  # of the method
    episodes: int = 0
    source_return: float = 0.0
    mean_return: float = 0.0
    random_return: float | None = None
    relative_error: float = 0.0  # (source - quantised) / |source| in %, as QuaRL defines it
    error_low: float = 0.0  # its 95 % interval, pairs of episodes resampled
    error_high: float = 0.0
    # share of equal actions, or 1 - mean error / range; None where the range has no bounds
    agreement: float | None = 0.0
    decision_error: float = 0.0
    entropy: float | None = None  # nats, of the softmax of the outputs; discrete policies
    weight_width: float = 0.0  # largest - smallest weight of the float policy
    parameter_bytes: int = 0
    instructions: int | None = None
    differing: int = 0  # outputs of LiteRT unlike the reference's
    seconds: float = 0.0
    problem: str = ""
    rung: int | None = None  # of the method ladder
    source_returns: tuple[float, ...] = ()
    returns: tuple[float, ...] = ()

    @property
    def undefined(self) -> tuple[str, ...]:
        """The fields whose number is infinite or none, such as a loss relative to a return of 0."""
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(n) for n in numbers if isinstance(n, float)):
                found.append(field.name)
        return tuple(found)

    def to_json(self) -> str:
        """Return canonical JSON."""
        return encode(self, DOCUMENT).decode()

    @staticmethod
    def from_json(data: bytes, where: str) -> Result:
        """Return the result that `to_json` wrote.

        Raises:
            InputError: it did not.
        """
        return decode(Result, data, where, DOCUMENT)


RESULT_COLUMNS = {
    "policy": "name of the policy",
    "task": "gymnasium id of its environment",
    "algorithm": "that trained it",
    "training_seed": "of the policy",
    "method": "fp16, paper (QuaRL's weights alone), ladder, distil, qat",
    "rung": "of the ladder",
    "weights": "bits of the inner layers' weights",
    "edges": "bits of the first and last layer's weights",
    "activations": "bits of hidden activations; 32: float",
    "inputs": "bits of observations; 32: float",
    "seed": "of the method",
    "episodes": "paired",
    "source_return": "mean return of the float policy on these episodes",
    "mean_return": "mean return of the quantised policy",
    "random_return": "mean return of random play, where the recipe says it",
    "relative_error": "% of |source_return| that is lost; negative is a gain",
    "error_low": "95 % interval of it, pairs of episodes resampled",
    "error_high": "",
    "agreement": "on held-out observations: share of equal actions, or 1 - mean error / range",
    "decision_error": "value lost per decision, or mean action error, in the policy's units",
    "entropy": "nats, mean over held-out observations",
    "weight_width": "largest - smallest weight of the float policy",
    "parameter_bytes": "as the C runtime stores them",
    "instructions": "of one inference, emulated",
    "differing": "outputs of LiteRT unlike the NumPy reference",
    "seconds": "of this cell on its worker, wall",
    "problem": "why there are no numbers",
}
"""Column -> meaning, in order."""


def row_of(result: Result) -> list[str]:
    """Return the row of results.csv."""
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    return [_text(values[name]) for name in RESULT_COLUMNS]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else sheet_text(value)
