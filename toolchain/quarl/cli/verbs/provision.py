"""`quarl provision`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.options import JsonOption
from quarl.cli.progress import say
from quarl.cli.result import print_result


def provision(
    link: Annotated[
        str, typer.Argument(metavar="ssh:USER@HOST", help="The Raspberry Pi, as ssh knows it.")
    ],
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels",
            metavar="FOLDER",
            help="Wheels for it; default: the locked ones, downloaded by pip here.",
        ),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime", metavar="SET", help="litert (with ONNX Runtime), or tflite-runtime."
        ),
    ] = "litert",
    as_json: JsonOption = False,
) -> None:
    """Bring the runtimes to a Raspberry Pi over SSH, into an environment of their own; the Pi needs
    no network.
    """
    from quarl.errors import InputError
    from quarl.links.provision import provision as bring
    from quarl.links.ssh import PREFIX, SshPi
    from quarl.pi.wheels import wheel_set

    if not link.startswith(PREFIX):
        raise InputError(
            f"provision {link}: must be ssh:USER@HOST, or ssh:NAME of a Host in your SSH "
            "configuration"
        )
    say(f"bringing the runtimes to {link} ...")
    brought = bring(SshPi(link.removeprefix(PREFIX)), wheels, wheel_set(runtime))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(brought.runtimes.items()))
    print_result(
        asdict(brought) if as_json else f"{link}: {brought.target} now has {versions}", as_json
    )
