"""Profiles of a bundle: what one decision costs on this host or on a board, measured in the
bundle's own files, stored in it and read again.

    profile.json                                            this host
    firmware.BOARD.json  device.BOARD.json  pi.BOARD.json   a board emulated, a real one, a Pi
One file per board: a profile for another board never takes the place of the bundle's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from quarl.bundle.manifest import ARITHMETIC
from quarl.bundle.release import Release
from quarl.links.target import Target
from quarl.profiles.device import DeviceProfile, device_profile_from
from quarl.profiles.emulated import FirmwareProfile, firmware_profile_from
from quarl.profiles.host import Profile, Started, profile_from, profile_host
from quarl.profiles.pi.report import PiProfile, pi_profile_from
from quarl.profiles.platform import BoardProfile
from quarl.profiles.platforms import platform_of
from quarl.profiles.workload import Subject, release_workload

P = TypeVar("P", Profile, FirmwareProfile, DeviceProfile, PiProfile)
HOST = "profile.json"
KINDS: dict[type[BoardProfile], str] = {
    FirmwareProfile: "firmware",
    DeviceProfile: "device",
    PiProfile: "pi",
}


@dataclass(frozen=True, slots=True)
class Measurements:
    """The profiles that speak for a bundle's own files on its own board; None: not measured."""

    host: Profile | None = None
    firmware: FirmwareProfile | None = None
    device: DeviceProfile | None = None
    pi: PiProfile | None = None
    refused: tuple[str, ...] = ()  # profiles that speak for other files, one line each

    @property
    def on_board(self) -> tuple[BoardProfile, ...]:
        """The profiles of the board."""
        return tuple(p for p in (self.firmware, self.device, self.pi) if p is not None)


def measure_host(release: Release, started: Started | None = None) -> Profile:
    """Return what one inference costs on this host, and store it; `started` as in
    `profile_host`.
    """
    profile = profile_host(release_workload(release), started)
    release.store(HOST, profile.to_json())
    return profile


def measure_board(release: Release, target: Target) -> BoardProfile:
    """Return what one decision costs on a board, and store it.

    Raises:
        QuarlError: as `profile_emulated`, `profile_device` and `profile_pi`.
    """
    platform = platform_of(target.board)
    workload = release_workload(release, platform, trust=target.trust)
    profile = platform.measure(workload, target)
    release.store(profile_file(profile), profile.to_json())
    return profile


def profile_file(profile: BoardProfile) -> str:
    """Return the name of a profile's file in a bundle."""
    return f"{KINDS[type(profile)]}.{profile.board}.json"


def read_measurements(release: Release) -> Measurements:
    """Return the stored profiles of this host and of the bundle's board.

    A profile of other files, another board or another arithmetic is refused by name.

    Raises:
        InputError: a file is not a profile.
    """
    board, refused = release.manifest.board, list[str]()
    host = _stored(release, HOST, profile_from, None, refused)
    if board is None:
        return Measurements(host, refused=tuple(refused))
    names = {kind: f"{word}.{board}.json" for kind, word in KINDS.items()}
    return Measurements(
        host,
        _stored(release, names[FirmwareProfile], firmware_profile_from, board, refused),
        _stored(release, names[DeviceProfile], device_profile_from, board, refused),
        _stored(release, names[PiProfile], pi_profile_from, board, refused),
        tuple(refused),
    )


def other_boards(release: Release) -> tuple[str, ...]:
    """Return the boards, not the bundle's own, that a stored profile is of, sorted."""
    names = {
        path.name.split(".")[1]
        for kind in KINDS.values()
        for path in release.folder.glob(f"{kind}.*.json")
    }
    return tuple(sorted(names - {release.manifest.board}))


def _stored(
    release: Release,
    name: str,
    decode: Callable[[bytes, str], P],
    board: str | None,
    refused: list[str],
) -> P | None:
    """Return a stored profile; one that is refused is None, and its reason is added."""
    data = release.stored(name)
    if data is None:
        return None
    profile = decode(data, str(release.folder / name))
    reason = _mismatch(profile.subject, release, board)
    if reason is None:
        return profile
    refused.append(f"{name}: {reason}: run quarl profile again")
    return None


def _mismatch(subject: Subject, release: Release, board: str | None) -> str | None:
    if subject.board != board:
        return f"is of {subject.board or 'this host'}, not of {board or 'this host'}"
    if subject.arithmetic != ARITHMETIC:
        return f"measured arithmetic {subject.arithmetic}, this quarl computes {ARITHMETIC}"
    differing = subject.differences(release.manifest.files)
    return f"measured another {differing[0]} than the manifest lists" if differing else None
