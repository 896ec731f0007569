"""The verbs of `quarl --help` in groups, each with its whole first sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typer.core import TyperGroup

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Every day": ("ship", "show", "play", "compare", "report", "history"),
    "Step by step": ("import", "export", "profile", "parity", "gate", "baseline"),
    "Trust": ("keygen", "sign", "verify"),
    "Boards": ("boards", "board", "provision"),
    "Training and studies": ("train", "finetune", "study", "actorq", "actorq-page"),
    "This installation": ("doctor", "policies", "convert-normalizer"),
}
"""Title -> verbs, in reading order. A verb that is in none stands under OTHERS."""
OTHERS = "Others"


class GroupedVerbs(TyperGroup):
    """A command whose help lists its verbs in groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs, as click's own method does, in groups and with whole sentences."""
        known = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        listed = {name for names in GROUPS.values() for name in names}
        rest = tuple(name for name in known if name not in listed)
        for title, names in {**GROUPS, OTHERS: rest}.items():
            rows = [
                (name, _first_sentence(command))
                for name in names
                if (command := known.get(name)) is not None and not command.hidden
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _first_sentence(command: Any) -> str:
    """Return the first sentence of a verb's help on one line."""
    text = " ".join((command.help or "").split("\n\n")[0].split())
    first, stop, _ = text.partition(". ")
    return f"{first}." if stop else text
