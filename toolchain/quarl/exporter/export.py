"""Export: a policy becomes a bundle, on the rung that keeps its return.

In: a `Source` and a request. Out: a `Release`, and the folder it was written to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quarl.boards.find import encode_board
from quarl.boards.linux import AnyBoard
from quarl.bundle.example import Example, example_of
from quarl.bundle.limits import Limits
from quarl.bundle.manifest import (
    BOARD,
    CONTRACT,
    EXAMPLE,
    FIRMWARE_FOLDER,
    HALF_FOLDER,
    MANIFEST,
    PACKAGES_FOLDER,
    POLICY,
    QUANTIZATION,
    SOURCE,
    Manifest,
    Origin,
    tool_versions,
)
from quarl.bundle.policy_file import policy_bytes, quant_policy_bytes
from quarl.bundle.release import Release, new_release
from quarl.bundle.rung_result import RungResult
from quarl.bundle.writing import check_target, write_bundle
from quarl.emitters import EMITTERS, HALF_EMITTERS
from quarl.errors import InputError, ToolMissingError
from quarl.exporter.choose_rung import (
    NothingToChooseError,
    choose_rung,
    fixed_rung,
    trained_rung,
)
from quarl.exporter.weighing import Choice, ceilings_of
from quarl.files.digests import digests
from quarl.finetune.assignment import TRAINING, Assignment, Distilled, Tell
from quarl.finetune.record import qat_notes
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.firmware.package import Packed, Provenance, write_package
from quarl.firmware.source_tree import POLICY as FIRMWARE_POLICY
from quarl.firmware.source_tree import write_portable
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.profiles.platforms import platform_of
from quarl.quantize.calibration import Calibration, coverage
from quarl.quantize.error_report import quant_report
from quarl.quantize.ladder import DEFAULT_RUNG, check_inputs
from quarl.quantize.quantizer import widths_of
from quarl.quantize.widths import INT8, Widths
from quarl.rollouts.shares import Field, play_at_random
from quarl.sources.observations import draws_observations, observations_of
from quarl.sources.source import Source
from quarl.stats.seeds import RANDOM_SEED
from quarl.verdict.budgets import with_board
from quarl.verdict.limits import recipe_limits
from quarl.verdict.planning import check_provable
from quarl.workers import HERE, Workers
from quarl.workers.progress import QUIET, Progress, Reporter

RANDOM_EPISODES = 100
DRAWN_LINE = (
    "no observations were given: those of the example are drawn evenly over the range of the "
    "input's integers"
)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """How a policy is exported.

    Attributes:
        rung: a rung of the ladder. None: the measured return chooses, or rung 3 where there is no
            environment to play in. The integers of an int8 file stand on none.
        widths: fewer bits of weights, activations or observations, at a price in accuracy.
        calibration: the observations the policy meets, an `.npz` or an array; None: the recipe's
            own, or played in the environment.
        limits: what the gate will ask; None: the recipe's, or the defaults.
        board: what the firmware is written for; None: no firmware.
        prefix: what the policy's functions, types, macros and files in C are called.
        packages: build systems that get a folder of their own.
        trained: integers that were trained, which then are the bundle's.
        finetune: how integers learn where the return chooses and no rung keeps it; its widths are
            these. None: they do not.
        runs: where a training is kept.
        workers: who plays the episodes.
        half: write the float policy with float16 parameters too, for hosts and Pis.
        cost: what the integers may cost a device, times the cheapest; None: as `Choice.factor`.
    """

    rung: int | None = None
    widths: Widths = INT8
    calibration: Path | NDArray[Any] | None = None
    limits: Limits | None = None
    board: AnyBoard | None = None
    prefix: str = DEFAULT_PREFIX
    packages: tuple[str, ...] = ()
    trained: Distilled | None = None
    finetune: Assignment | None = None
    runs: Path = Path("runs")
    workers: Workers = HERE
    half: bool = False
    cost: float | None = None


def export_policy(
    source: Source, out: Path, request: ExportRequest, reporter: Reporter = QUIET
) -> Release:
    """Return the bundle written to `out`.

    Raises:
        QuarlError: the first thing that is wrong; nothing is then written.
    """
    check_target(out)
    _check_finetune(source, request)
    if request.half and isinstance(source.policy, QuantPolicy):
        raise InputError(f"--fp16: {source.file.name} holds integers, no float policy: omit it")
    if plays_to_choose(source, request):
        asked = request.limits or recipe_limits(source.recipe, source.env)
        check_provable(asked)
    with reporter.stage(f"exporting {source.name}") as progress:
        fitted, held = observations_of(source, request.calibration, progress, request.workers)
        if draws_observations(source, request.calibration):
            reporter.line(DRAWN_LINE)
        limits = limits_of(source, request)
        quantized, ladder, trained = _quantize(
            source, request, (fitted, held), limits, reporter, progress
        )
        request = replace(request, trained=trained)
        example = example_of(quantized, held.obs)
        files = bundle_files(source, quantized, example, request)
    manifest = Manifest(
        name=source.name,
        origin=_origin(source),
        contract_sha256=quantized.contract.digest,
        rung=quantized.rung,
        ladder=ladder,
        calibration=coverage(fitted, quantized.contract) if quantized.rung is not None else None,
        env=source.env,
        limits=limits,
        board=None if request.board is None else request.board.name,
        tools=tool_versions(),
        files=digests(files),
        ceilings=ceilings_of(source.policy, fitted, held.obs)
        if isinstance(source.policy, Policy)
        else (),
        weights=request.widths.name,
    )
    write_bundle(out, {**files, MANIFEST: manifest.to_json()})
    policy = source.policy
    policies = (None if isinstance(policy, QuantPolicy) else policy, quantized)
    return new_release(out, manifest, policies, example, files)


@dataclass(frozen=True, slots=True)
class FinetuneRequest:
    """How integers are trained.

    Attributes:
        runs: where lessons and students are kept, for `resume`.
        tell: called now and then with where the training stands.
        export: how the integers become a bundle; its widths are the assignment's.
    """

    assignment: Assignment
    runs: Path
    resume: bool = False
    tell: Tell = lambda telling: None
    export: ExportRequest = ExportRequest()


def finetune_policy(
    source: Source, out: Path, request: FinetuneRequest, reporter: Reporter = QUIET
) -> Release:
    """Return the bundle of integers that were trained to decide as the source does; the best
    post-training ones of the same widths are in it where training gains nothing.

    Raises:
        QuarlError: the first thing that is wrong; nothing is then written.
        ToolMissingError: torch is not installed.
    """
    check_target(out)
    if isinstance(source.policy, QuantPolicy):
        raise InputError(f"{source.file.name} holds integers already: there is nothing to learn")
    require_torch()
    check_inputs(source.policy, request.assignment.widths)
    fitted, _ = observations_of(source, request.export.calibration, workers=request.export.workers)
    trained = _learn(source, fitted, request, reporter)
    exported = replace(request.export, widths=request.assignment.widths, trained=trained)
    return export_policy(source, out, exported, reporter)


def _learn(
    source: Source, fitted: Calibration, request: FinetuneRequest, reporter: Reporter
) -> Distilled:
    from quarl.finetune.distil import distil, open_notebook

    policy, assignment = source.policy, request.assignment
    assert isinstance(policy, Policy)
    notebook = open_notebook(
        source.name, policy, source.env, assignment, request.runs, resume=request.resume
    )
    trained = distil(policy, source.env, fitted, assignment, notebook, request.tell)
    for line in trained.record.sentences():
        reporter.line(line)
    return trained


def require_torch() -> None:
    """Check that integers can learn here.

    Raises:
        ToolMissingError: torch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"finetuning needs the Python package {error.name}: pip install quarl[sb3]"
        ) from error


