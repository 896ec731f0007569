"""The verbs: each parses its options, calls one function of the pipeline and shows what came back.

Nothing heavy is imported at the top: `quarl --help` answers at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarl.cli.progress import progress_bar, say

if TYPE_CHECKING:
    from quarl.boards import Board
    from quarl.importers import ImportOptions
    from quarl.lanes import EnvSpec
    from quarl.limits import Limits
    from quarl.verdict import Verdict

app = typer.Typer(
    help="Carry a trained reinforcement-learning policy to a small board in int8, and prove that it still plays.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 pass, 1 the gate says no, 2 bad input or usage, 3 a tool is missing, 4 a device failed.",
)


class Exit(IntEnum):
    """Exit codes of verdicts; errors bring their own."""

    PASS = 0
    GATE_SAYS_NO = 1


SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a shipped policy, or a file of trained weights.")]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by quarl export or quarl ship.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="Folder to write; an older bundle there is replaced.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
EnvOption = Annotated[str | None, typer.Option("--env", metavar="ID", help="Gymnasium environment; module:Id imports its module.")]
EnvArgOption = Annotated[
    list[str] | None, typer.Option("--env-arg", metavar="KEY=VALUE", help="Argument of the environment; the value is JSON or plain text.")
]
ObsNormOption = Annotated[
    Path | None, typer.Option("--obs-norm", metavar="FILE.npz", help="Observation statistics: mean, var, epsilon, clip_obs.")
]
NoObsNormOption = Annotated[bool, typer.Option("--no-obs-norm", help="The policy was trained on raw observations.")]
CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", metavar="FILE.npz", help="Observations the policy meets, as an array `obs`.")
]
RungOption = Annotated[
    str, typer.Option("--rung", metavar="N|auto", help="Rung of the ladder, 0 to 5; auto takes the lowest that keeps the return.")
]
LimitsOption = Annotated[Path | None, typer.Option("--limits", metavar="FILE.toml", help="What the gate asks, a table [gate].")]
TrustOption = Annotated[bool, typer.Option("--trust", help="The file may run code of its own: you made it, or know who did.")]
BoardOption = Annotated[str | None, typer.Option("--board", metavar="NAME", help="Board the firmware is for: quarl boards.")]
EpisodesOption = Annotated[int | None, typer.Option("--episodes", min=2, metavar="N", help="Paired episodes to play.")]


def _version(show: bool) -> None:
    if show:
        import quarl

        print(quarl.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    pass


@app.command()
def policies(as_json: JsonOption = False) -> None:
    """List the policies that ship with quarl."""
    from quarl.cli import show
    from quarl.recipe import list_recipes
    from quarl.resources import models_dir

    recipes = list_recipes(models_dir())
    _print(show.policies_table(recipes) if as_json else show.policies_text(recipes), as_json)


@app.command()
def boards(as_json: JsonOption = False) -> None:
    """List the boards quarl knows."""
    from quarl.boards import read_boards
    from quarl.cli import show
    from quarl.resources import targets_dir

    known = tuple(read_boards(targets_dir()).values())
    _print(show.boards_table(known) if as_json else show.boards_text(known), as_json)


@app.command()
def doctor(
    install: Annotated[str | None, typer.Option("--install", metavar="WHAT", help="Install sb3, tf, atari or firmware with pip.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is installed, what is missing and what gives it."""
    from quarl import doctor as examiner
    from quarl.cli import show

    if install is not None:
        say(f"installing {install} ...")
    findings = examiner.examine() if install is None else examiner.install(install)
    _print(show.findings_table(findings) if as_json else show.findings_text(findings), as_json)


@app.command(name="import")
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

    opened = pipeline.import_source(source, _import_options(obs_norm, no_obs_norm), _env(env, env_arg))
    proof = pipeline.prove(opened, trust=trust or opened.recipe is not None)
    _print(show.source_table(opened, proof) if as_json else show.source_text(opened, proof), as_json)


