"""The application: all verbs under one command."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Annotated

import typer

from quarl.cli.result import keep_standard_output, put
from quarl.cli.verbs import VERBS
from quarl.resources import VERSION


class Ended(Exception):  # noqa: N818, it is no error by itself
    """A verb that did not come to its end. Wrapped, so that what an environment raises is never
    taken for an exit of the application, which `SystemExit` and others would be.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


app = typer.Typer(
    help="Carry a trained reinforcement-learning policy to a small board in int8, and prove "
    "that it still plays.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 pass, 1 the gate says no, 2 bad input or usage, 3 a tool is "
    "missing, 4 a device failed, 70 a defect of quarl itself.",
)


def _version(show: bool) -> None:
    if show:
        put(VERSION)
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


def _wrapped(verb: Callable[..., None]) -> Callable[..., None]:
    @wraps(verb)
    def run(*arguments: object, **options: object) -> None:
        try:
            with keep_standard_output():
                verb(*arguments, **options)
        except typer.Exit:
            raise
        except BaseException as reason:
            raise Ended(reason) from reason

    return run


for _name, _verb in VERBS.items():
    app.command(name=_name)(_wrapped(_verb))
