"""Packages: a policy's C as a folder that a build system takes as it is.

In: the sources of a policy, its contract and where it came from. Out: path -> bytes of a folder
with those sources, an example main, licence, contract and provenance.

A build system is one folder of `firmware_harness/packages/`, so that a new one touches no Python:
    package.toml   title, where sources go, how the folder is built
    *.jinja        templates; what is not named so is copied
`@prefix@` in a path stands for the prefix of the policy's names in C.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from quarl.boards.core import Kernels
from quarl.errors import InputError
from quarl.files.digests import digests
from quarl.files.tables import Flag, Text, did_you_mean, table, value_from
from quarl.files.toml import read_toml
from quarl.firmware.c_text import c_comment, c_enumerators
from quarl.firmware.names import Names
from quarl.firmware.render_header import FEATURE
from quarl.graph.contract import Contract
from quarl.resources import VERSION, firmware_dir

if TYPE_CHECKING:
    from jinja2 import Environment

SETTINGS, COMMON, TEMPLATE, PREFIX = "package.toml", "common", ".jinja", "@prefix@"
LICENSE, README, PROVENANCE, CONTRACT = "LICENSE", "README.md", "provenance.json", "contract.json"
DEFAULT_STEP_HZ = 50.0  # of the example, where the contract states no rate
MOST_NAMED_FEATURES = 64  # that an example writes one by one
MOST_OF_A_UNIT = 10  # characters, so that a line has at most 100
FLAGS: Mapping[Kernels, tuple[str, ...]] = {"dot": ("-march=armv8.2-a+dotprod",)}


@table
@dataclass(frozen=True, slots=True)
class PackageKind:
    """What package.toml says of a build system."""

    title: Annotated[Text, Field(description="for people")]
    sources: Annotated[Text, Field(description="where the C files go")]
    provenance: Annotated[Text, Field(description="where contract and provenance go")]
    how: Annotated[Text, Field(description="how the folder is built and used")]
    linux: Annotated[Flag, Field(description="whether it builds programs for Linux boards")] = False


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a package's policy came from."""

    policy: str
    source_file: str
    source_sha256: str
    algorithm: str
    framework: str
    rung: int | None
    weights: str
    board: str | None  # None: the kernels run on every core


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """What goes into a package."""

    sources: Mapping[str, bytes]  # name -> bytes
    names: Names
    kernels: Kernels
    contract: Contract
    provenance: Provenance


def package_names() -> tuple[str, ...]:
    """Return the build systems there are packages for, sorted."""
    folders = (firmware_dir() / "packages").iterdir()
    return tuple(sorted(folder.name for folder in folders if (folder / SETTINGS).is_file()))


def package_kind(name: str) -> PackageKind:
    """Return what is known of a build system.

    Raises:
        InputError: there is no package for it; names the closest one.
    """
    known = package_names()
    if name not in known:
        raise InputError(
            f"--package {name}: allowed are {', '.join(known)}{did_you_mean(name, known)}"
        )
    path = firmware_dir() / "packages" / name / SETTINGS
    return value_from(PackageKind, read_toml(path), str(path))


