"""`quarl boards`."""

from __future__ import annotations

from dataclasses import asdict

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def boards(as_json: JsonOption = False) -> None:
    """List the boards quarl knows."""
    from quarl.boards.cortex_m import Board
    from quarl.boards.find import board_roots, read_targets
    from quarl.boards.linux import LinuxBoard
    from quarl.cli import show
    from quarl.cli.show_pi import pi_boards_text

    boards = read_targets(board_roots()).values()
    known = tuple(board for board in boards if isinstance(board, Board))
    linux = tuple(board for board in boards if isinstance(board, LinuxBoard))
    listed = [*show.boards_table(known), *map(asdict, linux)]
    print_result(
        listed if as_json else f"{show.boards_text(known)}\n\n{pi_boards_text(linux)}", as_json
    )
