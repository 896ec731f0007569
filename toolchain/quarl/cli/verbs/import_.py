"""`quarl import`."""

from __future__ import annotations

from quarl.cli.options import (
    EnvArgOption,
    EnvOption,
    JsonOption,
    NoObsNormOption,
    ObsNormOption,
    SourceArgument,
    TrustOption,
    env_spec,
    import_options,
)
from quarl.cli.progress import progress_bar
from quarl.cli.result import print_result


def import_(
    source: SourceArgument,
    obs_norm: ObsNormOption = None,
    no_obs_norm: NoObsNormOption = False,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is in a file: graph, contract, and the proof that it was read right."""
    from quarl import pipeline
    from quarl.cli import show

    opened = pipeline.import_source(
        source, import_options(obs_norm, no_obs_norm), env_spec(env, env_arg), fetching=progress_bar
    )
    proof = pipeline.prove(opened, trust=trust)
    print_result(
        show.source_table(opened, proof) if as_json else show.source_text(opened, proof), as_json
    )
