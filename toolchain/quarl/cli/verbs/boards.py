"""`quarl boards`."""

from __future__ import annotations

from dataclasses import asdict

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def boards(as_json: JsonOption = False) -> None:
    """List the boards quarl knows."""
    from quarl.boards.cortex_m import read_boards
    from quarl.boards.linux import read_linux_boards
    from quarl.cli import show
    from quarl.cli.show_pi import pi_boards_text
    from quarl.resources import targets_dir

    known, linux = (
        tuple(read_boards(targets_dir()).values()),
        tuple(read_linux_boards(targets_dir()).values()),
    )
    listed = [*show.boards_table(known), *({"kind": "linux", **asdict(board)} for board in linux)]
    print_result(
        listed if as_json else f"{show.boards_text(known)}\n\n{pi_boards_text(linux)}", as_json
    )
