"""Options of a policy in C, and what their texts mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

PrefixOption = Annotated[
    str,
    typer.Option(
        "--prefix",
        metavar="NAME",
        help="What the policy's functions, types, macros and files in C begin with, so that "
        "several policies can live in one firmware.",
    ),
]
PackageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--package",
        metavar="NAME",
        help="Also a folder that a build system takes as it is: arduino, cmake, cmsis-pack, "
        "esp-idf, platformio, zephyr. May be given several times.",
    ),
]


def prefix_named(text: str) -> str:
    """Return the prefix of the policy's names in C.

    Raises:
        InputError: C, the runtime or a C library uses it.
    """
    from quarl.firmware.names import Names

    return Names(text).prefix


def packages_named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the build systems, each once.

    Raises:
        InputError: there is no package for one of them.
    """
    from quarl.firmware.package import package_kind

    for name in names:
        package_kind(name)
    return tuple(dict.fromkeys(names))
