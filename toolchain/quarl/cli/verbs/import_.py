"""`quarl import`."""

from __future__ import annotations

from dataclasses import dataclass

from quarl.cli.command import takes
from quarl.cli.option_groups import SourceOptions
from quarl.cli.options import JsonOption, TrustOption
from quarl.cli.progress import TERMINAL
from quarl.cli.result import print_result


@dataclass(frozen=True, kw_only=True)
class ImportOptions(SourceOptions):
    """What is shown of it."""

    trust: TrustOption = False
    as_json: JsonOption = False


@takes(ImportOptions)
def import_(options: ImportOptions) -> None:
    """Show what is in a file: graph, contract, and the proof that it was read right."""
    from quarl.cli import show
    from quarl.sources.proof import prove

    source = options.open(TERMINAL.stage)
    proof = prove(source, trust=options.trust)
    table = show.source_table(source, proof) if options.as_json else show.source_text(source, proof)
    print_result(table, options.as_json)
