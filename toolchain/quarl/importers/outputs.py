"""Which of a network's outputs is the policy: a value head often sits beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from quarl.errors import InputError, QuarlError
from quarl.importers.draft import Draft, Head, output_count
from quarl.importers.options import ImportOptions


def choose_output(
    path: Path, outputs: Mapping[str, Callable[[], Draft]], options: ImportOptions
) -> Draft:
    """Return the draft of the output that is the policy, out of those the file names (a value head
    often sits beside it).

    Raises:
        InputError: none or several of them could be the policy; names them.
        UnsupportedError: the only output cannot be carried over.
    """
    if not outputs:
        raise InputError(f"{path.name}: the network has no output: save the model again")
    if len(outputs) == 1:
        return next(iter(outputs.values()))()
    drafts: dict[str, Draft] = {}
    errors: dict[str, QuarlError] = {}
    for name, read in outputs.items():
        try:
            drafts[name] = read()
        except QuarlError as error:  # another output may still be the policy
            errors[name] = error
    given = options.action_space
    fitting = {
        name: draft
        for name, draft in drafts.items()
        if given is None or output_count(draft) == given.count
    }
    if given is None or len(fitting) > 1:  # of several, the one that picks an action is the policy
        fitting = {
            name: draft for name, draft in fitting.items() if isinstance(draft.nodes[-1].op, Head)
        }
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if len(errors) == len(outputs):
        raise next(iter(errors.values()))
    found = ", ".join(
        f"{name} [{output_count(drafts[name])}]" if name in drafts else f"{name} (not readable)"
        for name in outputs
    )
    if given is None:
        raise InputError(
            f"{path.name}: has several outputs ({found}): add --env ID, whose action space "
            "tells which one is the policy"
        )
    raise InputError(
        f"{path.name}: {len(fitting)} of its outputs ({found}) fit an action of {given.count} "
        "values, exactly one must: "
        "save the model with the policy's output alone"
        + "".join(f". {name}: {error}" for name, error in list(errors.items())[:1])
    )
