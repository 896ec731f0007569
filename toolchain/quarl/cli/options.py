"""Options that several verbs share, and what their texts mean.

Goes in: the words of a command line. Comes out: values of the pipeline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarl.cli.completion import boards_like, policies_like

if TYPE_CHECKING:
    from quarl.boards.linux import AnyBoard
    from quarl.bundle.limits import Limits
    from quarl.importers import ImportOptions
    from quarl.links.target import Target
    from quarl.quantize.widths import Widths
    from quarl.verdict.limits import GateFile

MOST_NAME = 200
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Name of a shipped policy, or a file of trained weights.",
        autocompletion=policies_like,
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder written by quarl export or quarl ship.")
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out", metavar="BUNDLE", help="Folder to write; an older bundle there is replaced."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text.")
]
ObsNormOption = Annotated[
    Path | None,
    typer.Option(
        "--obs-norm",
        metavar="FILE",
        help="Observation statistics: VecNormalize's pickle, or .npz: mean, var, epsilon, "
        "clip_obs.",
    ),
]
ActionOption = Annotated[
    str | None,
    typer.Option(
        "--action",
        metavar="SPACE",
        help="What the outputs mean: box:12, box:2:-1..1, discrete:4, multidiscrete:3,3,2, "
        "multibinary:4.",
    ),
]
ObservationOption = Annotated[
    str | None,
    typer.Option(
        "--observation", metavar="SPACE", help="What it observes: vector:48, image:84x84x4."
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="NAME",
        help="The output that is the policy: NAME; NAME,NAME to join; NAME:12 for columns.",
    ),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(
        "--activation",
        metavar="NAME",
        help="Between the layers of a bare state dict, which does not say it: elu, tanh, relu; "
        "relu,tanh names the one after the last layer too.",
    ),
]
StepHzOption = Annotated[
    float | None,
    typer.Option(
        "--step-hz",
        metavar="N",
        help="Decisions a second; default: what the recipe, a file beside the policy, or "
        "render_fps of the environment says.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="TEXT", help="What the policy is called; default: its file or recipe."
    ),
]
ContractOption = Annotated[
    Path | None,
    typer.Option("--contract", metavar="FILE.toml", help="Names, units, bounds, rate, normaliser."),
]
NoObsNormOption = Annotated[
    bool, typer.Option("--no-obs-norm", help="The policy was trained on raw observations.")
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE|minari:ID|lerobot:DIR",
        help="Observations the policy meets: .npz with an array `obs`, .npy, .csv, or a data set.",
    ),
]
RungOption = Annotated[
    str,
    typer.Option(
        "--rung",
        metavar="N|auto",
        help="Rung of the ladder, 0 to 5; auto takes the most faithful integers within --cost that "
        "keep the return.",
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="int2..int8[-all]",
        help="Bits of the weights of all dense and convolution layers but the first and the last; "
        "-all takes those too.",
    ),
]
ActivationsOption = Annotated[
    int | None,
    typer.Option(
        "--activations",
        metavar="BITS",
        help="Bits of hidden activations, 2 to 16; default: as the rung says. Above 8 as many as "
        "the arithmetic allows.",
    ),
]
InputsOption = Annotated[
    int | None,
    typer.Option(
        "--inputs",
        metavar="BITS",
        help="Bits of each observation feature, 3 to 16; default: as the rung says.",
    ),
]
LimitsOption = Annotated[
    Path | None,
    typer.Option("--limits", metavar="FILE.toml", help="What the gate asks, a table [gate]."),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="The file may run code of its own: you made it, or know who did."),
]
BoardOption = Annotated[
    str | None,
    typer.Option(
        "--board",
        metavar="NAME|FILE",
        help="Board the policy is for: a name of quarl boards, or a board.toml.",
        autocompletion=boards_like,
    ),
]
LinkOption = Annotated[
    str | None,
    typer.Option(
        "--link",
        metavar="LINK",
        help="Way to the board. A Raspberry Pi: emulated (default), ssh:USER@HOST, local. "
        "Others: unicorn, qemu-system, serial:PORT, probe, rtt.",
    ),
]
ClockOption = Annotated[
    int | None,
    typer.Option(
        "--clock-hz",
        min=1,
        metavar="N",
        help="The core's clock while a real board is measured, where it is not that after reset.",
    ),
]
FlashOption = Annotated[
    str | None,
    typer.Option(
        "--flash",
        metavar="pyocd|openocd",
        help="Write the firmware to the board first; with --link serial:PORT.",
    ),
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="The baseline, or an older verdict.json; else BUNDLE.baseline.json.",
    ),
]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdict as JUnit XML.")
]
MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Write the verdict as Markdown.")
]
SarifOption = Annotated[
    Path | None, typer.Option("--sarif", metavar="FILE", help="Write the verdict as SARIF 2.1.0.")
]
HistoryOption = Annotated[
    Path | None,
    typer.Option(
        "--history",
        metavar="FILE",
        envvar="QUARL_HISTORY",
        help="Where runs are kept; default: your data folder.",
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show figures without a limit too.")
]
RunOption = Annotated[
    str,
    typer.Option(
        "--run-id",
        metavar="TEXT",
        help="Stands in verdict.json as `run`: a CI knows its own verdict by it.",
    ),
]
NoHistoryOption = Annotated[bool, typer.Option("--no-history", help="Keep no record of this run.")]


def import_options(
    obs_norm: Path | None, no_obs_norm: bool, stated: StatedWords | None = None
) -> ImportOptions:
    """Return what the importer is told that the policy's file does not say."""
    from quarl.importers import ImportOptions
    from quarl.sources.contract_file import with_contract_file
    from quarl.sources.normalizer_file import read_normalizer
    from quarl.sources.spaces import action_from, observation_from

    words = stated or StatedWords()
    options = ImportOptions(
        normalizer=None if obs_norm is None else read_normalizer(obs_norm),
        no_normalizer=no_obs_norm,
        action_space=None if words.action is None else action_from(words.action, "--action"),
        observation=None
        if words.observation is None
        else observation_from(words.observation, "--observation"),
        output=words.output,
        activation=words.activation,
        step_hz=_rate(words.step_hz),
        step_hz_by="the recipe" if words.step_hz is None else "--step-hz",
        action_by=f"--action {words.action}",
        observation_by=f"--observation {words.observation}",
        normalizer_by="" if obs_norm is None else f"--obs-norm {obs_norm.name}",
    )
    return options if words.contract is None else with_contract_file(options, words.contract)


