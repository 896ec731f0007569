"""`quarl ship`."""

from __future__ import annotations

from quarl.cli.options import (
    BoardOption,
    CalibrationOption,
    EnvArgOption,
    EnvOption,
    EpisodesOption,
    HistoryOption,
    JsonOption,
    JunitOption,
    LimitsOption,
    LinkOption,
    MarkdownOption,
    NoHistoryOption,
    NoObsNormOption,
    ObsNormOption,
    OutOption,
    RungOption,
    SarifOption,
    SourceArgument,
    TrustOption,
    WeightsOption,
    board_named,
    check_link,
    env_spec,
    import_options,
    limits_from,
    rung_number,
    weights_named,
)
from quarl.cli.progress import progress_bar, say
from quarl.cli.result import Destinations, conclude


def ship(
    source: SourceArgument,
    out: OutOption,
    calibration: CalibrationOption = None,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    obs_norm: ObsNormOption = None,
    no_obs_norm: NoObsNormOption = False,
    rung: RungOption = "auto",
    weights: WeightsOption = "int8",
    limits: LimitsOption = None,
    episodes: EpisodesOption = None,
    board: BoardOption = None,
    link: LinkOption = None,
    trust: TrustOption = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    sarif: SarifOption = None,
    history: HistoryOption = None,
    no_history: NoHistoryOption = False,
    as_json: JsonOption = False,
) -> None:
    """The whole chain: import, export, profile, parity, gate, report."""
    from quarl import pipeline
    from quarl.baseline import find_baseline
    from quarl.cli import show
    from quarl.cli.show_pi import pi_text
    from quarl.errors import QuarlError
    from quarl.pi.board import LinuxBoard

    number, bits, wanted, target = rung_number(rung), weights_named(weights), limits_from(limits), board_named(board)
    check_link(link, target)
    opened = pipeline.import_source(source, import_options(obs_norm, no_obs_norm), env_spec(env, env_arg), fetching=progress_bar)
    with progress_bar(f"exporting {opened.name}") as progress:
        bundle = pipeline.export(
            opened, out, rung=number, weights=bits, calibration=calibration, limits=wanted, board=target, report=say, progress=progress
        )
    say(f"profiling {opened.name} ...")
    measured = pipeline.profile(bundle)
    on_board = ""
    if isinstance(target, LinuxBoard):
        on_board = pi_text(pipeline.profile_pi(bundle, target, link))
    elif target is not None:
        on_board = show.firmware_text(pipeline.profile_board(bundle, target))
    with progress_bar(f"comparing {opened.name} with its source") as progress:
        pipeline.parity(bundle, episodes=episodes, proof=pipeline.prove(opened, trust=trust), link=link, progress=progress)
    accepted = find_baseline(bundle)
    verdict = pipeline.gate(bundle, baseline=None if accepted is None else accepted.checks)
    try:
        pipeline.write_report(bundle)
    except QuarlError as error:  # a verdict is not lost for want of a picture
        say(f"report.html was not written: {error}")
    if not as_json:
        print(show.bundle_text(bundle))
        print(show.profile_text(measured))
        if on_board:
            print(on_board)
    conclude(verdict, bundle, Destinations(junit, markdown, sarif, history, no_history), as_json)
