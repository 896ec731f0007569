"""Strict tables: TOML becomes a frozen value, or one error that names every problem.

Goes in: a TOML file, and a frozen dataclass marked with `@table`. Comes out: the value. Its
annotations are the rules, the words of a message and the JSON Schema for editors, all at once.
TOML writes no nothing: a field of the type `X | None` is simply left out of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from annotated_types import GroupedMetadata
from pydantic import (
    AfterValidator,
    AllowInfNan,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    with_config,
)

from quarl.errors import InputError
from quarl.files.text import shortened

T = TypeVar("T")
Node = Mapping[str, Any]  # of a JSON Schema

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}  # made once

table = with_config(ConfigDict(extra="forbid"))  # marks a dataclass: unknown keys are errors
Text = Annotated[str, Field(min_length=1)]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict(), Field(ge=0)]
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
NotNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


class OneOf(GroupedMetadata):
    """Marks a text that must be one of some names, which are known when the program runs."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def __iter__(self) -> Iterator[object]:
        """Yield what pydantic makes of it: the names for editors, and the check."""
        yield Field(json_schema_extra={"enum": list[Any](self._names)})
        yield AfterValidator(self._check)

    def _check(self, value: str) -> str:
        if value not in self._names:
            raise ValueError(
                f"{value!r}; allowed: {_quoted(self._names)}{did_you_mean(value, self._names)}"
            )
        return value


def _plain(value: object) -> object:
    match value:
        case dict():
            for key, item in value.items():
                try:
                    _plain(item)
                except ValueError as error:
                    raise ValueError(f"{key} {error}") from error
        case list():
            for item in value:
                _plain(item)
        case str() | int() | float():  # bool is an int
            pass
        case _:
            raise ValueError(
                f"is {value!r}; allowed: text, a number, true or false, a list, a table"
            )
    return value


Settings = Annotated[Mapping[str, Any], AfterValidator(_plain), WithJsonSchema({"type": "object"})]
"""A table of whatever TOML writes but dates."""


def value_from(
    kind: type[T],
    document: Mapping[str, Any],
    where: str,
    contradictions: Callable[[T], list[str]] = lambda _: [],
) -> T:
    """Return the value of a table.

    Args:
        kind: a frozen dataclass marked with `@table`.
        where: names the file, and the table in it, in errors.
        contradictions: what is wrong with the value as a whole, as "KEY: what".
    Raises:
        InputError: keys that are missing, unknown or of the wrong kind; all of them are named.
    """
    try:
        value = _adapter(kind).validate_python(dict(document))
    except ValidationError as error:
        schema = _schema(cast(Any, kind))
        problems = [_problem(schema, details) for details in error.errors(include_url=False)]
        raise refusal(where, list(dict.fromkeys(problems))) from error
    if problems := contradictions(value):
        raise refusal(where, problems)
    return value


