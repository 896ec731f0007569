"""What a report is made of: everything the bundle and the stages after the export say, read once
and checked.

In: a bundle. Out: frozen `Contents`. What was never made is None, and each section of the page says
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quarl.boards.cortex_m import Board
from quarl.boards.linux import LinuxBoard, Target, find_target
from quarl.bundle.bundle import (
    FIRMWARE,
    MANIFEST,
    PARITY,
    PI,
    PROFILE,
    QUANTIZATION,
    VERDICT,
    Bundle,
    Manifest,
)
from quarl.errors import InputError
from quarl.evidence.evidence import Evidence, evidence_from_json
from quarl.evidence.gather import manifest_digest
from quarl.graph.contract import Contract
from quarl.profiles.emulated import FirmwareProfile, firmware_profile_from_json
from quarl.profiles.host import Profile, profile_from_json
from quarl.profiles.pi.report import PiProfile, pi_profile_from_json
from quarl.quantize.error_report import QuantReport
from quarl.reports.replay import Replay, replay_episodes
from quarl.reports.stored_verdict import read_verdict
from quarl.reports.work import LayerWork, layer_work
from quarl.resources import targets_dir
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
    board: Board | None  # of the firmware; None where this quarl does not know it
    on_pi: PiProfile | None
    is_for_linux: bool  # whether the bundle was exported for a board that runs Linux
    quantization: QuantReport | None
    work: tuple[LayerWork, ...]
    replay: Replay


def read_contents(bundle: Bundle) -> Contents:
    """Return what the bundle holds, episodes played again for the pictures where their environment
    is here.

    Raises:
        InputError: a file that is not what its name says; names it.
    """
    digest, evidence = manifest_digest(bundle), None
    if (text := _text(bundle, PARITY)) is not None:
        evidence = evidence_from_json(text, str(bundle.folder / PARITY))
    is_stale = evidence is not None and evidence.manifest_sha256 != digest
    verdict, profile, firmware, quantization, on_pi = (
        _text(bundle, name) for name in (VERDICT, PROFILE, FIRMWARE, QUANTIZATION, PI)
    )
    board_profile = (
        None
        if firmware is None
        else firmware_profile_from_json(firmware, str(bundle.folder / FIRMWARE))
    )
    wanted = None if bundle.manifest.board is None else _known_target(bundle.manifest.board)
    target = None if board_profile is None else _known_target(board_profile.board)
    present = {name: bundle.folder / name for name in (*bundle.manifest.files, MANIFEST)}
    return Contents(
        manifest=bundle.manifest,
        manifest_sha256=digest,
        contract=bundle.contract,
        file_bytes={name: path.stat().st_size for name, path in present.items() if path.is_file()},
        changed_files=bundle.changed_files(),
        verdict=None if verdict is None else read_verdict(verdict, str(bundle.folder / VERDICT)),
        evidence=evidence,
        is_stale=is_stale,
        profile=None
        if profile is None
        else profile_from_json(profile, str(bundle.folder / PROFILE)),
        firmware=board_profile,
        board=target if isinstance(target, Board) else None,
        on_pi=None if on_pi is None else pi_profile_from_json(on_pi, str(bundle.folder / PI)),
        is_for_linux=isinstance(wanted, LinuxBoard),
        quantization=None if quantization is None else QuantReport.from_json(quantization),
        work=layer_work(bundle.quantized()),
        replay=replay_episodes(bundle, None if evidence is None or is_stale else evidence.paired),
    )


def _text(bundle: Bundle, name: str) -> str | None:
    return (
        bundle.read(name).decode("utf-8", errors="replace")
        if (bundle.folder / name).is_file()
        else None
    )


def _known_target(name: str) -> Target | None:
    try:
        return find_target(name, targets_dir())
    except InputError:
        return None
