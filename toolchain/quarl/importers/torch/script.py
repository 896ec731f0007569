"""TorchScript archives (`torch.jit.save`) as a network, read as data: nothing in them is executed.

In: the pickle of the module's attributes, and the text of its `forward`. Out: a `Policy`. The text
is parsed and followed operator by operator (`quarl.importers.torch.program`); what it computes is
written as ONNX and read by that walk.
Format: torch/csrc/jit/serialization.md.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quarl.errors import InputError, UnsupportedError
from quarl.files.archives import Archive
from quarl.files.open import read_file
from quarl.graph.policy import Policy
from quarl.importers.draft import Draft
from quarl.importers.onnx import draft_of
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.options import ImportOptions
from quarl.importers.torch.aten import AtenGraph
from quarl.importers.torch.program import Program, ScriptObject, finish_program
from quarl.importers.torch.state import Global, TensorReader

MAX_CODE_BYTES = 1 << 20
MOST_LEVELS = 60  # of brackets in the text of a program
CONSTANTS = "constants.pkl"
_OF_DAMAGED_PROGRAMS = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError),
)
HELPERS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


def read_torchscript(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in a TorchScript archive.

    Raises:
        InputError: damaged, or the action or observation is unknown.
        UnsupportedError: an operator or a step without exact counterpart; names it.
        UntrustedFileError: sizes beyond the limits.
    """
    return finish_program(path, script_draft(path, options), options)


def script_draft(path: Path, options: ImportOptions) -> Draft:
    """Return the network as the file tells it."""
    return draft_of(script_file(path, options), options)


def script_file(path: Path, options: ImportOptions) -> OnnxFile:
    """Return what `forward` computes, as ONNX."""
    graph = AtenGraph(path)
    with Archive(path) as archive:
        reader = _ScriptReader(archive, path.name)
        module = reader.read()
        if not isinstance(module, ScriptObject):
            raise InputError(f"{path.name}: holds no module: save it again with torch.jit.save")
        constants = ()
        if f"{reader.root}{CONSTANTS}" in archive.names:
            constants = _ConstantReader(archive, path.name).read(CONSTANTS)
        program = Program(graph, _Code(archive, reader.root, path.name).function, constants)
        try:
            program.run(module, options)
        except _OF_DAMAGED_PROGRAMS as error:
            raise InputError(
                f"{path.name}: its program is damaged, or of another version of torch ({error!r}): "
                "save it again with torch.jit.save"
            ) from error
    digest = hashlib.sha256(read_file(path))
    return graph.made.file(path, digest, "torchscript")


class _ScriptReader(TensorReader):
    """Objects of the program become `ScriptObject`, which only holds attributes."""

    def named(self, module: str, name: str) -> Global:
        """Return the name of a class of the program, or one that tensors need."""
        if module.split(".")[0] == "__torch__":
            return Global(module, name)
        if module == "torch.jit._pickle" and name in (*HELPERS, "restore_type_tag"):
            return Global(module, name)
        return super().named(module, name)

    def called(self, function: object, arguments: object) -> Any:
        """Return an object without attributes yet, or what a list of numbers is."""
        if isinstance(function, Global) and function.module.split(".")[0] == "__torch__":
            return ScriptObject(f"{function.module}.{function.name}")
        if isinstance(function, Global) and function.module == "torch.jit._pickle":
            assert isinstance(arguments, tuple)
            return arguments[0]
        return super().called(function, arguments)

    def built(self, value: Any, state: Any) -> None:
        """Give an object its attributes."""
        if isinstance(value, ScriptObject) and isinstance(state, dict):
            value.attributes.update(state)
        else:
            super().built(value, state)


class _ConstantReader(_ScriptReader):
    folder = "constants"


@dataclass
class _Code:
    """The text of the program: `code/__torch__/torch/nn/modules/linear.py` and others."""

    archive: Archive
    root: str
    name: str
    modules: dict[str, ast.Module] = field(default_factory=dict)

    def function(self, qualified: str) -> ast.FunctionDef | None:
        """Return a function by its name, `__torch__.a.Class.method` or `__torch__.a.function`;
        None where there is none.
        """
        *module, name = qualified.split(".")
        found = self._in(module, [name])
        if found is None and len(module) > 1:
            found = self._in(module[:-1], [module[-1], name])
        return found

    def _in(self, module: list[str], names: list[str]) -> ast.FunctionDef | None:
        member = f"{self.root}code/{'/'.join(module)}.py"
        if member not in self.archive.names:
            return None
        if member not in self.modules:
            self.modules[member] = self._parsed(member)
        body: list[Any] = self.modules[member].body
        for name in names:
            named = [entry for entry in body if getattr(entry, "name", None) == name]
            if not named:
                return None
            body = named[0].body
        return named[0] if isinstance(named[0], ast.FunctionDef) else None

    def _parsed(self, member: str) -> ast.Module:
        text = self.archive.read(member, MAX_CODE_BYTES).decode("utf-8", "replace")
        level = deepest = 0
        for character in text:
            level += (character in "([{") - (character in ")]}")
            deepest = max(deepest, level)
        if deepest > MOST_LEVELS:
            raise UnsupportedError(
                f"{self.name}: {member} is nested {deepest} levels deep, at most {MOST_LEVELS} "
                "are read"
            )
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InputError(
                f"{self.name}: {member} is not the text of a program ({error}): copy the file again"
            ) from error
