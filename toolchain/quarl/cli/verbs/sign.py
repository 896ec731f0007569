"""`quarl sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.options import BundleArgument
from quarl.cli.result import print_result


def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path,
        typer.Option(
            "--key", metavar="KEY", help="Secret Ed25519 key in PEM, readable by you alone."
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="TEXT", help="Who measured; default: the job that the CI names."
        ),
    ] = "",
) -> None:
    """Sign a judged bundle: every file of it, evidence and verdict too, as in-toto attestation."""
    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.verdict.attestation.keys import read_secret_key

    secret = read_secret_key(key)
    path = pipeline.sign(open_bundle(bundle), secret, by)
    print_result(f"{path}: signed by {secret.public.keyid[:16]}", as_json=False)
