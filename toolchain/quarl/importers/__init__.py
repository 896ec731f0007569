"""Importers: a file of trained weights becomes a `Policy`. Nothing in a file is ever executed.

One module per source family; each offers `read_<format>(path, options) -> Policy`. They are loaded when first used,
so that a framework's reader costs nothing to those who do not need it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from quarl.errors import InputError
from quarl.importers.detect import detect_format
from quarl.importers.options import Importer, ImportOptions, make_contract
from quarl.policy import Policy

__all__ = ["IMPORTERS", "ImportOptions", "Importer", "detect_format", "make_contract", "read_policy"]


def _importer(module: str, function: str) -> Importer:
    def read(path: Path, options: ImportOptions) -> Policy:
        return cast(Importer, getattr(import_module(f"quarl.importers.{module}"), function))(path, options)

    return read


IMPORTERS: dict[str, Importer] = {
    "sb3": _importer("sb3", "read_sb3"),
    "cleanrl": _importer("cleanrl", "read_cleanrl"),
    "keras": _importer("keras", "read_keras"),
    "savedmodel": _importer("savedmodel", "read_savedmodel"),
    "onnx": _importer("onnx", "read_onnx"),
}


def read_policy(path: Path, options: ImportOptions | None = None) -> Policy:
    """Return the policy in the file, whichever framework wrote it.

    Raises:
        InputError: the file cannot be read, is of no known format, or lacks what `options` could give.
        UnsupportedError: a layer, activation or algorithm that cannot be carried over exactly.
        UntrustedFileError: the file asks for code to run or for far too much memory.
    """
    found = detect_format(path)
    if found not in IMPORTERS:
        raise InputError(f"{path.name}: an int8 .tflite is already quantised and has no float policy: export it as it is")
    return IMPORTERS[found](path, options or ImportOptions())
