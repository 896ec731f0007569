"""What TensorFlow computes for a SavedModel, to prove an import. Loading one runs what is in it:
only for trusted folders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import ToolMissingError
from quarl.graph.policy import Policy
from quarl.importers.action import dropped_nodes
from quarl.importers.beside_tensorflow import prepare_for_tensorflow
from quarl.importers.draft import Head
from quarl.importers.observation import source_input
from quarl.importers.options import ImportOptions
from quarl.importers.savedmodel import read_draft
from quarl.importers.savedmodel.graph import SavedGraph


def outputs_of_savedmodel(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.float32], str]:
    """Return TensorFlow's outputs float32 [n, count] for observations [n, *shape], as
    `policy.outputs` means them, and its version.

    Of a softmax, the logarithm is returned, shifted row by row to the mean of the policy's own
    outputs: it is known up to that shift.

    Raises:
        ToolMissingError: TensorFlow is not installed, or it does not give
            the outputs before the last step.
    """
    prepare_for_tensorflow()
    try:
        import tensorflow as tf  # type: ignore[import-untyped]
    except ImportError as error:
        raise ToolMissingError("TensorFlow is not installed: pip install 'quarl[tf]'") from error
    draft = read_draft(path, options)
    signature = tf.saved_model.load(str(path)).signatures[SavedGraph(path, {}).signature_name()]
    values = source_input(draft, policy.contract, obs)
    given = {
        argument: tf.zeros([len(values), *spec.shape[1:]], spec.dtype)
        for argument, spec in signature.structured_input_signature[1].items()
    }
    fitting_inputs = [
        argument for argument, zeros in given.items() if tuple(zeros.shape) == values.shape
    ]
    if len(fitting_inputs) != 1:
        raise ToolMissingError("TensorFlow is given one observation, the policy takes several")
    found = signature(**{**given, fitting_inputs[0]: tf.constant(values)})
    count = policy.contract.action.count
    fitting = [
        np.asarray(value, np.float32)
        for value in found.values()
        if tuple(value.shape[1:]) == (count,)
    ]
    last = [node.op for node, _ in dropped_nodes(path, draft, options)]
    if len(fitting) != 1 or last not in ([], [Head("softmax")], [Head("log_softmax")]):
        raise ToolMissingError(
            "TensorFlow gives only what comes after the last step, which the contract does here"
        )
    outputs = fitting[0]
    if last:
        outputs = np.log(outputs) if last == [Head("softmax")] else outputs
        outputs = outputs + (policy.outputs(obs) - outputs).mean(axis=1, keepdims=True)
    return outputs, f"TensorFlow {tf.__version__}"
