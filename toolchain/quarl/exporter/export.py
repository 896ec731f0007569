"""Export: a policy becomes a bundle, on the rung that keeps its return.

In: a `Source` and a request. Out: a `Release`, and the folder it was written to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
from quarl.bundle.writing import check_target, write_bundle
from quarl.emitters import EMITTERS, HALF_EMITTERS
from quarl.errors import InputError
from quarl.exporter.ceilings import ceilings_of
from quarl.exporter.integers import (
    IntegerChoice,
    Integers,
    check_finetune,
    learn,
    plays_to_choose,
    require_torch,
)
from quarl.exporter.request import ExportRequest, FinetuneRequest
from quarl.files.digests import digests
from quarl.finetune.assignment import TRAINING
from quarl.finetune.record import qat_notes
from quarl.firmware.source_tree import POLICY as FIRMWARE_POLICY
from quarl.firmware.source_tree import SourceTree, write_portable
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.calibration import coverage
from quarl.quantize.error_report import quant_report
from quarl.quantize.ladder import check_inputs
from quarl.quantize.quantizer import widths_of
from quarl.sources.observations import draws_observations, observations_of
from quarl.sources.source import Source
from quarl.stats.seeds import RANDOM_SEED
from quarl.verdict.limits import recipe_limits
from quarl.workers.progress import QUIET, Reporter

__all__ = ["ExportRequest", "Exporting", "FinetuneRequest", "export_policy", "finetune_policy"]

RANDOM_EPISODES = 100
DRAWN_LINE = (
    "no observations were given: those of the example are drawn evenly over the range of the "
    "input's integers"
)


def export_policy(
    source: Source, out: Path, request: ExportRequest, reporter: Reporter = QUIET
) -> Release:
    """Return the bundle written to `out`.

    Raises:
        QuarlError: the first thing that is wrong; nothing is then written.
    """
    return Exporting(source, out, request, reporter).write()


class Exporting:
    """An export that goes on with other integers where the gate refuses those that it wrote.

    Args:
        first_share: of the gate's error, for the first integers; 1: no others follow.
    """

    def __init__(
        self,
        source: Source,
        out: Path,
        request: ExportRequest,
        reporter: Reporter = QUIET,
        first_share: float = 1.0,
    ) -> None:
        self._source, self._out, self._request = source, out, request
        self._reporter, self._first_share = reporter, first_share

    def write(self) -> Release:
        """Return the bundle of the first integers, written.

        Raises:
            QuarlError: the first thing that is wrong; nothing is then written.
        """
        source, request, reporter = self._source, self._request, self._reporter
        check_target(self._out)
        check_finetune(source, request)
        if request.half and isinstance(source.policy, QuantPolicy):
            raise InputError(f"--fp16: {source.file.name} holds integers, no float policy: omit it")
        if plays_to_choose(source, request):
            from quarl.verdict.planning import check_provable

            check_provable(request.limits or recipe_limits(source.recipe, source.env))
        with reporter.stage(f"exporting {source.name}") as progress:
            self._observations = observations_of(
                source, request.calibration, progress, request.workers
            )
            if draws_observations(source, request.calibration):
                reporter.line(DRAWN_LINE)
            self._limits = limits_of(source, request)
            self._choice = IntegerChoice(source, request, self._limits, reporter, self._first_share)
            integers = self._choice.first(self._observations, progress)
            return self._written(integers)

    def refuse(self, why: str) -> bool:
        """Take in that the gate refused the bundle; return whether another may follow it."""
        return self._choice.refuse(why)

    def write_next(self) -> Release | None:
        """Return the bundle of the integers that follow those that were refused, written; None: no
        others hold, and the bundle stays as it is.
        """
        with self._reporter.stage(f"exporting other integers of {self._source.name}") as progress:
            integers = self._choice.next(progress)
            return None if integers is None else self._written(integers)

    def _written(self, integers: Integers) -> Release:
        source, quantized, (fitted, held) = self._source, integers.policy, self._observations
        request = replace(self._request, trained=integers.trained)
        example = example_of(quantized, held.obs)
        files = bundle_files(source, quantized, example, request)
        manifest = Manifest(
            name=source.name,
            origin=_origin(source),
            contract_sha256=quantized.contract.digest,
            rung=quantized.rung,
            ladder=integers.ladder,
            calibration=coverage(fitted, quantized.contract)
            if quantized.rung is not None
            else None,
            env=source.env,
            limits=self._limits,
            board=None if request.board is None else request.board.name,
            tools=tool_versions(),
            files=digests(files),
            ceilings=ceilings_of(source.policy, fitted, held.obs)
            if isinstance(source.policy, Policy)
            else (),
            weights=request.widths.name,
        )
        write_bundle(self._out, {**files, MANIFEST: manifest.to_json()})
        policy = source.policy
        policies = (None if isinstance(policy, QuantPolicy) else policy, quantized)
        return new_release(self._out, manifest, policies, example, files)


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
    trained = learn(source, fitted, request, reporter)
    exported = replace(request.export, widths=request.assignment.widths, trained=trained)
    return export_policy(source, out, exported, reporter)


def limits_of(source: Source, request: ExportRequest) -> Limits:
    """Return what the gate will ask of a source's bundle, with the return of random play."""
    limits = request.limits or recipe_limits(source.recipe, source.env)
    if request.limits is None and isinstance(source.policy, QuantPolicy):
        limits = replace(limits, without_source=True)  # whoever exports it knows that it has none
    if source.env is not None and limits.random_return is None:
        from quarl.rollouts.shares import Field, play_at_random

        seeds = range(RANDOM_SEED, RANDOM_SEED + RANDOM_EPISODES)
        field = Field(source.env, request.workers)
        returns = play_at_random(field, source.policy.contract, seeds).returns
        limits = replace(limits, random_return=float(returns.mean()))
    if request.board is not None:
        from quarl.verdict.budgets import with_board

        limits = with_board(limits, request.board, source.policy.contract.step_hz)
    return limits


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
    from quarl.firmware.package import Packed, Provenance, write_package

    board = request.board
    write = write_portable if board is None else _writer(board)
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


def _writer(board: AnyBoard) -> Callable[[QuantPolicy, NDArray[Any], str], SourceTree]:
    """Return what writes the sources for a board."""
    from quarl.profiles.platforms import platform_of

    return platform_of(board).write


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
        tree = _writer(request.board)(quantized, example.obs, request.prefix)
        files |= {f"{FIRMWARE_FOLDER}/{name}": data for name, data in tree.files.items()}
        files[BOARD] = encode_board(request.board)
    return files
