"""Options that several verbs share, and what their texts mean.

Goes in: the words of a command line. Comes out: values of the pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from quarl.boards.linux import Target
    from quarl.importers import ImportOptions
    from quarl.quantize.widths import Widths
    from quarl.rollouts.vector_env import EnvSpec
    from quarl.verdict.limits import Limits

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="Name of a shipped policy, or a file of trained weights."
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder written by quarl export or quarl ship.")
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out", metavar="BUNDLE", help="Folder to write; an older bundle there is replaced."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text.")
]
EnvOption = Annotated[
    str | None,
    typer.Option(
        "--env", metavar="ID", help="Gymnasium environment; module:Id imports its module."
    ),
]
EnvArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env-arg",
        metavar="KEY=VALUE",
        help="Argument of the environment; the value is JSON or plain text.",
    ),
]
ObsNormOption = Annotated[
    Path | None,
    typer.Option(
        "--obs-norm",
        metavar="FILE.npz",
        help="Observation statistics: mean, var, epsilon, clip_obs.",
    ),
]
NoObsNormOption = Annotated[
    bool, typer.Option("--no-obs-norm", help="The policy was trained on raw observations.")
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE.npz",
        help="Observations the policy meets, as an array `obs`.",
    ),
]
RungOption = Annotated[
    str,
    typer.Option(
        "--rung",
        metavar="N|auto",
        help="Rung of the ladder, 0 to 5; auto takes the lowest that keeps the return.",
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="int2..int8[-all]",
        help="Bits of the weights of all dense and convolution layers but the first and the last; "
        "-all takes those too.",
    ),
]
ActivationsOption = Annotated[
    int | None,
    typer.Option(
        "--activations",
        metavar="BITS",
        help="Bits of hidden activations, 2 to 16; default: as the rung says. Above 8 as many as "
        "the arithmetic allows.",
    ),
]
InputsOption = Annotated[
    int | None,
    typer.Option(
        "--inputs",
        metavar="BITS",
        help="Bits of each observation feature, 3 to 16; default: as the rung says.",
    ),
]
LimitsOption = Annotated[
    Path | None,
    typer.Option("--limits", metavar="FILE.toml", help="What the gate asks, a table [gate]."),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="The file may run code of its own: you made it, or know who did."),
]
BoardOption = Annotated[
    str | None,
    typer.Option(
        "--board",
        metavar="NAME|FILE",
        help="Board the policy is for: a name of quarl boards, or a board.toml.",
    ),
]
PrefixOption = Annotated[
    str,
    typer.Option(
        "--prefix",
        metavar="NAME",
        help="What the policy's functions, types, macros and files in C begin with, so that "
        "several policies can live in one firmware.",
    ),
]
LinkOption = Annotated[
    str | None,
    typer.Option(
        "--link",
        metavar="LINK",
        help="Way to the board. A Raspberry Pi: emulated (default), ssh:USER@HOST, local. "
        "Others: unicorn, qemu-system, serial:PORT.",
    ),
]
FlashOption = Annotated[
    str | None,
    typer.Option(
        "--flash",
        metavar="pyocd|openocd",
        help="Write the firmware to the board first; with --link serial:PORT.",
    ),
]
EpisodesOption = Annotated[
    int | None, typer.Option("--episodes", min=2, metavar="N", help="Paired episodes to play.")
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="The baseline, or an older verdict.json; else BUNDLE.baseline.json.",
    ),
]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdict as JUnit XML.")
]
MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Write the verdict as Markdown.")
]
SarifOption = Annotated[
    Path | None, typer.Option("--sarif", metavar="FILE", help="Write the verdict as SARIF 2.1.0.")
]
HistoryOption = Annotated[
    Path | None,
    typer.Option(
        "--history",
        metavar="FILE",
        envvar="QUARL_HISTORY",
        help="Where runs are kept; default: your data folder.",
    ),
]
NoHistoryOption = Annotated[bool, typer.Option("--no-history", help="Keep no record of this run.")]


def import_options(obs_norm: Path | None, no_obs_norm: bool) -> ImportOptions:
    """Return what the importer is told about observation statistics."""
    from quarl.importers import ImportOptions
    from quarl.sources.normalizer_file import read_normalizer

    return ImportOptions(
        normalizer=None if obs_norm is None else read_normalizer(obs_norm),
        no_normalizer=no_obs_norm,
    )


def env_spec(env_id: str | None, arguments: Sequence[str] | None) -> EnvSpec | None:
    """Return the environment the options name, or None.

    Raises:
        InputError: an argument that is not KEY=VALUE, or one without an environment.
    """
    from quarl.errors import InputError
    from quarl.rollouts.vector_env import EnvSpec

    if env_id is None:
        if arguments:
            raise InputError("--env-arg needs --env: name the environment the argument is for")
        return None
    kwargs: dict[str, Any] = {}
    for argument in arguments or ():
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise InputError(
                f"--env-arg {argument}: must be KEY=VALUE, for example actions=discrete"
            )
        try:
            kwargs[key] = json.loads(value)
        except ValueError:
            kwargs[key] = value
    return EnvSpec(env_id, kwargs)


def rung_number(text: str) -> int | None:
    """Return the rung the option names; None stands for auto.

    Raises:
        InputError: no such rung.
    """
    from quarl.errors import InputError
    from quarl.quantize.ladder import rung_numbered

    if text == "auto":
        return None
    if not text.isdecimal():
        raise InputError(f"--rung {text}: must be auto or the number of a rung, 0 to 5")
    return rung_numbered(int(text)).number


def widths_from(weights: str, activations: int | None, inputs: int | None) -> Widths:
    """Return the widths the options name.

    Raises:
        InputError: no such weights, or bits out of range.
    """
    from quarl.quantize.widths import widths_named

    return replace(widths_named(weights), activations=activations, inputs=inputs)


def prefix_named(text: str) -> str:
    """Return the prefix of the policy's names in C.

    Raises:
        InputError: C, the runtime or a C library uses it.
    """
    from quarl.firmware.names import Names

    return Names(text).prefix


def board_named(name: str | None) -> Target | None:
    """Return the board of that name, or None for none."""
    if name is None:
        return None
    from quarl.boards.find import board_roots, find_target

    return find_target(name, board_roots())


def check_link(link: str | None, board: Target | None, flash_by: str | None = None) -> None:
    """Check, before any work, that the board has the link that is named, and can be flashed where
    that is asked.

    Raises:
        InputError: it has not, or no board is named.
    """
    from quarl.boards.linux import LinuxBoard
    from quarl.errors import InputError
    from quarl.evidence.pi import check_pi_link
    from quarl.profiles.board_link import check_board_link

    if isinstance(board, LinuxBoard):
        if flash_by is not None:
            raise InputError(
                f"--flash {flash_by}: a {board.title} is not flashed: leave --flash away"
            )
        check_pi_link(link, board)
    elif board is not None:
        check_board_link(board, link, flash_by)
    elif link is not None or flash_by is not None:
        option = f"--link {link}" if link is not None else f"--flash {flash_by}"
        raise InputError(f"{option}: no board is named: give --board, quarl boards lists them")


def limits_from(path: Path | None, bundle: Any = None) -> Limits | None:
    """Return the limits of a file, on top of the bundle's own or the defaults; None without a file."""
    if path is None:
        return None
    from quarl.files.open import read_file
    from quarl.pipeline import limits_of
    from quarl.verdict.limits import DEFAULT_LIMITS, read_limits

    base = DEFAULT_LIMITS if bundle is None else limits_of(bundle)
    return read_limits(read_file(path).decode(errors="replace"), str(path), base)
