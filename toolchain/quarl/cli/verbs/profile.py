"""`quarl profile`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quarl.cli.command import takes
from quarl.cli.options import (
    BoardOption,
    BundleArgument,
    ClockOption,
    FlashOption,
    JsonOption,
    LinkOption,
    TargetWords,
    TrustOption,
    target_named,
)
from quarl.cli.progress import say
from quarl.cli.result import print_result

if TYPE_CHECKING:
    from quarl.bundle.release import Release


ALL = "all"  # instead of a board's name


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """What is measured, and where."""

    bundle: BundleArgument
    board: BoardOption = None
    link: LinkOption = None
    flash: FlashOption = None
    clock_hz: ClockOption = None
    trust: TrustOption = False
    as_json: JsonOption = False

    @property
    def target(self) -> TargetWords:
        """What the words say of a target."""
        return TargetWords(self.board, self.link, self.flash, self.trust, self.clock_hz)


@takes(ProfileOptions)
def profile(options: ProfileOptions) -> None:
    """Measure latency and memory on this host and count them in the bundle's own board, emulated;
    or measure a Raspberry Pi or another board. --board all ranks all boards.
    """
    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.cli.show_profile import board_profile_text, profile_text
    from quarl.profiles.platforms import board_of

    release = open_bundle(options.bundle)
    if options.board == ALL:
        _rank(release, options.as_json)
        return
    target = target_named(options.target, board_of(release))
    say(f"profiling {release.manifest.name} ...")
    if target is None:
        measured = pipeline.profile(release)
        text = profile_text(measured)
        print_result(json.loads(measured.to_json()) if options.as_json else text, options.as_json)
        _profile_own_board(release, quiet=options.as_json)
        return
    on_board = pipeline.profile_board(release, target)
    text = board_profile_text(on_board)
    own = release.manifest.board
    if own != target.board.name:
        say(
            f"{options.bundle} is for {own or 'no board'}: the firmware of {target.board.name} was "
            "written now, and the gate does not judge this profile"
        )
    print_result(json.loads(on_board.to_json()) if options.as_json else text, options.as_json)


def _profile_own_board(release: Release, *, quiet: bool) -> None:
    """Count the figures of the bundle's own board, so that the gate has them; print them unless
    `quiet`. A tool that is missing is named and stops nothing.
    """
    from quarl import pipeline
    from quarl.cli.result import put
    from quarl.cli.show_profile import board_profile_text
    from quarl.errors import ToolMissingError
    from quarl.verdict.assess import own_target

    try:
        target = own_target(release)
        if target is None:
            return
        on_board = pipeline.profile_board(release, target)
    except ToolMissingError as error:
        say(f"{release.manifest.board} was not profiled: {error}")
        return
    if not quiet:
        put(board_profile_text(on_board))


def _rank(release: Release, as_json: bool) -> None:
    from dataclasses import asdict

    from quarl.boards.find import board_roots, read_targets
    from quarl.cli.show_ranking import ranking_text
    from quarl.profiles.ranking import rank_boards

    boards = read_targets(board_roots()).values()
    ranked = rank_boards(release, boards, lambda board: say(f"profiling on {board.name} ..."))
    print_result(list(map(asdict, ranked)) if as_json else ranking_text(ranked), as_json)
