"""What a report is made of: everything the bundle and the stages after the export say, read once
and checked.

In: a bundle. Out: frozen `Contents`. What was never made is None, and each section of the page says
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quarl.bundle.manifest import MANIFEST, QUANTIZATION, Manifest
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.evidence.evidence import Evidence, evidence_from_json
from quarl.evidence.gather import PARITY
from quarl.graph.contract import Contract
from quarl.profiles.emulated import FirmwareProfile
from quarl.profiles.host import Profile
from quarl.profiles.measure import read_measurements
from quarl.profiles.pi.report import PiProfile
from quarl.profiles.platform import Memory, Platform
from quarl.profiles.platforms import board_of, platform_of
from quarl.quantize.error_report import QuantReport
from quarl.reports.animation import Animation, animate
from quarl.reports.network import Network, kernels_of, network_of
from quarl.reports.replay import Replay, replay_episodes
from quarl.reports.work import LayerWork, layer_work
from quarl.verdict.stored import verdict_on
from quarl.verdict.verdict import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """One bundle, as far as it is known."""

    manifest: Manifest
    manifest_sha256: str
    contract: Contract
    file_bytes: Mapping[str, int]  # of the files the manifest lists, as they lie there
    changed_files: tuple[str, ...]  # what differs from the manifest now, one line each
    verdict: Verdict | None
    evidence: Evidence | None
    is_stale: bool  # the evidence was gathered on another export
    profile: Profile | None
    firmware: FirmwareProfile | None
    memory: Memory | None  # of the board; None where it has more to hold, or is not known
    on_pi: PiProfile | None
    ways: tuple[tuple[str, str], ...]  # how to run it on the board: what for, and the command
    unmeasured: str  # what to say before the board's name where nothing was measured
    quantization: QuantReport | None
    work: tuple[LayerWork, ...]
    network: Network
    replay: Replay
    animation: Animation | None = None  # only where it was asked for


def read_contents(release: Release, *, film: bool = False) -> Contents:
    """Return what the bundle holds, episodes played again for the pictures where their environment
    is here.

    Args:
        film: whether one episode is filmed in the environment that the bundle names, which runs it.
    Raises:
        InputError: a file that is not what its name says; names it. Or nothing can be filmed.
    """
    measurements = read_measurements(release)
    evidence = _evidence(release)
    is_stale = evidence is not None and evidence.manifest_sha256 != release.manifest_sha256
    platform = _known_platform(release)
    files = release.files
    paired = None if evidence is None or is_stale else evidence.paired
    return Contents(
        manifest=release.manifest,
        manifest_sha256=release.manifest_sha256,
        contract=release.contract,
        file_bytes={name: len(data) for name, data in files.items()}
        | {MANIFEST: len(release.manifest.to_json())},
        changed_files=(*release.changed_files, *measurements.refused),
        verdict=verdict_on(release),
        evidence=evidence,
        is_stale=is_stale,
        profile=measurements.host,
        firmware=measurements.firmware,
        memory=None if platform is None else platform.memory,
        on_pi=measurements.pi,
        ways=() if platform is None else platform.ways,
        unmeasured="No firmware was counted for" if platform is None else platform.unmeasured,
        quantization=_quantization(release),
        work=layer_work(release.quantized),
        network=network_of(release.quantized, kernels_of(release)),
        replay=replay_episodes(release, paired),
        animation=animate(release, paired) if film else None,
    )


def _evidence(release: Release) -> Evidence | None:
    data = release.stored(PARITY)
    if data is None:
        return None
    return evidence_from_json(data, str(release.folder / PARITY))


def _quantization(release: Release) -> QuantReport | None:
    if QUANTIZATION not in release.files:
        return None
    return QuantReport.from_json(release.files[QUANTIZATION].decode("utf-8", errors="replace"))


def _known_platform(release: Release) -> Platform | None:
    try:
        board = board_of(release)
        return None if board is None else platform_of(board)
    except InputError:
        return None
