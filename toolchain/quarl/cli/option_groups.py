"""The options of a verb as one value, and the pipeline's values that they stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from quarl.cli.c_options import PackageOption, PrefixOption, packages_named, prefix_named
from quarl.cli.choice_options import CostOption, ExplainOption
from quarl.cli.env_options import EnvOptions
from quarl.cli.episodes import BudgetOption, EpisodesOption
from quarl.cli.film_option import FilmOption
from quarl.cli.options import (
    ActionOption,
    ActivationOption,
    ActivationsOption,
    BoardOption,
    CalibrationOption,
    ContractOption,
    HistoryOption,
    InputsOption,
    JsonOption,
    JunitOption,
    LimitsOption,
    LinkOption,
    MarkdownOption,
    NameOption,
    NoHistoryOption,
    NoObsNormOption,
    ObservationOption,
    ObsNormOption,
    OutOption,
    OutputOption,
    RungOption,
    RunOption,
    SarifOption,
    SourceArgument,
    StatedWords,
    StepHzOption,
    TrustOption,
    VerboseOption,
    WeightsOption,
    board_named,
    import_options,
    limits_from,
    name_given,
    rung_number,
    widths_from,
)
from quarl.cli.track_option import TrackOption
from quarl.cli.workers_options import WorkersOptions

if TYPE_CHECKING:
    from quarl.exporter.export import ExportRequest
    from quarl.sources.source import Source
    from quarl.workers.progress import Stage

FinetuneOption = Annotated[
    float | None,
    typer.Option(
        "--finetune",
        metavar="MINUTES",
        help="Where no rung keeps the return, integers may learn for so long; needs --rung auto.",
    ),
]

HalfOption = Annotated[
    bool,
    typer.Option(
        "--fp16",
        help="Write fp16/model.tflite and .onnx too: float arithmetic, parameters of 16 bits, "
        "half the size; for hosts and Pis.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class SourceOptions(EnvOptions):
    """Which policy, and what its file does not say."""

    source: SourceArgument
    obs_norm: ObsNormOption = None
    no_obs_norm: NoObsNormOption = False
    action: ActionOption = None
    observation: ObservationOption = None
    output: OutputOption = None
    activation: ActivationOption = None
    contract: ContractOption = None
    step_hz: StepHzOption = None
    name: NameOption = None

    def open(self, fetching: Stage) -> Source:
        """Return the imported policy; errors as `quarl.pipeline.import_source`."""
        from quarl.pipeline import import_source

        stated = StatedWords(
            self.action,
            self.observation,
            self.output,
            self.contract,
            self.activation,
            self.step_hz,
        )
        name = name_given(self.name)
        options = import_options(self.obs_norm, self.no_obs_norm, stated)
        source = import_source(self.source, options, self.env_spec(), fetching=fetching)
        return source if name is None else replace(source, given_name=name)


@dataclass(frozen=True, kw_only=True)
class BundleOptions(WorkersOptions, SourceOptions):
    """How it becomes a bundle, whoever makes the integers."""

    out: OutOption
    calibration: CalibrationOption = None
    weights: WeightsOption = "int8"
    activations: ActivationsOption = None
    inputs: InputsOption = None
    limits: LimitsOption = None
    board: BoardOption = None
    prefix: PrefixOption = "ql_policy"
    package: PackageOption = None
    fp16: HalfOption = False
    as_json: JsonOption = False

    def request(self) -> ExportRequest:
        """Return the request, checked before any work.

        Raises:
            InputError: no such weights, limits or board.
        """
        from quarl.exporter.export import ExportRequest

        return ExportRequest(
            widths=widths_from(self.weights, self.activations, self.inputs),
            calibration=self.calibration,
            limits=limits_from(self.limits),
            board=board_named(self.board),
            prefix=prefix_named(self.prefix),
            packages=packages_named(self.package or ()),
            half=self.fp16,
        )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(BundleOptions):
    """Which rung of the ladder makes the integers, and whether training may."""

    rung: RungOption = "auto"
    finetune: FinetuneOption = None
    cost: CostOption = None
    explain: ExplainOption = False

    def request(self) -> ExportRequest:
        """Return the request, checked before any work.

        Raises:
            InputError: no such rung, weights, limits or board, or no time to learn in.
        """
        from quarl.finetune.assignment import Assignment

        request = replace(super().request(), rung=rung_number(self.rung), cost=self.cost)
        if self.finetune is None:
            return request
        return replace(request, finetune=Assignment(request.widths, self.finetune))


@dataclass(frozen=True, kw_only=True)
class VerdictOptions:
    """Where a verdict goes besides the terminal and the bundle."""

    junit: JunitOption = None
    markdown: MarkdownOption = None
    sarif: SarifOption = None
    history: HistoryOption = None
    no_history: NoHistoryOption = False
    track: TrackOption = None
    verbose: VerboseOption = False
    run_id: RunOption = ""


@dataclass(frozen=True, kw_only=True)
class ShipOptions(ExportOptions, VerdictOptions):
    """The whole chain."""

    episodes: EpisodesOption = None
    budget: BudgetOption = None
    link: LinkOption = None
    trust: TrustOption = False
    film: FilmOption = False