def refusal(where: str, problems: list[str]) -> InputError:
    """Return the error that names all problems of a file."""
    noun = "problem" if len(problems) == 1 else "problems"
    return InputError(f"{where}: {len(problems)} {noun}:\n" + "\n".join(f"  {p}" for p in problems))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean X?)", empty where nothing known is close."""
    close = get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def schema_of(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a table, as editors read it."""
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        """Keys are named by themselves: no titles made of them."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    schema = _adapter(kind).json_schema(schema_generator=Untitled)
    definitions = schema.get("$defs", {})
    plain: dict[str, Any] = _without_null(schema)
    if definitions:
        plain["$defs"] = {name: _without_null(node) for name, node in definitions.items()}
    return plain


def key_rows(kind: type[Any]) -> list[tuple[str, str, str]]:
    """Return a row for each key of a table, for the docs: its name, what is allowed, what it is."""
    schema = schema_of(kind)
    required = schema.get("required", ())
    return [
        (
            f"`{key}`" + ("" if key in required else ", optional"),
            _words(schema, _resolved(schema, node)),
            str(node.get("description", "")),
        )
        for key, node in schema["properties"].items()
    ]


@cache
def _schema(kind: type[Any]) -> Node:
    """Return the schema for messages, which is made once: it takes longer than to read a file."""
    return schema_of(kind)


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _without_null(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _without_null(value)
        for key, value in node.items()
        if key != "$defs" and not (key == "default" and value is None)
    }
    branches = [item for item in kept.get("anyOf", ()) if item != {"type": "null"}]
    if len(branches) == 1:
        return {**branches[0], **{key: value for key, value in kept.items() if key != "anyOf"}}
    return {**kept, "anyOf": branches} if branches else kept


def _problem(schema: Node, details: Mapping[str, Any]) -> str:
    path, parent, node = _find(schema, details["loc"])
    found = details["input"]
    match details["type"]:
        case "missing":
            return f"{path}: missing; it is {_words(schema, node)}"
        case "unexpected_keyword_argument":
            known = list(parent.get("properties", ()))
            key = str(details["loc"][-1])
            return f"{path}: unknown key{did_you_mean(key, known)}; known here: {', '.join(known)}"
        case "value_error":
            return f"{path}: {details['ctx']['error']}" if path else str(details["ctx"]["error"])
        case _:
            return f"{path}: {shortened(found)}; allowed: {_words(schema, node)}"


def _find(schema: Node, loc: tuple[str | int, ...]) -> tuple[str, Node, Node]:
    """Return the path of a value for people, the schema of its table, and its own schema; steps
    of pydantic's own, such as the branch of a union, are skipped.
    """
    path, parent, node = "", schema, schema
    for step in loc:
        table_node = _resolved(schema, node)
        for branch in (table_node, *(_resolved(schema, b) for b in table_node.get("anyOf", ()))):
            inner = _member(branch, step)
            if inner is not None:
                path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
                parent, node = branch, inner
                break
    return path, parent, _resolved(schema, node)


def _member(node: Node, step: str | int) -> Node | None:
    if isinstance(step, int):
        items: Node | None = node.get("items")
        return items
    properties = node.get("properties", {})
    if step in properties:
        member: Node = properties[step]
        return member
    if node.get("type") != "object":
        return None
    values = node.get("additionalProperties")
    return values if isinstance(values, dict) else {}


def _resolved(schema: Node, node: Node) -> Node:
    name = node.get("$ref", "").removeprefix("#/$defs/")
    resolved: Node = schema["$defs"][name] if name else node
    return resolved


def _words(schema: Node, node: Node) -> str:
    """Return what a schema allows, in words."""
    if "anyOf" in node:
        return " or ".join(_words(schema, _resolved(schema, branch)) for branch in node["anyOf"])
    if "enum" in node:
        return _quoted(node["enum"])
    if "const" in node:
        return _quoted([node["const"]])
    match node.get("type"):
        case "integer":
            return "a whole number" + _range_words(node)
        case "number":
            bounds = _range_words(node)
            return f"a number{bounds}" if bounds else "a finite number"
        case "boolean":
            return "true or false"
        case "string":
            if "pattern" in node:
                return f"text of the form {node['pattern']}"
            return "text that is not empty" if node.get("minLength") else "text"
        case "array":
            each = _words(schema, _resolved(schema, node.get("items", {})))
            return f"a list{' that is not empty' if node.get('minItems') else ''}, each {each}"
        case "object":
            keys = node.get("required", [])
            return f"a table of {', '.join(keys)}" if keys else "a table"
        case _:
            return "something else"


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _range_words(node: Node) -> str:
    low, above, high = (node.get(k) for k in ("minimum", "exclusiveMinimum", "maximum"))
    start = "" if low is None else f" from {low:,}"
    start = start if above is None else f" above {above:,}"
    step = node.get("multipleOf")
    end = "" if high is None else f" to {high:,}"
    return start + end + ("" if step is None else f", a multiple of {step}")