def write_package(name: str, packed: Packed) -> dict[str, bytes]:
    """Return path -> bytes of the folder for a build system, sorted by path.

    Raises:
        InputError: there is no such build system, or it does not build for Linux boards.
    """
    kind = package_kind(name)
    if packed.kernels in ("neon", "dot") and not kind.linux:
        raise InputError(
            f"--package {name}: {packed.provenance.board} runs Linux, and this package is for "
            "microcontrollers: use --package cmake, or another --board"
        )
    prefix = packed.names.prefix
    sources = kind.sources.replace(PREFIX, prefix)
    about = PurePosixPath(kind.provenance)
    context = _context(packed, kind, sources)
    environment = _environment()
    files = {f"{sources}/{path}": data for path, data in packed.sources.items()}
    files[LICENSE] = (firmware_dir() / "packages" / COMMON / LICENSE).read_bytes()
    files[README] = _rendered(environment, f"{COMMON}/{README}{TEMPLATE}", context)
    files[str(about / CONTRACT)] = packed.contract.to_json().encode()
    files[str(about / PROVENANCE)] = _provenance(packed)
    root = firmware_dir() / "packages" / name
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        relative = path.relative_to(root).as_posix()
        if relative != SETTINGS:
            target = relative.replace(PREFIX, prefix).removesuffix(TEMPLATE)
            files[target] = _rendered(environment, f"{name}/{relative}", context)
    return dict(sorted(files.items()))


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(firmware_dir() / "packages"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _rendered(environment: Environment, path: str, context: Mapping[str, Any]) -> bytes:
    return environment.get_template(path).render(context).encode()


def _context(packed: Packed, kind: PackageKind, sources: str) -> dict[str, Any]:
    """Return what the templates may name; texts of the policy are made harmless here."""
    names, contract = packed.names, packed.contract
    action = contract.action
    step_hz = contract.step_hz or DEFAULT_STEP_HZ
    first = {"discrete": "action.index", "box": "action.values[0]"}
    value = first.get(action.kind, "action.indices[0]")
    is_box = action.kind == "box"
    return {
        "version": VERSION,
        "prefix": names.prefix,
        "PREFIX": names.prefix.upper(),
        "policy": _plain(packed.provenance.policy),
        "title": kind.title,
        "how": kind.how.strip().replace(PREFIX, names.prefix),
        "sources": sources,
        "files": list(packed.sources),
        "c_files": [file for file in packed.sources if file.endswith(".c")],
        "flags": FLAGS.get(packed.kernels, ()),
        "kernels": packed.kernels,
        "state": "&state, " if contract.state else "",
        "check": _check(packed),
        "kind": action.kind,
        "width": action.width,
        "first": value,
        "first_as_int": f"(int)({value} * 1000.0F)" if is_box else f"(int){value}",
        "printed": "action: %d thousandths" if is_box else "action: %d",
        "features": _features(packed),
        "actions": bool(action.names),
        "step_hz": f"{contract.step_hz:g}" if contract.step_hz else None,
        "period_us": max(1, round(1e6 / step_hz)),
        "period_ms": max(1, round(1e3 / step_hz)),
    }


def _check(packed: Packed) -> str:
    """Return the replay of the example; the state of a recurrent policy is reset before it."""
    names = packed.names
    replay = f"{names.symbol('check')}()"
    reset = f"{names.symbol('state_reset')}(&state)"
    return f"({reset}, {replay})" if packed.contract.state else replay


def _features(packed: Packed) -> list[str]:
    """Return a statement that sets each feature, its unit behind it; none where there are too
    many.
    """
    observation = packed.contract.observation
    if len(observation.names) > MOST_NAMED_FEATURES:
        return []
    places = (packed.names.macro(f"{FEATURE}_{n}") for n in c_enumerators(observation.names))
    statements = [f"observation[{place}] = 0;" for place in places]
    if not any(observation.units):
        return statements
    width = max(map(len, statements))
    notes = [c_comment(unit or "no unit")[:MOST_OF_A_UNIT] for unit in observation.units]
    rows = zip(statements, notes, strict=True)
    return [f"{statement:<{width}} /* {note} */" for statement, note in rows]


def _plain(text: str) -> str:
    """Return the text as words that mean nothing in C, YAML, XML, CMake or Kconfig."""
    kept = "".join(c if (c.isascii() and c.isalnum()) or c in "_.-" else "_" for c in text)
    return kept[:60]


def _provenance(packed: Packed) -> bytes:
    document = {
        "format": 1,
        "quarl": VERSION,
        "kernels": packed.kernels,
        "contract_sha256": packed.contract.digest,
        "files": digests(packed.sources),
        **asdict(packed.provenance),
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
