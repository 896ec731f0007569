"""What the rounding of observations alone allows: a policy that is otherwise float.

In: a policy, its calibration, the width of its observations. Out: its agreement with the source,
which no integers behind such an input can pass by much. It costs milliseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.evidence.agreement import Agreement, compare_actions, compare_choices
from quarl.graph.policy import Policy
from quarl.graph.rows import split_rows, state_parts
from quarl.quantize.calibration import Calibration
from quarl.quantize.folding import float64_results, fold
from quarl.quantize.settings import QuantSettings


def input_ceiling(
    policy: Policy, calibration: Calibration, settings: QuantSettings, obs: NDArray[Any]
) -> Agreement | None:
    """Return the agreement on observations [n, *shape]; None for pixels, which are integers
    already.
    """
    if policy.contract.observation.is_image:
        return None
    folded = fold(policy, calibration, settings)
    tensor = folded.observation.tensor
    plain, held = split_rows(policy.contract, obs)
    integers = folded.observation.quantize(policy.contract.observation.to_graph(plain))
    seen = (integers - tensor.zero_point) * np.float64(tensor.scale)
    state = state_parts(policy.contract, held.astype(np.float64))
    made = float64_results(folded.units, seen, state)[folded.units[-1].name]
    return compare_outputs(policy, policy.outputs(obs), made)


def compare_outputs(policy: Policy, wanted: NDArray[Any], made: NDArray[Any]) -> Agreement:
    """Return the agreement of the decisions that outputs [n, count] mean; of float or wide ones."""
    action = policy.contract.action
    if action.kind == "discrete":
        return compare_choices(wanted, made, output_step=0.0)
    return compare_actions(action.decode(wanted), action.decode(made), action.low, action.high)
