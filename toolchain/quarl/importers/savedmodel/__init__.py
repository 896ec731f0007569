"""TensorFlow SavedModels read as data: the graph of a signature and the variables' numbers; no
function in it is ever run.

In: a folder written by `model.export` or `tf.saved_model.save` of TensorFlow 2. Out: a `Policy`.
TensorFlow itself (extra `tf`) only parses the files. The signature's graph, its inner functions
written out, is put into ONNX terms, and goes on as an ONNX model would: `importers/onnx`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from quarl.errors import InputError, UntrustedFileError
from quarl.files.open import source_digest
from quarl.graph.policy import Policy
from quarl.importers.draft import Draft
from quarl.importers.fold import finish
from quarl.importers.onnx import draft_of
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.options import ImportOptions
from quarl.importers.savedmodel.graph import SavedGraph
from quarl.importers.savedmodel.operators import OPERATORS


def read_savedmodel(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in a SavedModel folder.

    Raises:
        ToolMissingError: TensorFlow is not installed.
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: an operator without exact counterpart; names it.
        UntrustedFileError: sizes beyond the limits, functions that call themselves.
    """
    return finish(path, read_draft(path, options), options)


def read_draft(path: Path, options: ImportOptions) -> Draft:
    """Return the signature's network before it is folded into a policy."""
    source = SavedGraph(path, OPERATORS)
    framework = f"tensorflow {source.meta.meta_info_def.tensorflow_version}"
    try:
        graph = OnnxFile(
            path,
            source.translate(source.signature_name()),
            hashlib.sha256(source_digest(path).encode()),
            framework,
        )
        return draft_of(graph, options)
    except RecursionError as error:
        raise UntrustedFileError(
            f"{path.name}: its functions are nested too deeply: this is not a policy"
        ) from error
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"{path.name}: the graph is damaged ({error!r}): export the model again"
        ) from error
