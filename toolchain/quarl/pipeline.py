"""The chain: every verb as one function, in the order of travel.

    import_source -> export -> profile -> parity -> gate -> report      ship does all of them
Each takes values and returns the next value. Nothing here prints, decides or measures by itself.
"""

from __future__ import annotations

from quarl.exporter.export import (
    export_policy,
    finetune_policy,
)
from quarl.exporter.reproduce import reproduce
from quarl.exporter.shipping import ship_release
from quarl.graph.env_spec import EnvSpec
from quarl.importers import ImportOptions
from quarl.profiles.measure import measure_board, measure_host
from quarl.reports.writing import write_report
from quarl.rollouts.first_steps import check_first_steps
from quarl.sources.source import Source, open_source
from quarl.verdict.assess import (
    gather,
    judge_release,
)
from quarl.verdict.attestation.sign import sign_release
from quarl.workers.progress import Stage, quietly


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
        check_first_steps(opened.env, opened.policy.contract)
    return opened


export = export_policy
finetune = finetune_policy
profile = measure_host
profile_board = measure_board
parity = gather
gate = judge_release
report = write_report
ship = ship_release
sign = sign_release
verify = reproduce