@app.command()
def export(
    source: SourceArgument,
    out: OutOption,
    calibration: CalibrationOption = None,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    obs_norm: ObsNormOption = None,
    no_obs_norm: NoObsNormOption = False,
    rung: RungOption = "auto",
    limits: LimitsOption = None,
    board: BoardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Quantise a policy and write its bundle: int8 .tflite and .onnx from the same integers."""
    from quarl import pipeline
    from quarl.cli import show
    from quarl.quant_report import QuantReport

    number, wanted, target = _rung(rung), _limits(limits), _board(board)
    opened = pipeline.import_source(source, _import_options(obs_norm, no_obs_norm), _env(env, env_arg))
    with progress_bar(f"exporting {opened.name}") as progress:
        bundle = pipeline.export(
            opened, out, rung=number, calibration=calibration, limits=wanted, board=target, report=say, progress=progress
        )
    if as_json:
        _print(show.bundle_table(bundle), as_json)
        return
    print(show.bundle_text(bundle))
    if bundle.has_source:
        print(show.quantization_text(QuantReport.from_json(bundle.read(pipeline.REPORT).decode())))


@app.command()
def profile(bundle: BundleArgument, board: BoardOption = None, as_json: JsonOption = False) -> None:
    """Measure latency and memory on this host, fp32 beside int8; with --board count them in the emulated board."""
    from quarl import pipeline
    from quarl.bundle import read_bundle
    from quarl.cli import show

    opened, target = read_bundle(bundle), _board(board)
    say(f"profiling {opened.manifest.name} ...")
    if target is None:
        measured = pipeline.profile(opened)
        _print(json.loads(measured.to_json()) if as_json else show.profile_text(measured), as_json)
    else:
        counted = pipeline.profile_board(opened, target)
        _print(json.loads(counted.to_json()) if as_json else show.firmware_text(counted), as_json)


@app.command()
def parity(
    bundle: BundleArgument,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    episodes: EpisodesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Gather the evidence: equality of backends, agreement, paired episodes of source and int8."""
    from quarl import pipeline
    from quarl.bundle import read_bundle
    from quarl.cli import show

    opened = read_bundle(bundle)
    with progress_bar(f"comparing {opened.manifest.name} with its source") as progress:
        evidence = pipeline.parity(opened, env=_env(env, env_arg), episodes=episodes, progress=progress)
    _print(json.loads(evidence.to_json()) if as_json else show.evidence_text(evidence, opened), as_json)


@app.command()
def gate(
    bundle: BundleArgument,
    limits: LimitsOption = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdict as JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the verdict as Markdown.")] = None,
    baseline: Annotated[Path | None, typer.Option("--baseline", metavar="FILE", help="A verdict.json not to fall behind.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle against its limits; exit code 1 when it must not be released."""
    from quarl import pipeline
    from quarl.archives import read_file
    from quarl.bundle import read_bundle

    opened = read_bundle(bundle)
    earlier = None if baseline is None else read_file(baseline).decode(errors="replace")
    verdict = pipeline.gate(opened, limits=_limits(limits, opened), baseline=earlier)
    _conclude(verdict, junit, markdown, as_json)


@app.command()
def ship(
    source: SourceArgument,
    out: OutOption,
    calibration: CalibrationOption = None,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    obs_norm: ObsNormOption = None,
    no_obs_norm: NoObsNormOption = False,
    rung: RungOption = "auto",
    limits: LimitsOption = None,
    episodes: EpisodesOption = None,
    board: BoardOption = None,
    trust: TrustOption = False,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdict as JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the verdict as Markdown.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The whole chain: import, export, profile, parity, gate."""
    from quarl import pipeline
    from quarl.cli import show

    number, wanted, target = _rung(rung), _limits(limits), _board(board)
    opened = pipeline.import_source(source, _import_options(obs_norm, no_obs_norm), _env(env, env_arg))
    with progress_bar(f"exporting {opened.name}") as progress:
        bundle = pipeline.export(
            opened, out, rung=number, calibration=calibration, limits=wanted, board=target, report=say, progress=progress
        )
    say(f"profiling {opened.name} ...")
    measured = pipeline.profile(bundle)
    counted = None if target is None else pipeline.profile_board(bundle, target)
    with progress_bar(f"comparing {opened.name} with its source") as progress:
        pipeline.parity(bundle, episodes=episodes, proof=pipeline.prove(opened, trust=trust), progress=progress)
    verdict = pipeline.gate(bundle)
    if not as_json:
        print(show.bundle_text(bundle))
        print(show.profile_text(measured))
        if counted is not None:
            print(show.firmware_text(counted))
    _conclude(verdict, junit, markdown, as_json)


@app.command()
def train(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Name of a shipped policy, or a folder with a recipe.toml.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Default: RUNS/POLICY/policy/POLICY.")] = None,
    runs: Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where checkpoints and curves are kept.")] = Path("runs"),
    quick: Annotated[bool, typer.Option("--quick", help="Train for quick_steps only, along the same path.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a policy again from its recipe."""
    from quarl.cli import show
    from quarl.sources import recipe_folder
    from quarl.train import train as train_policy

    folder = recipe_folder(policy)
    target = out or runs / folder.name / "policy" / folder.name
    recipe = train_policy(folder, target, runs=runs, quick=quick, resume=resume, progress=lambda at: say(show.training_line(at)))
    _print(show.policies_table([recipe])[0] if as_json else f"{target}: {show.score_text(recipe.score)}", as_json)


@app.command(name="convert-normalizer")
def convert_normalizer(
    pickle: Annotated[Path, typer.Argument(metavar="PICKLE", help="File written by VecNormalize.save.")],
    out: Annotated[Path, typer.Argument(metavar="FILE.npz", help="File for --obs-norm.")],
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a VecNormalize pickle into plain numbers; loading a pickle runs what it says, so --trust is needed."""
    from quarl.obs_norm import convert_vecnormalize

    normalizer = convert_vecnormalize(pickle, out, trust)
    count = len(normalizer.mean)
    _print({"file": str(out), "features": count} if as_json else f"{out}: statistics of {count} features", as_json)


def _conclude(verdict: Verdict, junit: Path | None, markdown: Path | None, as_json: bool) -> None:
    from quarl.bundle import write_whole
    from quarl.cli import show
    from quarl.outputs import OUTPUTS
    from quarl.outputs.markdown import append_summary

    for kind, path in (("junit", junit), ("markdown", markdown)):
        if path is not None:
            write_whole(path, OUTPUTS[kind](verdict).encode())
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        append_summary(verdict, Path(summary))
    _print(json.loads(OUTPUTS["json"](verdict)) if as_json else show.verdict_text(verdict), as_json)
    raise typer.Exit(Exit.PASS if verdict.passed else Exit.GATE_SAYS_NO)


def _print(result: Any, as_json: bool) -> None:
    print(json.dumps(result, indent=2, sort_keys=True) if as_json else result)


def _import_options(obs_norm: Path | None, no_obs_norm: bool) -> ImportOptions:
    from quarl.importers import ImportOptions
    from quarl.obs_norm import read_normalizer

    return ImportOptions(normalizer=None if obs_norm is None else read_normalizer(obs_norm), no_normalizer=no_obs_norm)


def _env(env_id: str | None, arguments: Sequence[str] | None) -> EnvSpec | None:
    from quarl.errors import InputError
    from quarl.lanes import EnvSpec

    if env_id is None:
        if arguments:
            raise InputError("--env-arg needs --env: name the environment the argument is for")
        return None
    kwargs: dict[str, Any] = {}
    for argument in arguments or ():
        key, equals, value = argument.partition("=")
        if not key or not equals:
            raise InputError(f"--env-arg {argument}: must be KEY=VALUE, for example actions=discrete")
        try:
            kwargs[key] = json.loads(value)
        except ValueError:
            kwargs[key] = value
    return EnvSpec(env_id, kwargs)


def _rung(text: str) -> int | None:
    from quarl.errors import InputError
    from quarl.ladder import rung_numbered

    if text == "auto":
        return None
    if not text.isdecimal():
        raise InputError(f"--rung {text}: must be auto or the number of a rung, 0 to 5")
    return rung_numbered(int(text)).number


def _board(name: str | None) -> Board | None:
    if name is None:
        return None
    from quarl.boards import find_board
    from quarl.resources import targets_dir

    return find_board(name, targets_dir())


def _limits(path: Path | None, bundle: Any = None) -> Limits | None:
    if path is None:
        return None
    from quarl.archives import read_file
    from quarl.limits import DEFAULT_LIMITS, read_limits
    from quarl.pipeline import limits_of

    base = DEFAULT_LIMITS if bundle is None else limits_of(bundle)
    return read_limits(read_file(path).decode(errors="replace"), str(path), base)
