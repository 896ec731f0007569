"""`quarl boards`."""

from __future__ import annotations

from dataclasses import asdict

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def boards(as_json: JsonOption = False) -> None:
    """List the boards quarl knows."""
    from quarl.boards.find import board_roots, read_targets
    from quarl.cli.show_boards import boards_text

    boards = tuple(read_targets(board_roots()).values())
    print_result(list(map(asdict, boards)) if as_json else boards_text(boards), as_json)
