"""`quarl profile`."""

from __future__ import annotations

import json

from quarl.cli.options import BoardOption, BundleArgument, JsonOption, board_named
from quarl.cli.progress import say
from quarl.cli.result import print_result


def profile(bundle: BundleArgument, board: BoardOption = None, as_json: JsonOption = False) -> None:
    """Measure latency and memory on this host, fp32 beside int8; with --board count them in the emulated board."""
    from quarl import pipeline
    from quarl.bundle import read_bundle
    from quarl.cli import show

    opened, target = read_bundle(bundle), board_named(board)
    say(f"profiling {opened.manifest.name} ...")
    if target is None:
        measured = pipeline.profile(opened)
        print_result(json.loads(measured.to_json()) if as_json else show.profile_text(measured), as_json)
    else:
        counted = pipeline.profile_board(opened, target)
        print_result(json.loads(counted.to_json()) if as_json else show.firmware_text(counted), as_json)
