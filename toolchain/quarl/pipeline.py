"""The chain: every verb as one function, in the order of travel.

    import_source -> export -> profile -> parity -> gate -> report      ship does all of them
Each takes values and returns the next value. Nothing here prints, decides or measures by itself.
A function is imported when it is first asked for: an export plays nothing and judges nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quarl.graph.env_spec import EnvSpec
from quarl.importers import ImportOptions
from quarl.sources.source import Source, open_source
from quarl.workers.progress import Stage, quietly

if TYPE_CHECKING:
    from quarl.exporter.export import export_policy as export
    from quarl.exporter.export import finetune_policy as finetune
    from quarl.exporter.reproduce import reproduce as verify
    from quarl.exporter.shipping import ship_release as ship
    from quarl.profiles.measure import measure_board as profile_board
    from quarl.profiles.measure import measure_host as profile
    from quarl.reports.writing import write_report as report
    from quarl.verdict.assess import gather as parity
    from quarl.verdict.assess import judge_release as gate
    from quarl.verdict.attestation.sign import sign_release as sign

__all__ = [
    "export",
    "finetune",
    "gate",
    "import_source",
    "parity",
    "profile",
    "profile_board",
    "report",
    "ship",
    "sign",
    "verify",
]

_FUNCTIONS = {
    "export": ("quarl.exporter.export", "export_policy"),
    "finetune": ("quarl.exporter.export", "finetune_policy"),
    "profile": ("quarl.profiles.measure", "measure_host"),
    "profile_board": ("quarl.profiles.measure", "measure_board"),
    "parity": ("quarl.verdict.assess", "gather"),
    "gate": ("quarl.verdict.assess", "judge_release"),
    "report": ("quarl.reports.writing", "write_report"),
    "ship": ("quarl.exporter.shipping", "ship_release"),
    "sign": ("quarl.verdict.attestation.sign", "sign_release"),
    "verify": ("quarl.exporter.reproduce", "reproduce"),
}


def __getattr__(name: str) -> Any:
    """Return a function of the chain."""
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _FUNCTIONS[name]
    return getattr(import_module(module), function)


def import_source(
    source: str,
    options: ImportOptions | None = None,
    env: EnvSpec | None = None,
    *,
    fetching: Stage = quietly,
) -> Source:
    """Return the policy that `source` names: a shipped one, a recipe's folder, or a file."""
    opened = open_source(source, options or ImportOptions(), env, fetching)
    if opened.env is not None:
        from quarl.rollouts.first_steps import check_first_steps

        check_first_steps(opened.env, opened.policy.contract)
    return opened
