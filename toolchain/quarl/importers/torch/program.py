"""The text of a TorchScript program, followed as data: what its `forward` does to tensors.

In: parsed functions, the module's attributes and constants. Out: an `AtenGraph`. Only assignments,
calls, choices whose condition the file decides, and `return` are followed. A condition that only a
run could decide is followed where it merely guards an error.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.graph.policy import Policy
from quarl.importers.draft import Draft
from quarl.importers.fold import finish
from quarl.importers.options import ImportOptions, MissingActionError
from quarl.importers.torch import aten_shapes as _shapes  # noqa: F401  # adds its operators
from quarl.importers.torch.aten import AtenGraph, Length, TensorName

MOST_STEPS = 50_000
MOST_CALLS = 60  # one inside the other
Find = Callable[[str], ast.FunctionDef | None]


@dataclass(eq=False)
class ScriptObject:
    """A module of the program: its class and its attributes."""

    kind: str
    attributes: dict[str, Any] = field(default_factory=dict)


class _Unknown:
    """What only a run could tell."""


@dataclass(frozen=True)
class _Method:
    owner: ScriptObject
    name: str


@dataclass(frozen=True)
class _Named:
    """A dotted name: `torch.linear`, `__torch__.torch.nn.functional.elu`,
    `ops.prim.NumToTensor`.
    """

    name: str


UNKNOWN = _Unknown()
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
}
PASSED_ON = {  # calls that give their last argument as it is
    *(
        "annotate",
        "unchecked_cast",
        "int",
        "float",
        "bool",
        "ops.prim.NumToTensor",
        "ops.prim.data",
    ),
    *(
        "torch.list",
        "torch.scalar",
        "torch.item",
        "torch.Int",
        "torch.Float",
        "torch.ScalarImplicit",
    ),
}

# joint names are real values without bounds
METADATA_WAY = (
    "A file that says it itself: what torch.onnx.export writes, with the metadata joint_names, "
    "onnx.helper.set_model_props(model, {'joint_names': 'hip,knee'})"
)


def finish_program(path: Path, draft: Draft, options: ImportOptions) -> Policy:
    """Return the policy of a program; errors as `finish`.

    Raises:
        MissingActionError: nobody says what its outputs mean; also says how a file can.
    """
    try:
        return finish(path, draft, options)
    except MissingActionError as error:
        raise MissingActionError(f"{error}. {METADATA_WAY}", error.count) from error


def _recurrent_in(module: ScriptObject) -> str | None:
    """Return the class of a recurrent module inside, None where there is none."""
    pending, seen = [module], set()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if found := re.search(r"\.rnn\.(?:___torch_mangle_\d+\.)?(\w+)$", one.kind):
            return found[1]
        pending += [part for part in one.attributes.values() if isinstance(part, ScriptObject)]
    return None


class Program:
    """Follows functions from `forward` on."""

    def __init__(self, graph: AtenGraph, find: Find, constants: Sequence[Any]) -> None:
        self.graph, self.find, self.constants = graph, find, constants
        self._steps = self._depth = 0

    def run(self, module: ScriptObject, options: ImportOptions) -> None:
        """Follow the module's `forward` from its inputs to its outputs."""
        if (cell := _recurrent_in(module)) is not None:
            raise UnsupportedError(
                f"{self.graph.path.name}: a recurrent policy ({cell}), whose state is inside the "
                "program: export it to ONNX with its state as input and output"
            )
        forward = self.find(f"{module.kind}.forward")
        if forward is None:
            raise InputError(f"{self.graph.path.name}: the module has no forward: save it again")
        names = [argument.arg for argument in forward.args.args[1:]]
        inputs = [self.graph.input(name) for name in names]
        result = self._called(forward, [module, *inputs], {})
        found = list(_tensors(result))
        if not found:
            raise InputError(f"{self.graph.path.name}: its forward returns no tensor")
        for place, tensor in enumerate(found):
            name = "output" if len(found) == 1 else f"output_{place}"
            self.graph.made.node("Identity", [tensor.name], name)
            self.graph.made.output(name)
        for name in names:
            self.graph.made.input(name, self._shape(name, names, options))

    def _shape(self, name: str, names: Sequence[str], options: ImportOptions) -> list[int | None]:
        """Return an input's shape: as its layers show it, or as the stated observation has it."""
        given = options.observation
        if given is not None and len(names) == 1:
            channels_first = given.shape if given.layout == "chw" else _moved(given.shape)
            return [None, *(channels_first if given.is_image else given.shape)]
        parts = () if given is None else given.parts
        if len(parts) == len(names) > 1 and (given is None or not given.pictures):
            return [None, parts[names.index(name)].count]
        if name in self.graph.lengths:
            return [None, self.graph.lengths[name]]
        if len(names) > 1:
            if any(name in node.input for node in self.graph.made.nodes):
                spaces = "+".join(["vector:N"] * len(names))
                raise InputError(
                    f"{self.graph.path.name}: the file does not say how long its inputs "
                    f"{', '.join(names)} are: add --observation {spaces}"
                )
            return [None, 1]
        raise InputError(
            f"{self.graph.path.name}: the file does not say how long its input is: add "
            "--observation vector:N or image:HxWxC, or --env ID"
        )

    def refused(self, what: str) -> UnsupportedError:
        """Return the error for a step that is not followed."""
        return self.graph.refused("program", what)

    def _called(
        self, function: ast.FunctionDef, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        self._depth += 1
        if self._depth > MOST_CALLS:
            raise self.refused("calls itself, or too deep")
        names = [argument.arg for argument in function.args.args]
        defaults = function.args.defaults
        values: dict[str, Any] = {}
        for name, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            values[name] = self._value(default, values)
        values |= dict(zip(names, args, strict=False)) | dict(kwargs)
        result = self._body(function.body, values)
        self._depth -= 1
        return None if result is _NOTHING else result

    def _body(self, body: Sequence[ast.stmt], values: dict[str, Any]) -> Any:
        for statement in body:
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise self.refused("has too many steps")
            match statement:
                case ast.Return(value=value):
                    return None if value is None else self._value(value, values)
                case ast.Assign(targets=[target], value=value):
                    _assign(target, self._value(value, values), values, self)
                case ast.AnnAssign(target=target, value=value) if value is not None:
                    _assign(target, self._value(value, values), values, self)
                case ast.If():
                    result = self._choice(statement, values)
                    if result is not _NOTHING:
                        return result
                case ast.Expr(value=value):
                    self._value(value, values)
                case ast.Pass():
                    pass
                case other:
                    raise self.refused(f"has a {type(other).__name__.lower()} statement")
        return _NOTHING

    def _choice(self, statement: ast.If, values: dict[str, Any]) -> Any:
        condition = self._value(statement.test, values)
        if isinstance(condition, bool | int | None.__class__) or condition is None:
            return self._body(statement.body if condition else statement.orelse, values)
        if isinstance(condition, TensorName):
            raise self.refused("chooses its way by what it computes")
        if _only_raises(statement.body):
            return self._body(statement.orelse, values)
        if _only_raises(statement.orelse):
            return self._body(statement.body, values)
        for entry in (*statement.body, *statement.orelse):
            if isinstance(entry, ast.Assign) and isinstance(entry.targets[0], ast.Name):
                values[entry.targets[0].id] = UNKNOWN
            elif not isinstance(entry, ast.Pass):
                raise self.refused("chooses its way by what only a run knows")
        return _NOTHING

    def _value(self, node: ast.expr, values: dict[str, Any]) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return values[name] if name in values else _Named(name)
            case ast.Attribute(value=owner, attr=name):
                return self._attribute(self._value(owner, values), name)
            case ast.List(elts=parts):
                return [self._value(part, values) for part in parts]
            case ast.Tuple(elts=parts):
                return tuple(self._value(part, values) for part in parts)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._value(operand, values)
            case ast.Subscript(value=owner, slice=index):
                return self._subscript(self._value(owner, values), index, values)
            case ast.Call(func=function, args=args, keywords=keywords):
                given = [self._value(argument, values) for argument in args]
                named = {str(k.arg): self._value(k.value, values) for k in keywords}
                return self._call(self._value(function, values), given, named)
        raise self.refused(f"has a {type(node).__name__.lower()}")

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, ScriptObject):
            if name in owner.attributes:
                return owner.attributes[name]
            return _Method(owner, name)
        if isinstance(owner, _Named) and owner.name == "CONSTANTS" and name[1:].isdecimal():
            return self.constants[int(name[1:])]
        if isinstance(owner, _Named):
            return _Named(f"{owner.name}.{name}")
        raise self.refused(f"asks for {name} of what has none")

    def _subscript(self, owner: Any, index: ast.expr, values: dict[str, Any]) -> Any:
        if isinstance(owner, _Named):  # a type, such as List[int]
            return owner
        place = self._value(index, values)
        if isinstance(owner, list | tuple | dict) and isinstance(place, int | str):
            return owner[place]  # type: ignore[index]
        return UNKNOWN

    def _call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, _Method):
            found = self.find(f"{function.owner.kind}.{function.name}")
            if found is None:
                raise self.refused(f"calls {function.name}, which is not in the file")
            return self._called(found, [function.owner, *args], kwargs)
        if not isinstance(function, _Named):
            raise self.refused("calls what is no function")
        name = function.name
        if name.startswith("__torch__."):
            found = self.find(name)
            if found is None:
                raise self.refused(f"calls {name}, which is not in the file")
            return self._called(found, args, kwargs)
        if name == "getattr":
            return self._attribute(args[0], str(args[1]))
        if name in PASSED_ON and args:
            return args[-1] if name in ("annotate", "unchecked_cast") else args[0]
        if name == "ops.prim.RaiseException":
            raise self.refused("ends in an error for every input")
        kind = name.rpartition(".")[2]
        plain = self._plain(kind, args)
        if plain is not _NOTHING:
            return plain
        return self.graph.call(kind, args, kwargs)

    def _plain(self, kind: str, args: list[Any]) -> Any:
        """Return what a call on numbers gives; `_NOTHING` where tensors are among them."""
        if any(isinstance(value, TensorName) for value in _flat(args)):
            return UNKNOWN if kind in ("dim", "len", "numel") else _NOTHING
        if kind == "format":
            return ""
        if any(value is UNKNOWN or isinstance(value, Length) for value in args):
            return UNKNOWN if kind in COMPARISONS or kind in ("len", "__not__") else _NOTHING
        if any(isinstance(value, np.ndarray) for value in args):
            return _of_arrays(kind, args)
        if kind == "__not__":
            return not args[0]
        if kind == "len":
            return len(args[0])
        if kind == "neg":
            return -args[0]
        return COMPARISONS[kind](args[0], args[1]) if kind in COMPARISONS else _NOTHING


