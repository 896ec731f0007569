"""The chain: every verb as one function, in the order of travel. Each takes values and files and
returns the next value.

    import_source -> export -> profile -> parity -> gate -> write_report        ship does all of them
Nothing here prints, decides or measures by itself; docs of each verb: README.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from quarl.boards.cortex_m import Board
from quarl.boards.linux import LinuxBoard, Target, find_target
from quarl.bundle import bundle as bundles
from quarl.bundle.bundle import (
    DEVICE_PROFILE,
    FIRMWARE,
    PARITY,
    PI,
    PROFILE,
    QUANTIZATION,
    REPORT_PAGE,
    VERDICT,
    Bundle,
    Manifest,
    Origin,
)
from quarl.bundle.policy_file import policy_bytes, quant_policy_bytes
from quarl.choose_rung import RungResult, choose_rung, fixed_rung, trained_rung
from quarl.emitters import EMITTERS
from quarl.errors import InputError, QuarlError, ToolMissingError
from quarl.evidence.agreement import compare_decisions_and_worst
from quarl.evidence.evidence import BackendEquality, CalibratedOn, Evidence, ImportProof
from quarl.evidence.gather import (
    ARTIFACTS,
    EXAMPLE,
    compare_backends,
    compare_firmware,
    example_bytes,
    example_observations,
    manifest_digest,
    play_own,
    play_pairs,
    play_robustness,
    replay_example,
    stored_evidence,
)
from quarl.evidence.pi import compare_on_pi, profile_on_pi
from quarl.evidence.trials import try_changes
from quarl.files.atomic import write_whole
from quarl.finetune.assignment import TRAINING, Assignment, Distilled, Tell
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.firmware.sources import write_firmware
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions
from quarl.importers.proofs import NotProven, prove_import, prove_integers
from quarl.profiles.board_link import profile_emulated, profile_over_serial
from quarl.profiles.device import DeviceProfile
from quarl.profiles.emulated import FirmwareProfile
from quarl.profiles.host import Profile, profile_bundle
from quarl.profiles.pi.report import PiProfile
from quarl.progress import Progress, Stage, quietly
from quarl.quantize.calibration import Calibration, coverage
from quarl.quantize.error_report import QuantReport, quant_report
from quarl.quantize.ladder import DEFAULT_RUNG
from quarl.quantize.widths import INT8, Widths
from quarl.resources import default_cache_dir, targets_dir
from quarl.rollouts.episodes import random_episodes
from quarl.rollouts.vector_env import EnvSpec, check_env
from quarl.seeds import RANDOM_SEED
from quarl.sources.observations import observations_of
from quarl.sources.source import Source, open_source
from quarl.verdict.baseline import find_baseline
from quarl.verdict.budgets import figures_of, with_board, with_profile
from quarl.verdict.closed_loop_checks import is_settled
from quarl.verdict.diagnosis import reasons
from quarl.verdict.formats import OUTPUTS
from quarl.verdict.judge import judge
from quarl.verdict.limits import Limits, limits_from_table, looks_of, recipe_limits
from quarl.verdict.regression import compare_with_baseline
from quarl.verdict.verdict import Check, Verdict

Report = Callable[[str], None]
"""Called with a line for the user whenever a stage has something to tell."""

RANDOM_EPISODES = 100
ROBUSTNESS_EPISODES = 100  # under each disturbance, at most


def import_source(
    source: str,
    options: ImportOptions | None = None,
    env: EnvSpec | None = None,
    *,
    fetching: Stage = quietly,
) -> Source:
    """Return the trained policy that `source` names: a shipped policy, a folder with a recipe, or a
    file of weights.
    """
    opened = open_source(source, options or ImportOptions(), env, fetching)
    if opened.env is not None:
        check_env(opened.env, opened.policy.contract)
    return opened


def prove(source: Source, *, trust: bool) -> ImportProof:
    """Return how far the imported policy is from its own framework, where that is installed.

    Args:
        trust: the file may run code of its own, which some frameworks let it do on loading; quarl's
            own files may.
    """
    policy, trusted = source.policy, trust or source.is_shipped
    proof = (
        prove_integers(source.file, policy)
        if isinstance(policy, QuantPolicy)
        else prove_import(source.file, policy, trusted)
    )
    if isinstance(proof, NotProven):
        return ImportProof(source.framework, 0, None, proof.reason)
    return ImportProof(
        proof.against, proof.observations, proof.max_abs_error / max(1.0, proof.largest_output)
    )


def export(
    source: Source,
    out: Path,
    *,
    rung: int | None = None,
    widths: Widths = INT8,
    calibration: Path | None = None,
    limits: Limits | None = None,
    board: Target | None = None,
    prefix: str = DEFAULT_PREFIX,
    report: Report = lambda line: None,
    progress: Progress | None = None,
    trained: Distilled | None = None,
) -> Bundle:
    """Return the bundle written to `out`.

    Args:
        trained: integers that were trained, which then are the bundle's.
        board: what the firmware is written for; None: no firmware.
        prefix: of the policy's functions, types, macros and files in C.
        rung: a rung of the ladder; None lets the measured return choose, or takes rung 3 where
            there is no environment to play in.
            The integers of an int8 file stand on none, and stay as they are.
        widths: fewer bits of weights, activations or observations, at a price in accuracy:
            toolchain/docs/quantizer.md.
        calibration: `.npz` with the observations `obs` the policy meets; None: the recipe's own, or
            played in the environment.
    Raises:
        QuarlError: the first thing that is wrong; nothing is then written.
    """
    bundles.check_target(out)
    fitted, held = observations_of(source, calibration, progress)
    asked, policy = limits or recipe_limits(source.recipe, source.env), source.policy
    if source.env is not None and asked.random_return is None:
        asked = replace(asked, random_return=_random_return(source, source.env))
    tried: tuple[RungResult, ...] = ()
    if isinstance(policy, QuantPolicy):
        if rung is not None or widths != INT8:
            option = f"--rung {rung}" if rung is not None else widths.sentence()
            raise InputError(
                f"{option}: {source.file.name} holds integers already, which are exported as they "
                "are: omit the option"
            )
        quantized = policy
    elif trained is not None:
        quantized, tried = trained.policy, trained_rung(policy, fitted, trained.policy)
    elif source.integers is not None and rung is None and widths == INT8:
        quantized, tried = source.integers, trained_rung(policy, fitted, source.integers)
        report(f"{source.name} keeps the integers it was trained with: --rung N makes others")
    elif rung is None and source.env is not None:
        quantized, tried = choose_rung(
            policy,
            fitted,
            source.env,
            asked,
            lambda result: report(result.sentence()),
            widths,
            progress,
            held=held.obs,
        )
    else:
        quantized, tried = fixed_rung(
            policy, fitted, DEFAULT_RUNG if rung is None else rung, widths
        )
        report(tried[-1].sentence())
    contract, bare = policy.contract, None if isinstance(board, LinuxBoard) else board
    if board is not None:
        asked = with_board(asked, board, contract.step_hz)
    files = {
        "contract.json": contract.to_json().encode(),
        "policy.npz": quant_policy_bytes(quantized),
        **({} if isinstance(policy, QuantPolicy) else _source_files(policy, quantized, held)),
        **({} if trained is None else {TRAINING: trained.record.to_json().encode()}),
        EXAMPLE: example_bytes(quantized, held.obs),
        **{f"model.{name}": emit(quantized) for name, emit in EMITTERS.items()},
        **(
            {}
            if board is None
            else {
                f"firmware/{path}": data
                for path, data in write_firmware(quantized, bare, held.obs, prefix).items()
            }
        ),
    }
    manifest = Manifest(
        name=source.name,
        origin=Origin(
            source.file.name,
            policy.source_sha256,
            source.algorithm,
            source.framework,
            None if source.recipe is None else source.recipe.name,
        ),
        contract_sha256=contract.digest,
        rung=quantized.rung,
        ladder=tuple(asdict(result) for result in tried),
        calibration=None if isinstance(policy, QuantPolicy) else asdict(coverage(fitted, contract)),
        env=None
        if source.env is None
        else {"id": source.env.id, "kwargs": dict(source.env.kwargs)},
        limits=asked.to_table(),
        board=None if board is None else board.name,
        tools=bundles.tool_versions(),
        files=bundles.digests(files),
        weights=widths.name,
    )
    return bundles.write_bundle(out, manifest, files)


def finetune(
    source: Source,
    out: Path,
    assignment: Assignment,
    *,
    runs: Path,
    resume: bool = False,
    calibration: Path | None = None,
    limits: Limits | None = None,
    board: Target | None = None,
    report: Report = lambda line: None,
    tell: Tell = lambda telling: None,
) -> Bundle:
    """Return the bundle of integers that were trained to decide as the source does; the best
    post-training ones of the same widths are in it where training gains nothing.

    Args:
        runs: where lessons and students are kept, for `resume`.
        tell: called now and then with where the training stands.
    Raises:
        QuarlError: the first thing that is wrong; nothing is then written.
        ToolMissingError: torch is not installed.
    """
    bundles.check_target(out)
    policy = source.policy
    if isinstance(policy, QuantPolicy):
        raise InputError(f"{source.file.name} holds integers already: there is nothing to learn")
    try:
        from quarl.finetune.distil import distil, open_notebook
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"finetuning needs the Python package {error.name}: pip install quarl[sb3]"
        ) from error
    fitted, _ = observations_of(source, calibration)
    notebook = open_notebook(source.name, policy, source.env, assignment, runs, resume=resume)
    trained = distil(policy, source.env, fitted, assignment, notebook, tell)
    for line in trained.record.sentences():
        report(line)
    return export(
        source,
        out,
        widths=assignment.widths,
        calibration=calibration,
        limits=limits,
        board=board,
        report=report,
        trained=trained,
    )


def profile(bundle: Bundle) -> Profile:
    """Return what one inference costs on this host, fp32 beside int8, and write profile.json into
    the bundle.
    """
    measured = profile_bundle(bundle.source(), bundle.quantized(), example_observations(bundle))
    bundle.add(PROFILE, measured.to_json())
    return measured


def profile_pi(bundle: Bundle, board: LinuxBoard, link: str | None = None) -> PiProfile:
    """Return what one decision costs on a Raspberry Pi, real or emulated, and write pi.json into
    the bundle.

    Args:
        link: "emulated", "ssh:USER@HOST" or "local"; None: emulated.
    """
    found = profile_on_pi(
        bundle.source(), bundle.quantized(), example_observations(bundle), board, link
    )
    bundle.add(PI, found.to_json())
    return found


def profile_board(bundle: Bundle, board: Board, link: str | None = None) -> FirmwareProfile:
    """Return what one decision costs on a board, its firmware run in an emulator, and write
    firmware.json into the bundle.

    Args:
        link: the emulator, "unicorn" or "qemu-system"; None: unicorn where it has the core.
    """
    counted = profile_emulated(
        bundle.quantized(), example_observations(bundle), board, default_cache_dir(), link
    )
    bundle.add(FIRMWARE, counted.to_json())
    return counted


def profile_device(
    bundle: Bundle, board: Board, link: str, flash_by: str | None = None
) -> DeviceProfile:
    """Return what one decision takes on a board on a serial port, measured there, and write
    device.json into the bundle.

    Args:
        link: "serial:PORT". flash_by: the tool that writes the firmware first, "pyocd" or
            "openocd"; None: the board has it.
    """
    measured = profile_over_serial(
        bundle.quantized(), example_observations(bundle), board, default_cache_dir(), link, flash_by
    )
    bundle.add(DEVICE_PROFILE, measured.to_json())
    return measured


def parity(
    bundle: Bundle,
    *,
    env: EnvSpec | None = None,
    episodes: int | None = None,
    limits: Limits | None = None,
    robustness: bool = False,
    proof: ImportProof | None = None,
    link: str | None = None,
    progress: Progress | None = None,
) -> Evidence:
    """Return the evidence that the int8 policy is its source's equal, and write parity.json into
    the bundle.

    A policy that came as an int8 file has no source: its backends are compared, and its own
    episodes played.

    Args:
        env: the environment to play in; None: the bundle's own, and no episodes where it has none.
        episodes: most paired episodes; None: as many as the limits say. They stop as soon as the
            answer is certain.
        limits: what the gate will ask, which decides when that is; None: those of the bundle.
        robustness: whether source and int8 policy are played under disturbed observations as well,
            as they are where the limits ask.
        proof: of the import, which only the original file can give.
        link: the way to the bundle's board; None: emulated.
    """
    source, quantized = bundle.source(), bundle.quantized()
    played_env = env or bundle_env(bundle)
    asked = limits or limits_of(bundle)
    count = episodes or asked.episodes
    board = bundle_board(bundle)
    evidence = Evidence(
        manifest_sha256=manifest_digest(bundle),
        import_proof=proof
        or ImportProof(
            bundle.manifest.origin.framework,
            0,
            None,
            "parity of a bundle does not see the original file",
        ),
        backends=(*compare_backends(bundle), *_compare_board(bundle, board, link)),
        example=replay_example(bundle),
        has_source=bundle.has_source,
        figures=figures_of(bundle),
        calibration=_calibrated_on(bundle),
    )
    if source is None:
        own = None if played_env is None else play_own(bundle, played_env, count, progress)
        evidence = replace(evidence, own=own)
    else:
        agreement, worst = compare_decisions_and_worst(
            source, quantized, example_observations(bundle)
        )
        evidence = replace(evidence, agreement=agreement, worst=worst)
    if source is not None and played_env is not None:
        paired, clipped = play_pairs(
            bundle,
            source,
            played_env,
            looks_of(asked, count),
            partial(is_settled, limits=asked),
            progress,
        )
        disturbed = robustness or asked.robustness_margin is not None
        played = min(len(paired.source.seeds), ROBUSTNESS_EPISODES)
        harder = play_robustness(bundle, source, played_env, played, progress) if disturbed else ()
        evidence = replace(evidence, paired=paired, clipped=clipped, robustness=harder)
    if source is not None and judge(evidence, asked, policy=bundle.manifest.name).int8_fails:
        evidence = replace(
            evidence, trials=try_changes(source, quantized, example_observations(bundle))
        )
    bundle.add(PARITY, evidence.to_json())
    return evidence


def gate(
    bundle: Bundle, *, limits: Limits | None = None, baseline: Sequence[Check] | None = None
) -> Verdict:
    """Return the verdict on the bundle as it lies there, and write verdict.json into it.

    The files are checked and the example is replayed on every backend of this host anew; the rest
    comes from parity.json.

    Args:
        limits: None: those of the bundle.
        baseline: checks of an earlier release that this one must not fall behind.
    """
    evidence, stale = stored_evidence(bundle)
    example = replay_example(bundle)
    example = replace(example, changed_files=(*example.changed_files, *stale))
    on_device = tuple(backend for backend in evidence.backends if backend.backend not in ARTIFACTS)
    backends = (*compare_backends(bundle), *on_device)
    evidence = replace(
        evidence,
        backends=backends,
        example=example,
        has_source=bundle.has_source,
        figures=figures_of(bundle),
    )
    evidence = replace(evidence, calibration=_calibrated_on(bundle))
    verdict = judge(
        evidence, with_profile(bundle, limits or limits_of(bundle)), policy=bundle.manifest.name
    )
    verdict = replace(verdict, why=reasons(evidence, verdict.closed_loop, _quant_report(bundle)))
    if baseline is not None:
        verdict = replace(
            verdict, checks=(*verdict.checks, *compare_with_baseline(verdict, baseline))
        )
    bundle.add(VERDICT, OUTPUTS["json"](verdict))
    return verdict


def write_report(bundle: Bundle, out: Path | None = None) -> Path:
    """Return where the bundle's report was written: `out`, or report.html in the bundle.

    Raises:
        InputError: a file of the bundle is not what its name says, or `out` cannot be written.
        ToolMissingError: jinja2 is not installed.
    """
    try:
        from quarl.reports.render import (
            render_report,  # imported here: every other verb works without jinja2
        )
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"the report needs the Python package {error.name}: pip install {error.name}"
        ) from error
    path = bundle.folder / REPORT_PAGE if out is None else out
    write_whole(path, render_report(bundle).encode())
    return path


@dataclass(frozen=True, slots=True)
class Shipment:
    """What the whole chain has made."""

    bundle: Bundle
    profile: Profile
    on_board: FirmwareProfile | PiProfile | None  # None: for no board
    verdict: Verdict


def ship(
    source: Source,
    out: Path,
    *,
    rung: int | None = None,
    widths: Widths = INT8,
    calibration: Path | None = None,
    limits: Limits | None = None,
    episodes: int | None = None,
    board: Target | None = None,
    prefix: str = DEFAULT_PREFIX,
    link: str | None = None,
    trust: bool = False,
    report: Report = lambda line: None,
    stage: Stage = quietly,
) -> Shipment:
    """Return the bundle, its figures and its verdict: export, profile, parity, gate and report in
    one go.

    A baseline that lies beside the bundle is held against it. A report that cannot be written is
    reported and loses no verdict.
    """
    with stage(f"exporting {source.name}") as progress:
        bundle = export(
            source,
            out,
            rung=rung,
            widths=widths,
            calibration=calibration,
            limits=limits,
            board=board,
            prefix=prefix,
            report=report,
            progress=progress,
        )
    with stage(f"profiling {source.name}"):
        measured, on_board = profile(bundle), _profile_on(bundle, board, link)
    with stage(f"comparing {source.name} with its source") as progress:
        parity(
            bundle,
            episodes=episodes,
            proof=prove(source, trust=trust),
            link=link,
            progress=progress,
        )
    accepted = find_baseline(bundle)
    verdict = gate(bundle, baseline=None if accepted is None else accepted.checks)
    try:
        write_report(bundle)
    except QuarlError as error:  # a verdict is not lost for want of a picture
        report(f"{REPORT_PAGE} was not written: {error}")
    return Shipment(bundle, measured, on_board, verdict)


def _profile_on(
    bundle: Bundle, board: Target | None, link: str | None
) -> FirmwareProfile | PiProfile | None:
    if isinstance(board, LinuxBoard):
        return profile_pi(bundle, board, link)
    return (
        None if board is None else profile_board(bundle, board)
    )  # in the emulator, which alone counts layer by layer


def bundle_env(bundle: Bundle) -> EnvSpec | None:
    """Return the environment the bundle names, None where it names none."""
    env = bundle.manifest.env
    return None if env is None else EnvSpec(str(env["id"]), dict(env["kwargs"]))


def bundle_board(bundle: Bundle) -> Target | None:
    """Return the board the bundle was exported for, None where it was for none."""
    return (
        None if bundle.manifest.board is None else find_target(bundle.manifest.board, targets_dir())
    )


def limits_of(bundle: Bundle) -> Limits:
    """Return the limits the bundle was exported with."""
    return limits_from_table(
        dict(bundle.manifest.limits or {}), str(bundle.folder / bundles.MANIFEST)
    )


def _compare_board(
    bundle: Bundle, board: Target | None, link: str | None
) -> tuple[BackendEquality, ...]:
    if board is None:
        return ()
    if isinstance(board, LinuxBoard):
        return compare_on_pi(bundle.quantized(), example_observations(bundle), board, link)
    return compare_firmware(bundle, board, default_cache_dir(), link)


def _source_files(policy: Policy, quantized: QuantPolicy, held: Calibration) -> dict[str, bytes]:
    return {
        bundles.SOURCE: policy_bytes(policy),
        QUANTIZATION: quant_report(policy, quantized, held.obs).to_json().encode(),
    }


def _calibrated_on(bundle: Bundle) -> CalibratedOn | None:
    used = bundle.manifest.calibration
    return None if used is None else CalibratedOn(int(used["observations"]), int(used["episodes"]))


def _quant_report(bundle: Bundle) -> QuantReport | None:
    """Return the bundle's report of its layers; None where there is none, or one that was damaged,
    which its digest tells.
    """
    if QUANTIZATION not in bundle.manifest.files or not (bundle.folder / QUANTIZATION).is_file():
        return None
    try:
        return QuantReport.from_json(bundle.read(QUANTIZATION).decode(errors="replace"))
    except InputError:
        return None


def _random_return(source: Source, env: EnvSpec) -> float:
    seeds = range(RANDOM_SEED, RANDOM_SEED + RANDOM_EPISODES)
    return float(random_episodes(env, source.policy.contract, seeds).returns.mean())
