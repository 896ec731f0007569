"""A policy that quarl wrote, computed by torch from the arrays of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.policy_file import read_policy_file
from quarl.errors import ToolMissingError
from quarl.graph.policy import Activation, Dense, Policy
from quarl.importers.options import ImportOptions


def outputs_of_quarl(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.floating[Any]], str]:
    """Return the outputs [n, count], and the version of torch.

    Raises:
        ToolMissingError: torch is not installed, or the policy is not a chain of dense layers.
    """
    try:
        import torch
    except ImportError as error:
        raise ToolMissingError("torch is not installed: pip install 'quarl[sb3]'") from error
    functions = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    values = torch.from_numpy(policy.graph_input(obs)).double()
    for node in read_policy_file(path).nodes:
        if isinstance(node.op, Dense):
            weights, bias = (torch.from_numpy(a).double() for a in (node.op.weights, node.op.bias))
            values = torch.nn.functional.linear(values, weights, bias)
        elif isinstance(node.op, Activation) and node.op.function in functions:
            values = functions[node.op.function](values)
        else:
            raise ToolMissingError(f"{node.name}: only chains of dense layers are repeated")
    return values.numpy(), f"torch {torch.__version__}"