def _of_arrays(kind: str, args: list[Any]) -> Any:
    """Return what a call on constants gives, of the few that programs make of weights."""
    if kind == "dim":
        return args[0].ndim
    if kind == "__is__":
        return args[0] is args[1]
    if kind == "__isnot__":
        return args[0] is not args[1]
    if kind in ("add_", "add") and len(args) > 1 and isinstance(args[1], int):
        return args[0] + args[1]
    return _NOTHING


class _Nothing:
    """Stands for a way on which nothing was returned."""


_NOTHING = _Nothing()


def _assign(target: ast.expr, value: Any, values: dict[str, Any], program: Program) -> None:
    match target:
        case ast.Name(id=name):
            values[name] = value
        case ast.Tuple(elts=parts):
            found = [UNKNOWN] * len(parts) if value is UNKNOWN else list(value)
            if len(found) != len(parts):
                raise program.refused(f"gives {len(found)} values where {len(parts)} are taken")
            for part, entry in zip(parts, found, strict=True):
                _assign(part, entry, values, program)
        case _:
            raise program.refused("changes an attribute of the module, as recurrent ones do")


def _only_raises(body: Sequence[ast.stmt]) -> bool:
    """Whether nothing but an error lies on this way."""
    calls = [
        entry.value
        for entry in body
        if isinstance(entry, ast.Expr) and isinstance(entry.value, ast.Call)
    ]
    return any(ast.unparse(call.func) == "ops.prim.RaiseException" for call in calls)


def _flat(values: Sequence[Any]) -> list[Any]:
    return [
        part
        for value in values
        for part in (_flat(value) if isinstance(value, list | tuple) else [value])
    ]


def _tensors(value: Any) -> list[TensorName]:
    if isinstance(value, dict):
        value = list(value.values())
    return [part for part in _flat([value]) if isinstance(part, TensorName)]


def _moved(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[-1], *shape[:-1])
