"""`quarl profile`."""

from __future__ import annotations

import json

from quarl.cli.options import (
    BoardOption,
    BundleArgument,
    FlashOption,
    JsonOption,
    LinkOption,
    TargetWords,
    TrustOption,
    target_named,
)
from quarl.cli.progress import say
from quarl.cli.result import print_result


def profile(
    bundle: BundleArgument,
    board: BoardOption = None,
    link: LinkOption = None,
    flash: FlashOption = None,
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure latency and memory on this host, a Raspberry Pi or a board; with --board alone count
    them in the emulated board.
    """
    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.cli.show_profile import board_profile_text, profile_text

    release, target = open_bundle(bundle), target_named(TargetWords(board, link, flash, trust))
    say(f"profiling {release.manifest.name} ...")
    if target is None:
        measured = pipeline.profile(release)
        text = profile_text(measured)
        print_result(json.loads(measured.to_json()) if as_json else text, as_json)
        return
    on_board = pipeline.profile_board(release, target)
    text = board_profile_text(on_board)
    own = release.manifest.board
    if own != target.board.name:
        say(
            f"{bundle} is for {own or 'no board'}: the firmware of {target.board.name} was "
            "written now, and the gate does not judge this profile"
        )
    print_result(json.loads(on_board.to_json()) if as_json else text, as_json)
