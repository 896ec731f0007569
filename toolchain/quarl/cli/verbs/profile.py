"""`quarl profile`."""

from __future__ import annotations

import json

from quarl.cli.options import (
    BoardOption,
    BundleArgument,
    FlashOption,
    JsonOption,
    LinkOption,
    board_named,
    check_link,
)
from quarl.cli.progress import say
from quarl.cli.result import print_result


def profile(
    bundle: BundleArgument,
    board: BoardOption = None,
    link: LinkOption = None,
    flash: FlashOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency and memory on this host, a Raspberry Pi or a board; with --board alone count
    them in the emulated board.
    """
    from quarl import pipeline
    from quarl.boards.linux import LinuxBoard
    from quarl.bundle.bundle import read_bundle
    from quarl.cli import show
    from quarl.cli.show_pi import pi_text
    from quarl.profiles.board_link import is_serial

    opened, target = read_bundle(bundle), board_named(board)
    check_link(link, target, flash)
    say(f"profiling {opened.manifest.name} ...")
    if target is None:
        measured = pipeline.profile(opened)
        print_result(
            json.loads(measured.to_json()) if as_json else show.profile_text(measured), as_json
        )
    elif isinstance(target, LinuxBoard):
        found = pipeline.profile_pi(opened, target, link)
        print_result(json.loads(found.to_json()) if as_json else pi_text(found), as_json)
    elif is_serial(link):
        asked = pipeline.profile_device(opened, target, link or "", flash)
        print_result(json.loads(asked.to_json()) if as_json else show.device_text(asked), as_json)
    else:
        counted = pipeline.profile_board(opened, target, link)
        print_result(
            json.loads(counted.to_json()) if as_json else show.firmware_text(counted), as_json
        )
