"""Importers: a file of trained weights becomes a `Policy`, an int8 `.tflite` a `QuantPolicy`.
Nothing in a file is ever executed.

One module per source family; each offers `read_<format>(path, options)`. They are loaded when first
used, so that a framework's reader costs nothing to those who do not need it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers.detect import detect_format
from quarl.importers.options import (
    Importer,
    ImportOptions,
    MissingActionError,
    make_contract,
)

__all__ = [
    "IMPORTERS",
    "ImportOptions",
    "Importer",
    "MissingActionError",
    "detect_format",
    "make_contract",
    "parameters_in",
    "read_policy",
]


def _importer(module: str, function: str) -> Importer:
    def read(path: Path, options: ImportOptions) -> Policy | QuantPolicy:
        return cast(Importer, getattr(import_module(f"quarl.importers.{module}"), function))(
            path, options
        )

    return read


IMPORTERS: dict[str, Importer] = {
    "sb3": _importer("sb3", "read_sb3"),
    "cleanrl": _importer("cleanrl", "read_cleanrl"),
    "safetensors": _importer("safetensors", "read_safetensors"),
    "torchscript": _importer("torch.script", "read_torchscript"),
    "pt2": _importer("torch.exported", "read_exported"),
    "chainer": _importer("chainer", "read_chainer"),
    "keras": _importer("keras", "read_keras"),
    "rllib": _importer("rllib", "read_rllib"),
    "rl_tools": _importer("rl_tools", "read_rl_tools"),
    "savedmodel": _importer("savedmodel", "read_savedmodel"),
    "onnx": _importer("onnx", "read_onnx"),
    "tflite": _importer("tflite", "read_tflite"),
    "quarl": _importer("quarl_file", "read_quarl"),
}


def read_policy(path: Path, options: ImportOptions | None = None) -> Policy | QuantPolicy:
    """Return the policy in the file, whichever framework wrote it; an int8 `.tflite` is quantised
    already.

    Raises:
        InputError: the file cannot be read, is of no known format, or lacks what `options` could
            give.
        UnsupportedError: a layer, activation or algorithm that cannot be carried over exactly.
        UntrustedFileError: the file asks for code to run or for far too much memory.
    """
    return IMPORTERS[detect_format(path)](path, options or ImportOptions())


def parameters_in(path: Path) -> int | None:
    """Return the number of trained numbers in a file, whatever its outputs mean; None of integers.

    Raises:
        QuarlError: as `read_policy`.
    """
    options = ImportOptions(no_normalizer=True)
    try:
        policy = read_policy(path, options)
    except MissingActionError as error:
        action = Action("discrete", error.count)
        policy = read_policy(path, replace(options, action_space=action))
    return policy.parameter_count if isinstance(policy, Policy) else None
