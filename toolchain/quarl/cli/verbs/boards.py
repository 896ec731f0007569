"""`quarl boards`."""

from __future__ import annotations

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def boards(as_json: JsonOption = False) -> None:
    """List the boards quarl knows."""
    from quarl.boards import read_boards
    from quarl.cli import show
    from quarl.resources import targets_dir

    known = tuple(read_boards(targets_dir()).values())
    print_result(show.boards_table(known) if as_json else show.boards_text(known), as_json)
