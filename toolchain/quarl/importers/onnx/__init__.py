"""ONNX float models read as data: the operators a policy is made of, whatever exporter wrote them.

In: a graph whose outputs depend on one observation. Out: a `Policy`. The graph is kept in NHWC:
transposes and NCHW order are followed symbolically and vanish into the order of the weights.
Everything else is refused by operator and node.
"""

from __future__ import annotations

from pathlib import Path

from quarl.graph.policy import Policy
from quarl.importers.draft import Draft
from quarl.importers.fold import finish
from quarl.importers.onnx.file import OnnxFile, open_onnx
from quarl.importers.onnx.outputs import OnnxOutputs
from quarl.importers.onnx.stated import with_statements
from quarl.importers.options import ImportOptions
from quarl.importers.outputs import choose_output


def read_onnx(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in an ONNX file.

    Raises:
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: an operator or attribute without exact counterpart; names it.
        UntrustedFileError: weights outside the file's folder, or sizes beyond the limits.
    """
    source = open_onnx(path)
    options = with_statements(source, options)
    return finish(path, draft_of(source, options), options)


def read_draft(path: Path, options: ImportOptions) -> Draft:
    """Return the network as the file tells it, before it is folded into a policy."""
    return draft_of(open_onnx(path), options)


def draft_of(source: OnnxFile, options: ImportOptions) -> Draft:
    """Return the draft of the output that is the policy."""
    return choose_output(source.path, OnnxOutputs(source, options.observation), options)
