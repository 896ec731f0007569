"""`quarl doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from quarl.cli.options import JsonOption
from quarl.cli.progress import say
from quarl.cli.result import print_result


def doctor(
    install: Annotated[
        str | None,
        typer.Option(
            "--install", metavar="WHAT", help="Install sb3, tf, atari, firmware or pi-emulator."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is installed, what is missing and what gives it."""
    from quarl.cli import doctor as examiner
    from quarl.cli import show

    if install is not None:
        say(f"installing {install} ...")
    findings = examiner.examine() if install is None else examiner.install(install)
    print_result(
        show.findings_table(findings) if as_json else show.findings_text(findings), as_json
    )
