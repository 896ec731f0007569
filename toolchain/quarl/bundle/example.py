"""The example of a bundle: held-out observations with the outputs and actions every target must
give for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.npz import FRAMES_RATIO, npz_arrays, npz_bytes
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.graph.rows import row_shape, state_length


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """Observations [n, *shape] in environment units, of a recurrent policy rows with its state
    (`quarl.graph.rows`), n >= 1, and what the policy answers.
    """

    obs: NDArray[Any]
    # [n, count], of the artifacts' output type; next states behind them
    outputs: NDArray[Any]
    actions: NDArray[Any]  # [n] or [n, count], as the environment takes them

    def to_npz(self) -> bytes:
        """Return the bytes of example.npz."""
        return npz_bytes({"obs": self.obs, "outputs": self.outputs, "actions": self.actions})


def example_of(policy: QuantPolicy, obs: NDArray[Any]) -> Example:
    """Return the observations with the answers of the NumPy reference."""
    outputs = integer_outputs(policy, obs)
    return Example(obs, outputs, policy.contract.action.decode(real_outputs(policy, outputs)))


def example_from(data: bytes, policy: QuantPolicy, where: str) -> Example:
    """Return the example in the bytes of example.npz.

    Raises:
        InputError: an array is missing, there are no observations, or shapes do not fit the policy.
    """
    arrays = npz_arrays(data, where, max_ratio=FRAMES_RATIO)
    missing = {"obs", "outputs", "actions"} - set(arrays)
    if missing:
        raise InputError(f"{where}: lacks {', '.join(sorted(missing))}: export the bundle again")
    example = Example(arrays["obs"], arrays["outputs"], arrays["actions"])
    count, action = len(example.obs) if example.obs.ndim else 0, policy.contract.action
    shapes = {
        "obs": (example.obs.shape, (count, *row_shape(policy.contract))),
        "outputs": (example.outputs.shape, (count, action.count + state_length(policy.contract))),
        "actions": (
            example.actions.shape,
            (count,) if action.kind == "discrete" else (count, action.width),
        ),
    }
    wrong = [f"{name} has shape {a}, expected {b}" for name, (a, b) in shapes.items() if a != b]
    if wrong or count == 0:
        raise InputError(
            f"{where}: {'; '.join(wrong) or 'holds no observations'}: its arrays have another "
            "shape than the policy's: export the bundle again"
        )
    return example