def _check_finetune(source: Source, request: ExportRequest) -> None:
    if request.finetune is None:
        return
    if not plays_to_choose(source, request):
        raise InputError(
            f"--finetune {request.finetune.minutes:g}: integers learn where play chooses the rung: "
            "use --rung auto and a float policy with its environment (--env ID), or quarl finetune"
        )
    require_torch()


def limits_of(source: Source, request: ExportRequest) -> Limits:
    """Return what the gate will ask of a source's bundle, with the return of random play."""
    limits = request.limits or recipe_limits(source.recipe, source.env)
    if request.limits is None and isinstance(source.policy, QuantPolicy):
        limits = replace(limits, without_source=True)  # whoever exports it knows that it has none
    if source.env is not None and limits.random_return is None:
        seeds = range(RANDOM_SEED, RANDOM_SEED + RANDOM_EPISODES)
        field = Field(source.env, request.workers)
        returns = play_at_random(field, source.policy.contract, seeds).returns
        limits = replace(limits, random_return=float(returns.mean()))
    if request.board is not None:
        limits = with_board(limits, request.board, source.policy.contract.step_hz)
    return limits


def _quantize(
    source: Source,
    request: ExportRequest,
    observations: tuple[Calibration, Calibration],
    limits: Limits,
    reporter: Reporter,
    progress: Progress | None,
) -> tuple[QuantPolicy, tuple[RungResult, ...], Distilled | None]:
    """Return the integers, what was measured on each rung that was tried, and how they were
    trained if they were.

    Args:
        observations: calibration and held-out.
    """
    policy, (fitted, held) = source.policy, observations
    if isinstance(policy, QuantPolicy):
        _check_integers(source, request)
        return policy, (), None
    if request.trained is not None:
        trained = request.trained.policy
        return trained, trained_rung(policy, fitted, trained), request.trained
    if _keeps_integers(source, request):
        assert source.integers is not None
        reporter.line(
            f"{source.name} keeps the integers it was trained with: --rung N makes others"
        )
        return source.integers, trained_rung(policy, fitted, source.integers), None
    if plays_to_choose(source, request):
        assert source.env is not None
        choice = Choice(
            policy,
            fitted,
            Field(source.env, request.workers),
            limits,
            request.widths,
            held.obs,
            board=request.board,
            factor=request.cost,
        )
        try:
            return _chosen(source, request, choice, reporter, progress)
        except NothingToChooseError as error:
            if request.calibration is None:
                raise
            reporter.line(f"{error}; decisions on the observations given choose")
    rung = DEFAULT_RUNG if request.rung is None else request.rung
    quantized, ladder = fixed_rung(policy, fitted, rung, request.widths)
    reporter.line(ladder[-1].sentence())
    return quantized, ladder, None


