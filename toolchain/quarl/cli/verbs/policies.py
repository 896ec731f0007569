"""`quarl policies`."""

from __future__ import annotations

from quarl.cli.options import JsonOption
from quarl.cli.result import print_result


def policies(as_json: JsonOption = False) -> None:
    """List the policies that ship with quarl."""
    from quarl.cli import show_policies
    from quarl.sources.source import list_shipped

    shipped = list_shipped()
    print_result(
        show_policies.shipped_table(shipped) if as_json else show_policies.shipped_text(shipped),
        as_json,
    )