def _rate(step_hz: float | None) -> float | None:
    from quarl.errors import InputError

    if step_hz is not None and not (math.isfinite(step_hz) and step_hz > 0):
        raise InputError(f"--step-hz {step_hz:g}: must be a number above 0, decisions a second")
    return step_hz


def name_given(name: str | None) -> str | None:
    """Return the name that a bundle is given; None: its source's.

    Raises:
        InputError: a name that cannot be shown or be part of a path.
    """
    from quarl.errors import InputError
    from quarl.files.text import shortened

    if name is None or (
        0 < len(name) <= MOST_NAME and name.isprintable() and not set(name) & {"/", "\\"}
    ):
        return name
    raise InputError(
        f"--name {shortened(name)}: must have 1 to {MOST_NAME} printable characters and no slash"
    )


@dataclass(frozen=True, slots=True)
class StatedWords:
    """What the command line states of a policy that its file does not say."""

    action: str | None = None
    observation: str | None = None
    output: str | None = None
    contract: Path | None = None
    activation: str | None = None
    step_hz: float | None = None


def rung_number(text: str) -> int | None:
    """Return the rung the option names; None stands for auto.

    Raises:
        InputError: no such rung.
    """
    from quarl.errors import InputError
    from quarl.quantize.ladder import rung_numbered

    if text == "auto":
        return None
    if not text.isdecimal():
        raise InputError(f"--rung {text}: must be auto or the number of a rung, 0 to 5")
    return rung_numbered(int(text)).number


def widths_from(weights: str, activations: int | None, inputs: int | None) -> Widths:
    """Return the widths the options name.

    Raises:
        InputError: no such weights, or bits out of range.
    """
    from quarl.quantize.widths import widths_named

    return replace(widths_named(weights), activations=activations, inputs=inputs)


def board_named(name: str | None) -> AnyBoard | None:
    """Return the board of that name, or None for none."""
    if name is None:
        return None
    from quarl.boards.find import board_roots, find_target

    return find_target(name, board_roots())


def limits_from(path: Path | None) -> Limits | None:
    """Return what a release is exported with, of a file on top of the defaults; None without a
    file.
    """
    given = gate_file_from(path)
    return None if given is None else given.limits


def gate_file_from(path: Path | None) -> GateFile | None:
    """Return what a release is judged by; None without a file: its own limits."""
    if path is None:
        return None
    from quarl.files.open import MAX_DOCUMENT_BYTES, read_file
    from quarl.verdict.limits import read_gate_file

    return read_gate_file(read_file(path, MAX_DOCUMENT_BYTES).decode(errors="replace"), str(path))


def target_named(words: TargetWords, own: AnyBoard | None = None) -> Target | None:
    """Return the board, the way to it and its flashing tool; None where no board is named.

    Args:
        own: the board of a bundle, which its name means before any other.
    Raises:
        InputError: a link or a tool without a board, or one that the board does not have.
    """
    from quarl.errors import InputError
    from quarl.profiles.platforms import target_of

    board = own if own is not None and words.board == own.name else board_named(words.board)
    if board is not None:
        return target_of(board, words.link, words.flash, clock_hz=words.clock_hz, trust=words.trust)
    for option, value in (("--link", words.link), ("--flash", words.flash)):
        if value is not None:
            raise InputError(
                f"{option} {value}: no board is named: give --board, quarl boards lists them"
            )
    return None


@dataclass(frozen=True, slots=True)
class TargetWords:
    """What the command line says of a target."""

    board: str | None
    link: str | None = None
    flash: str | None = None
    trust: bool = False
    clock_hz: int | None = None
