"""The application: all verbs under one command."""

from __future__ import annotations

from typing import Annotated

import typer

from quarl.cli.verbs import VERBS

app = typer.Typer(
    help="Carry a trained reinforcement-learning policy to a small board in int8, and prove "
    "that it still plays.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 pass, 1 the gate says no, 2 bad input or usage, 3 a tool is "
    "missing, 4 a device failed.",
)


def _version(show: bool) -> None:
    if show:
        import quarl

        print(quarl.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


for _name, _verb in VERBS.items():
    app.command(name=_name)(_verb)
