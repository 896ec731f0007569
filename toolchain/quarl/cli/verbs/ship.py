"""`quarl ship`."""

from __future__ import annotations

from quarl.cli.options import (
    ActivationsOption,
    BoardOption,
    CalibrationOption,
    EnvArgOption,
    EnvOption,
    EpisodesOption,
    HistoryOption,
    InputsOption,
    JsonOption,
    JunitOption,
    LimitsOption,
    LinkOption,
    MarkdownOption,
    NoHistoryOption,
    NoObsNormOption,
    ObsNormOption,
    OutOption,
    PrefixOption,
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
    prefix_named,
    rung_number,
    widths_from,
)
from quarl.cli.progress import progress_bar, say
from quarl.cli.result import Destinations, conclude, put


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
    activations: ActivationsOption = None,
    inputs: InputsOption = None,
    limits: LimitsOption = None,
    episodes: EpisodesOption = None,
    board: BoardOption = None,
    prefix: PrefixOption = "ql_policy",
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
    from quarl.cli import show
    from quarl.cli.show_pi import pi_text
    from quarl.profiles.pi.report import PiProfile

    named = prefix_named(prefix)
    number, bits, wanted, target = (
        rung_number(rung),
        widths_from(weights, activations, inputs),
        limits_from(limits),
        board_named(board),
    )
    check_link(link, target)
    opened = pipeline.import_source(
        source, import_options(obs_norm, no_obs_norm), env_spec(env, env_arg), fetching=progress_bar
    )
    made = pipeline.ship(
        opened,
        out,
        rung=number,
        widths=bits,
        calibration=calibration,
        limits=wanted,
        episodes=episodes,
        board=target,
        prefix=named,
        link=link,
        trust=trust,
        report=say,
        stage=progress_bar,
    )
    if not as_json:
        put(show.bundle_text(made.bundle))
        put(show.profile_text(made.profile))
        if made.on_board is not None:
            put(
                pi_text(made.on_board)
                if isinstance(made.on_board, PiProfile)
                else show.firmware_text(made.on_board)
            )
    conclude(
        made.verdict,
        made.bundle,
        Destinations(junit, markdown, sarif, history, no_history),
        as_json,
    )
