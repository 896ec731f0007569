"""The workload of a profile: the files that are measured, and what they are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from quarl.bundle.manifest import ARITHMETIC, ARTIFACTS, FIRMWARE_FOLDER
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.files.digests import digests
from quarl.files.documents import Digest, Name
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.firmware.source_tree import SourceTree, source_tree_from
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.resources import VERSION


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, so that figures of other files can be told apart."""

    board: Name | None  # None: this host
    arithmetic: int
    quarl: Name  # version that measured
    files: Mapping[str, Digest]  # SHA-256 by path in the bundle

    def differences(self, files: Mapping[str, str]) -> tuple[str, ...]:
        """Return the measured files that differ from `files`, the manifest's, sorted."""
        return tuple(sorted(name for name, sha in self.files.items() if files.get(name) != sha))


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Artifacts or firmware to run, observations to ask, and the reference to compare with."""

    policy: QuantPolicy  # the NumPy reference
    source: Policy | None  # measured in float32 beside it; None: int8 alone
    obs: NDArray[Any]  # [n, *shape] in environment units, n >= 1
    artifacts: Mapping[str, bytes]  # by name of the file in the bundle
    tree: SourceTree | None  # None: no board

    @property
    def firmware(self) -> SourceTree:
        """The sources of the firmware.

        Raises:
            InputError: there are none.
        """
        if self.tree is None:
            raise InputError("the bundle has no firmware: export it with --board NAME")
        return self.tree

    def artifact(self, runtime: str) -> bytes:
        """Return the bytes of the artifact that a runtime runs."""
        return self.artifacts[ARTIFACTS[runtime][0]]

    def asked(self, obs: NDArray[Any]) -> Workload:
        """Return the workload with other observations."""
        return replace(self, obs=obs)

    def subject(self, board: str | None, *, artifacts: bool, firmware: bool) -> Subject:
        """Return what a profile of these files says it has measured."""
        measured = dict(self.artifacts) if artifacts else {}
        if firmware:
            files = self.firmware.files
            measured |= {f"{FIRMWARE_FOLDER}/{name}": data for name, data in files.items()}
        return Subject(board, ARITHMETIC, VERSION, digests(measured))


class FirmwareWriter(Protocol):
    """A board for which firmware can be written."""

    @property
    def name(self) -> str:
        """The board's name."""

    @property
    def runs_as_user(self) -> bool:
        """Whether what is built for it runs with the rights of a user."""

    def write(
        self, policy: QuantPolicy, obs: NDArray[Any], prefix: str = DEFAULT_PREFIX
    ) -> SourceTree:
        """Return the sources of a policy's firmware.

        Args:
            obs: observations [n, *shape] in environment units, n >= 1; the first ones become the
                example that is replayed at boot.
            prefix: what the policy's functions, types, macros and files are called.
        Raises:
            InputError: no observations, or a prefix that is not possible.
            BudgetError: the policy does not fit the board.
            UnsupportedError, QuantizationError: see `quarl.firmware.lower`.
        """


def release_workload(
    release: Release, board: FirmwareWriter | None = None, *, trust: bool = False
) -> Workload:
    """Return the workload of a bundle: its own artifacts, and its own firmware.

    Args:
        board: another board than the bundle's gets the firmware that an export for it would
            write; None: no firmware.
        trust: whether Linux programs of C code that another quarl wrote may run.
    Raises:
        InputError: an artifact is missing, or the bundle's firmware has no interface.
        BudgetError: the policy does not fit another board.
    """
    tree = None
    if board is not None and board.name == release.manifest.board:
        where = str(release.folder / FIRMWARE_FOLDER)
        tree = source_tree_from(release.firmware_files, release.contract, where)
        if board.runs_as_user and not trust:
            _check_own(tree, _written_again(release, board, tree), where)
    elif board is not None:
        tree = board.write(release.quantized, release.example.obs)
    files = {name: release.file(name) for name, _ in ARTIFACTS.values()}
    return Workload(release.quantized, release.source, release.example.obs, files, tree)


def _written_again(release: Release, board: FirmwareWriter, tree: SourceTree) -> SourceTree:
    names = tree.interface.names
    return board.write(release.quantized, release.example.obs, names.prefix)


def _check_own(tree: SourceTree, written: SourceTree, where: str) -> None:
    """Check that C code which will run with the rights of a user is what this quarl writes.

    An emulated microcontroller is a closed box. A Linux program can do what its user can, on this
    machine under emulation too.

    Raises:
        InputError: a file differs; names the first.
    """
    differing = sorted(
        name
        for name in {*tree.files, *written.files}
        if tree.files.get(name) != written.files.get(name)
    )
    if differing:
        raise InputError(
            f"{where}/{differing[0]}: is not what quarl {VERSION} writes for this "
            "policy, and a Linux program runs with your rights: export the bundle again, or add "
            "--trust if you know who wrote it"
        )