def _chosen(
    source: Source,
    request: ExportRequest,
    choice: Choice,
    reporter: Reporter,
    progress: Progress | None,
) -> tuple[QuantPolicy, tuple[RungResult, ...], Distilled | None]:
    """Return what play chooses; integers learn where no rung holds and the request allows it."""
    learned: list[Distilled] = []

    def learn(assignment: Assignment) -> QuantPolicy:
        lesson = FinetuneRequest(
            assignment, request.runs, tell=lambda standing: reporter.line(standing.sentence())
        )
        learned.append(_learn(source, choice.calibration, lesson, reporter))
        return learned[0].policy

    if request.finetune is not None:
        choice = replace(choice, learn=partial(learn, request.finetune))
    quantized, ladder = choose_rung(
        choice, lambda result: reporter.line(result.sentence()), progress
    )
    trained = next((one for one in learned if one.policy is quantized), None)
    return quantized, ladder, trained


def plays_to_choose(source: Source, request: ExportRequest) -> bool:
    """Whether the rung is chosen by playing."""
    return (
        isinstance(source.policy, Policy)
        and request.trained is None
        and request.rung is None
        and source.env is not None
        and not _keeps_integers(source, request)
    )


def _keeps_integers(source: Source, request: ExportRequest) -> bool:
    """Whether integers that were trained with the policy are exported as they are."""
    return source.integers is not None and request.rung is None and request.widths == INT8


def _check_integers(source: Source, request: ExportRequest) -> None:
    if request.rung is None and request.widths == INT8:
        return
    rung = request.rung
    option = f"--rung {rung}" if rung is not None else request.widths.sentence()
    raise InputError(
        f"{option}: {source.file.name} holds integers already, which are exported as they "
        "are: omit the option"
    )


def _origin(source: Source) -> Origin:
    return Origin(
        source.file.name,
        source.policy.source_sha256,
        source.algorithm,
        source.framework,
        None if source.recipe is None else source.recipe.name,
    )


def _package_files(
    source: Source, quantized: QuantPolicy, example: Example, request: ExportRequest
) -> dict[str, bytes]:
    """Return path -> bytes of a folder for each build system that the request names."""
    if not request.packages:
        return {}
    board = request.board
    write = write_portable if board is None else platform_of(board).write
    tree = write(quantized, example.obs, request.prefix)
    origin = _origin(source)
    provenance = Provenance(
        policy=source.name,
        source_file=origin.file,
        source_sha256=origin.sha256,
        algorithm=origin.algorithm,
        framework=origin.framework,
        rung=quantized.rung,
        weights=request.widths.name,
        board=None if board is None else board.name,
    )
    interface = tree.interface
    packed = Packed(
        tree.folder(FIRMWARE_POLICY),
        interface.names,
        interface.kernels,
        interface.contract,
        provenance,
    )
    return {
        f"{PACKAGES_FOLDER}/{name}/{path}": data
        for name in request.packages
        for path, data in write_package(name, packed).items()
    }


def _how_trained(source: Source, integers: QuantPolicy) -> bytes:
    """Return what a bundle says of integers that came of the policy's own training."""
    qat = None if source.recipe is None else source.recipe.qat
    if qat is None:
        return qat_notes(widths_of(integers), "own").encode()
    return qat_notes(qat.widths, qat.method).encode()


def bundle_files(
    source: Source, quantized: QuantPolicy, example: Example, request: ExportRequest
) -> dict[str, bytes]:
    """Return path -> bytes of everything that an export writes but its manifest."""
    files = _files(source.policy, quantized, example, request)
    files |= _package_files(source, quantized, example, request)
    if quantized is source.integers:
        files[TRAINING] = _how_trained(source, quantized)
    return files


def _files(
    policy: Policy | QuantPolicy, quantized: QuantPolicy, example: Example, request: ExportRequest
) -> dict[str, bytes]:
    """Return path -> bytes of everything in the bundle but its manifest."""
    files = {
        CONTRACT: quantized.contract.to_json().encode(),
        POLICY: quant_policy_bytes(quantized),
        EXAMPLE: example.to_npz(),
        **{f"model.{name}": emit(quantized) for name, emit in EMITTERS.items()},
    }
    if isinstance(policy, Policy):
        files[SOURCE] = policy_bytes(policy)
        files[QUANTIZATION] = quant_report(policy, quantized, example.obs).to_json().encode()
        if request.half:
            files |= {f"{HALF_FOLDER}/model.{n}": emit(policy) for n, emit in HALF_EMITTERS.items()}
    if request.trained is not None:
        files[TRAINING] = request.trained.record.to_json().encode()
    if request.board is not None:
        tree = platform_of(request.board).write(quantized, example.obs, request.prefix)
        files |= {f"{FIRMWARE_FOLDER}/{name}": data for name, data in tree.files.items()}
        files[BOARD] = encode_board(request.board)
    return files
