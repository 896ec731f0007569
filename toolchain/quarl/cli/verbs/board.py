"""`quarl board new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def board(
    action: Annotated[Literal["new"], typer.Argument(help="new: write a board file.")],
    name: Annotated[str, typer.Argument(help="Name of the board.")],
    from_pack: Annotated[
        str, typer.Option("--from-pack", metavar="DEVICE", help="Device in a CMSIS pack.")
    ],
    pack: Annotated[
        Path | None,
        typer.Option(
            "--pack", metavar="FILE", help="A .pack or .pdsc file; without it those of pyOCD."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: boards/NAME.toml.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a board file with what a CMSIS pack says of a chip; the rest is marked unknown."""
    from quarl.boards.find import PROJECT_FOLDER
    from quarl.boards.from_pack import board_from_pack
    from quarl.boards.microcontroller import parse_board
    from quarl.errors import InputError
    from quarl.files.atomic import write_whole
    from quarl.files.toml import parse_toml

    path = Path(PROJECT_FOLDER) / f"{name}.toml" if out is None else out
    text = board_from_pack(name, from_pack, pack)
    parse_board(parse_toml(text, str(path)), str(path), name)
    if path.exists():
        raise InputError(f"{path}: is there already: remove it, or name another file with --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    told = {"board": name, "file": str(path)}
    print_result(told if as_json else f"{path}: {name}, {from_pack}", as_json)
