"""`quarl export`."""

from __future__ import annotations

from quarl.cli.options import (
    ActivationsOption,
    BoardOption,
    CalibrationOption,
    EnvArgOption,
    EnvOption,
    InputsOption,
    JsonOption,
    LimitsOption,
    NoObsNormOption,
    ObsNormOption,
    OutOption,
    PrefixOption,
    RungOption,
    SourceArgument,
    WeightsOption,
    board_named,
    env_spec,
    import_options,
    limits_from,
    prefix_named,
    rung_number,
    widths_from,
)
from quarl.cli.progress import progress_bar, say
from quarl.cli.result import print_result, put


def export(
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
    board: BoardOption = None,
    prefix: PrefixOption = "ql_policy",
    as_json: JsonOption = False,
) -> None:
    """Quantise a policy and write its bundle: int8 .tflite and .onnx from the same integers."""
    from quarl import pipeline
    from quarl.bundle.bundle import QUANTIZATION
    from quarl.cli import show
    from quarl.quantize.error_report import QuantReport

    named = prefix_named(prefix)
    number, bits, wanted, target = (
        rung_number(rung),
        widths_from(weights, activations, inputs),
        limits_from(limits),
        board_named(board),
    )
    opened = pipeline.import_source(
        source, import_options(obs_norm, no_obs_norm), env_spec(env, env_arg), fetching=progress_bar
    )
    with progress_bar(f"exporting {opened.name}") as progress:
        bundle = pipeline.export(
            opened,
            out,
            rung=number,
            widths=bits,
            calibration=calibration,
            limits=wanted,
            board=target,
            prefix=named,
            report=say,
            progress=progress,
        )
    if as_json:
        print_result(show.bundle_table(bundle), as_json)
        return
    put(show.bundle_text(bundle))
    if bundle.has_source:
        put(show.quantization_text(QuantReport.from_json(bundle.read(QUANTIZATION).decode())))
