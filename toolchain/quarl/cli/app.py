"""The application: all verbs under one command."""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from quarl.cli import progress
from quarl.cli.groups import GroupedVerbs
from quarl.cli.result import keep_standard_output, put
from quarl.cli.verbs import VERBS
from quarl.resources import VERSION

SOURCES: list[str] = []  # files that gave this run its defaults
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing on the way: results and errors alone.")
]


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
    cls=GroupedVerbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 pass, 1 the gate says no, 2 bad input or usage, 3 a tool is "
    "missing, 4 a device failed, 5 not proven, 70 a defect of quarl itself. Defaults of a project: "
    "[tool.quarl] in pyproject.toml, and gate.toml.",
)


def _version(show: bool) -> None:
    if show:
        python = f"Python {platform.python_version()}"
        put(f"quarl {VERSION}, {python}, {Path(__file__).parents[1]}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_version,
            is_eager=True,
            help="Print the version, Python's and where quarl lies, and exit.",
        ),
    ] = False,
) -> None:
    group = context.command
    assert isinstance(group, GroupedVerbs)
    if context.resilient_parsing or any(word in ("-h", "--help") for word in sys.argv[1:]):
        return
    with _ended_by_reason():
        from quarl.cli.project import project_of

        project = project_of(Path.cwd(), group.commands)
        context.default_map = project.defaults
        SOURCES[:] = project.sources


@contextmanager
def _ended_by_reason() -> Iterator[None]:
    try:
        yield
    except BaseException as reason:
        raise Ended(reason) from reason


def _wrapped(verb: Callable[..., None]) -> Callable[..., None]:
    """Return the verb with the option --quiet, which every verb has."""

    @wraps(verb)
    def run(*arguments: object, quiet: bool = False, **options: object) -> None:
        progress.be_quiet(quiet)
        for source in SOURCES:
            progress.say(f"defaults from {source}")
        try:
            with keep_standard_output():
                verb(*arguments, **options)
        except typer.Exit:
            raise
        except BaseException as reason:
            raise Ended(reason) from reason

    signature, hints = inspect.signature(verb), get_type_hints(verb, include_extras=True)
    option = Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=QuietOption)
    own = [p.replace(annotation=hints[name]) for name, p in signature.parameters.items()]
    parameters = [*own, option]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**hints, "quiet": QuietOption}
    return run


for _name, _verb in VERBS.items():
    app.command(name=_name)(_wrapped(_verb))
