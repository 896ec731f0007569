"""What Keras itself computes for a file, to prove an import; Keras and TensorFlow are imported here
alone.

Only a description made of Keras' own layers and settings is handed to Keras, and that in its safe
mode.
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
from quarl.importers.draft import Draft
from quarl.importers.keras import read_draft
from quarl.importers.keras.arithmetic import PAIRS
from quarl.importers.keras.cells import CELLS
from quarl.importers.keras.description import MODELS
from quarl.importers.keras.file import open_keras
from quarl.importers.keras.layers import LAYERS
from quarl.importers.observation import source_input
from quarl.importers.options import ImportOptions

SETTING_MODULES = (
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.activations",
)
SETTING_CLASSES = ("DTypePolicy", "Policy", "__keras_tensor__", "__numpy__", "__tensor__")


def outputs_of_keras(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.float32], str]:
    """Return Keras' outputs float32 [n, count] for observations [n, *shape], as `policy.outputs`
    means them, and Keras' version.

    A softmax that the import dropped is left out here too.

    Raises:
        ToolMissingError: Keras is not installed, or must not be given this file, or its way to the
            output cannot be followed.
    """
    if not _is_plain(open_keras(path).model):
        raise ToolMissingError(
            f"{path.name} describes parts that are not Keras' own layers, so it is not given "
            "to Keras"
        )
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ToolMissingError(f"Keras reads files called .keras or .h5 alone: rename {path.name}")
    prepare_for_tensorflow()
    try:
        import keras  # type: ignore[import-untyped]
    except ImportError as error:
        raise ToolMissingError("Keras is not installed: pip install 'quarl[tf]'") from error
    draft = read_draft(path, options)
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    values = source_input(draft, policy.contract, obs)
    if not policy.contract.state:  # else one episode, of any number of steps
        values = values.reshape(len(values), *model.input_shape[1:])
    if draft.nodes[-1].name == "outputs":  # several that are one action
        return _joined(keras, model, draft, values)
    tensors = {tensor._keras_history.operation.name: tensor for tensor in model.outputs}
    tensor = model.outputs[0] if len(tensors) == 1 else tensors.get(draft.nodes[-1].source)
    for node, is_setting in reversed(dropped_nodes(path, draft, options)):
        operation = None if tensor is None else tensor._keras_history.operation
        if operation is None or operation.name != node.source:
            raise ToolMissingError(
                f"{node.name} lies in a model inside the model, where Keras cannot be read"
            )
        if is_setting:
            operation.activation = keras.activations.linear
        else:
            tensor = operation.input
    if policy.contract.state:
        dropped = {node.source for node, _ in dropped_nodes(path, draft, options)}
        outputs = _over_time(keras, model, dropped, values)
        return outputs, f"Keras {keras.__version__}"
    if tensor is None:
        raise ToolMissingError(
            f"the output {draft.nodes[-1].source} lies in a model inside the model, where "
            "Keras cannot be read"
        )
    outputs = keras.Model(model.inputs[0], tensor)(values, training=False)
    return np.asarray(keras.ops.convert_to_numpy(outputs), np.float32), f"Keras {keras.__version__}"


def _joined(
    keras: Any, model: Any, draft: Draft, values: NDArray[Any]
) -> tuple[NDArray[np.float32], str]:
    """Return the outputs that the import joined, one after the other."""
    names = {node.name: node.source for node in draft.nodes}
    wanted = [names[name] for name in draft.nodes[-1].inputs]
    tensors = {tensor._keras_history.operation.name: tensor for tensor in model.outputs}
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise ToolMissingError(f"the output {missing[0]} lies in a model inside the model")
    found = keras.Model(model.inputs[0], [tensors[name] for name in wanted])(values, training=False)
    parts = [np.asarray(keras.ops.convert_to_numpy(part), np.float32) for part in found]
    return np.concatenate(parts, axis=1), f"Keras {keras.__version__}"


def _over_time(
    keras: Any, model: Any, dropped: set[str], values: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the outputs float32 [n, count] of a chain of layers on one episode, at each step.

    Raises:
        ToolMissingError: it is no chain.
    """
    if type(model).__name__ != "Sequential":
        raise ToolMissingError("a recurrent model that is not Sequential is not run step by step")
    start = x = keras.Input((None, values.shape[-1]))
    for layer in model.layers:
        if layer.name in dropped and not hasattr(layer, "kernel"):
            continue
        if hasattr(layer, "return_sequences"):
            layer.return_sequences, layer.stateful = True, False
        x = layer(x)
    found = keras.Model(start, x)(values[None], training=False)
    outputs: NDArray[np.float32] = np.asarray(keras.ops.convert_to_numpy(found), np.float32)[0]
    return outputs


def _is_plain(value: Any) -> bool:
    """Whether everything Keras would build from the description is a layer this package knows, or a
    harmless setting of one.
    """
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if not isinstance(value, dict):
        return True
    kind, module = value.get("class_name"), value.get("module")
    if kind is not None:
        known = (
            kind in LAYERS
            or kind in PAIRS
            or kind in CELLS
            or kind in MODELS
            or kind in SETTING_CLASSES
            or kind == "InputLayer"
        )
        in_keras = (
            module is None
            or module in ("keras", "keras.layers")
            or str(module).startswith(("keras.src.ops.", "keras.src.models."))
        )
        if not (module in SETTING_MODULES or (known and in_keras)):
            return False
        if str(value.get("registered_name") or "").count(">"):
            return False
    return all(_is_plain(item) for key, item in value.items() if key != "compile_config")
