"""`quarl compare`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarl.cli.command import takes
from quarl.cli.option_groups import SourceOptions
from quarl.cli.options import JsonOption, board_named, rung_number, widths_from
from quarl.cli.progress import TERMINAL, say
from quarl.cli.result import print_result

if TYPE_CHECKING:
    from quarl.boards.microcontroller import Board
    from quarl.study.compare import Grid, Row


def _output(name: str, help_text: str) -> object:
    return typer.Option(name, metavar="FILE", help=help_text)


@dataclass(frozen=True, kw_only=True)
class CompareOptions(SourceOptions):
    """What is compared, and where the table goes. What is said of a source holds for all."""

    source: Annotated[  # type: ignore[assignment]  # several instead of one
        list[str],
        typer.Argument(metavar="SOURCE...", help="Shipped policies, or files of trained weights."),
    ]
    methods: Annotated[
        str, typer.Option("--methods", metavar="LIST", help="Of float, quarl, tflite, ort.")
    ] = "float,quarl,tflite,ort"
    weights: Annotated[
        str,
        typer.Option("--weights", metavar="LIST", help="Of int2 to int8, each with -all or not."),
    ] = "int8"
    rungs: Annotated[
        str, typer.Option("--rungs", metavar="LIST", help="Of the ladder, 0 to 5, or auto.")
    ] = "3"
    boards: Annotated[
        str | None,
        typer.Option("--boards", metavar="LIST", help="Count each on these boards, emulated."),
    ] = None
    episodes: Annotated[
        int, typer.Option("--episodes", min=2, max=1_000_000, metavar="N", help="Paired, of each.")
    ] = 100
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, metavar="N", help="Processes; default: one a processor."),
    ] = None
    csv: Annotated[Path | None, _output("--csv", "Write every figure as CSV.")] = None
    markdown: Annotated[Path | None, _output("--markdown", "Write the table as Markdown.")] = None
    plot: Annotated[
        Path | None, _output("--plot", "Draw return lost against bytes, as SVG; extra plot.")
    ] = None
    as_json: JsonOption = False

    def grid(self) -> Grid:
        """Return what is compared.

        Raises:
            InputError: an unknown method, width, rung or board.
        """
        from quarl.study.compare import Grid, methods_named

        return Grid(
            methods=methods_named(self.methods),
            weights=tuple(widths_from(text, None, None) for text in self.weights.split(",")),
            rungs=tuple(rung_number(text) for text in self.rungs.split(",")),
            boards=tuple(_firmware_board(name) for name in (self.boards or "").split(",") if name),
            episodes=self.episodes,
        )


@takes(CompareOptions)
def compare(options: CompareOptions) -> None:
    """Compare quantisers, widths, rungs and boards in one table: what each keeps, and its cost."""
    from dataclasses import asdict

    from quarl.cli.table import table
    from quarl.files.atomic import write_whole
    from quarl.study import compare_outputs as outputs
    from quarl.workers import open_workers

    grid = options.grid()
    if options.plot is not None:
        from quarl.files.svg_figure import require_matplotlib

        require_matplotlib()
    stated = {field.name: getattr(options, field.name) for field in fields(SourceOptions)}
    sources = [
        SourceOptions(**{**stated, "source": name}).open(TERMINAL.stage) for name in options.source
    ]
    rows: list[Row] = []
    found: dict[int, list[Row]] = {}
    calls = [(place, source, grid) for place, source in enumerate(sources)]
    with open_workers(options.workers, None) as pool:
        for place, made in pool.run(_compared, calls):
            found[place] = made
            say(f"{len(found)} of {len(sources)}: {sources[place].name} compared")
    for place in range(len(sources)):
        rows += found[place]
    for path, write in (
        (options.csv, outputs.comparison_csv),
        (options.markdown, outputs.comparison_markdown),
        (options.plot, outputs.comparison_svg),
    ):
        if path is not None:
            write_whole(path, write(rows).encode())
    note = (
        "Return: float -> this one, on the same episodes. us: median of one decision on this host, "
        "measured. On boards: estimated us of one decision; flash and RAM are exact."
    )
    text = "\n".join([table(*outputs.table_of(rows)), "", note, *outputs.problems_of(rows)])
    print_result([asdict(row) for row in rows] if options.as_json else text, options.as_json)


def _compared(place: int, source: object, grid: Grid) -> tuple[int, list[Row]]:
    from quarl.sources.source import Source
    from quarl.study.compare import compare_source

    assert isinstance(source, Source)
    return place, compare_source(source, grid)


def _firmware_board(name: str) -> Board:
    from quarl.profiles.platforms import with_firmware

    board = board_named(name)
    assert board is not None  # it is None of no name alone
    return with_firmware(board, "--boards")
