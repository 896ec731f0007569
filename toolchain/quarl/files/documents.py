"""JSON documents that quarl writes and reads: one frozen dataclass each, checked by one decoder.

In: bytes, and the type they must hold. Out: the value, or one `InputError` that names every
problem. Types are strict: no unknown keys, no numbers in strings, nothing infinite.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, create_model

from quarl.errors import InputError
from quarl.files.numbers import bounded
from quarl.files.open import MAX_DOCUMENT_BYTES, read_file

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal."""

Name = Annotated[
    str,
    StringConstraints(
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]+$", max_length=200
    ),
]
"""A name that is shown to people and becomes part of a path: no control characters, no slashes."""

Line = Annotated[
    str,
    StringConstraints(
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$",
        max_length=2_000,
    ),
]
"""Words on one line: no control characters."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]
"""A name that checks, figures and backends are called by."""

Count = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]

MOST_BYTES = 64 << 20  # of a document: raw samples of long runs are the largest
MOST_LEVELS = 64
MOST_PROBLEMS = 20  # that one message lists

T = TypeVar("T")
# Strings whole, so that brackets in them do not count; one without an end goes to the end, so that
# no byte is looked at twice.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """What a document is, for the messages of the decoder."""

    title: str  # "a profile of this host"
    format: int  # the only version this quarl reads
    remedy: str  # what to do when it is not what it should be


def encode(value: Any, document: Document) -> bytes:
    """Return a dataclass as canonical JSON: sorted keys, finite numbers, one newline at the end."""
    table = {"format": document.format, **_plain(value)}
    return (json.dumps(table, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def decode(kind: type[T], data: bytes, where: str, document: Document) -> T:
    """Return the value of type `kind` that `encode` wrote.

    Raises:
        InputError: it is not JSON, another format, or fields are missing, unknown or wrong.
    """
    table = read_json(data, where, document)
    version = table.pop("format", None)
    if version != document.format or isinstance(version, bool):
        raise InputError(
            f"{where}: is {document.title} of format {version!r}; this quarl reads format "
            f"{document.format}: {document.remedy}"
        )
    return value_of(kind, table, where, document)


def value_of(kind: type[T], table: Any, where: str, document: Document) -> T:
    """Return the value of type `kind` in plain values that were read from JSON.

    Raises:
        InputError: fields are missing, unknown or wrong.
    """
    try:
        text = json.dumps({"value": table})
        return cast(T, cast(Any, _model(cast(Any, kind))).model_validate_json(text).value)
    except ValidationError as error:
        problems = [f"{_place(entry['loc'])}: {entry['msg']}" for entry in error.errors()]
        shown = "; ".join(problems[:MOST_PROBLEMS])
        raise InputError(
            f"{where}: is not {document.title} ({shown}): {document.remedy}"
        ) from error


def table_at(
    path: Path, document: Document, most_bytes: int = MAX_DOCUMENT_BYTES
) -> dict[str, Any]:
    """Return the JSON object in a file that lies among the user's own; errors as `read_json`."""
    return read_json(read_file(path, most_bytes), str(path), document)


def read_json(data: bytes, where: str, document: Document) -> dict[str, Any]:
    """Return a JSON object of bounded size and depth.

    Raises:
        InputError: it is larger or deeper, not UTF-8, not JSON, or not an object.
    """
    problem = _too_large(data)
    if problem is None:
        try:
            table = json.loads(
                data,
                parse_float=lambda digits: bounded(float(digits)),
                parse_int=lambda digits: bounded(int(digits)),
                parse_constant=_refuse_constant,
                object_pairs_hook=_without_twins,
            )
            if isinstance(table, dict):
                return table
            problem = f"holds {type(table).__name__}, not an object"
        except (ValueError, RecursionError) as error:
            problem = f"is not JSON ({error})"
    raise InputError(f"{where}: is not {document.title}: {problem}: {document.remedy}")


def _too_large(data: bytes) -> str | None:
    if len(data) > MOST_BYTES:
        return f"{len(data):,} bytes, at most {MOST_BYTES:,} are read"
    level = 0
    for token in _TOKENS.finditer(data):
        match token.group():
            case b"[" | b"{":
                level += 1
            case b"]" | b"}":
                level -= 1
        if level > MOST_LEVELS:
            return f"more than {MOST_LEVELS} levels deep"
    return None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's table; two values of one name could mean one thing here, another there."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands there twice")
    return table


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _plain(value: Any) -> Any:
    """Return dataclasses and mappings as dicts, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value


@cache
def _model(kind: type[Any]) -> type[BaseModel]:
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model("Document", __config__=config, value=(kind, ...))


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or "document"
