"""`quarl keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.result import print_result


def keygen(
    key: Annotated[
        Path,
        typer.Argument(metavar="KEY", help="File of the secret key; the public one is KEY.pub."),
    ],
) -> None:
    """Make a pair of keys: the secret one for the job that measures, the public one for whoever
    judges.
    """
    from quarl.verdict.attestation.keys import new_key

    public = new_key(key)
    print_result(
        f"{key}: secret, for quarl sign; keep it where only the measuring job can read it\n"
        f"{public}: public, for quarl gate --trusted-key",
        as_json=False,
    )
