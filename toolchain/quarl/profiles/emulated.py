"""The firmware's profile: built, booted in the emulator, compared with the reference, counted.

Sizes are exact, instructions emulated, cycles and time estimated; nothing here is measured on
silicon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quarl.boards.microcontroller import Board
from quarl.files.documents import Document, decode, encode
from quarl.firmware.build import build_image, compiler_version
from quarl.firmware.elf import read_image
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.graph.shapes import multiply_accumulates
from quarl.links.count import merged
from quarl.links.firmware_link import (
    UNICORN,
    EmulatedDevice,
    default_emulator,
    open_qemu,
    open_unicorn,
)
from quarl.links.machine import PluginError
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.profiles.cycles import Cycles, cycle_assumptions, estimate_cycles
from quarl.profiles.figure import Figure
from quarl.profiles.workload import Subject, Workload

DOCUMENT = Document("a profile of a firmware", 2, "run quarl profile BUNDLE --board NAME again")
TICKS_SOURCE = "ql_ticks.c"
COMPARED = 8  # observations the device must answer like the reference before anything is counted


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one kernel call costs in one inference."""

    layer: str
    kernel: str
    instructions: int  # emulated
    cycles: Cycles | None  # estimated; None where no blocks were counted
    table_bytes: int


@dataclass(frozen=True, slots=True)
class FirmwareProfile:
    """One policy's firmware for one board."""

    subject: Subject
    board: str
    cpu: str
    clock_hz: int
    link: Literal["unicorn", "qemu-system", "qemu-system -icount"]
    compiler: str
    contract_sha256: str
    multiply_accumulates: int
    flash_bytes: int  # the whole image, harness included
    table_bytes: int  # of it weights, biases, multipliers and tables
    ram_bytes: int  # variables, arena included
    arena_bytes: int  # tensors and scratch, input included
    stack_bytes: int | None  # the deepest seen; None where the link cannot look
    layers: tuple[LayerCost, ...]
    instructions: int  # emulated, from the graph's integers to its outputs
    cycles: Cycles | None
    cycle_assumptions: str
    act_instructions: (
        int | None
    )  # emulated, from the float observation to the action; None for images
    act_cycles: Cycles | None
    compared: int  # observations on which outputs and actions equalled the reference's, bit for bit
    differing: int  # observations on which they did not

    @property
    def latency_us(self) -> tuple[float, float, float] | None:
        """Estimated time of one decision at the board's clock: low, mid, high; None where no blocks
        were counted.
        """
        cycles = self.act_cycles or self.cycles
        return None if cycles is None else cycles.latency_us(self.clock_hz)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures a budget may limit; `firmware_latency_us` is the high end of the estimate."""
        sizes = {
            "flash": self.flash_bytes,
            "ram": self.ram_bytes + (self.stack_bytes or 0),
            "arena": self.arena_bytes,
        }
        if self.stack_bytes is not None:
            sizes["stack"] = self.stack_bytes
        figures = [
            Figure(f"firmware_{name}_bytes", float(value), "B", "exact")
            for name, value in sizes.items()
        ]
        counted = self.instructions if self.act_instructions is None else self.act_instructions
        figures.append(Figure("firmware_instructions", float(counted), "", "emulated"))
        if self.latency_us is not None:
            figures.append(Figure("firmware_latency_us", self.latency_us[2], "us", "estimated"))
        return tuple(figures)

    def to_json(self) -> bytes:
        """Return canonical JSON."""
        return encode(self, DOCUMENT)


def firmware_profile_from(data: bytes, where: str) -> FirmwareProfile:
    """Return the profile written by `to_json`; `where` names the file in messages.

    Raises:
        InputError: it is not one, or of another format.
    """
    return decode(FirmwareProfile, data, where, DOCUMENT)


def profile_emulated(
    workload: Workload, board: Board, cache_dir: Path, link: str | None = None
) -> FirmwareProfile:
    """Return the profile of a policy's firmware on a board's core, run in an emulator.

    Args:
        workload: its first observation is counted, up to COMPARED are compared.
        link: "unicorn" or "qemu-system"; None: unicorn where it has the core.
    Raises:
        ToolMissingError: no compiler or emulator.
        DeviceError: the firmware does not build, boot or answer.
    """
    if (link or default_emulator(board)) == UNICORN:
        return profile_unicorn(workload, board, cache_dir)
    return profile_qemu(workload, board, cache_dir)


def profile_unicorn(workload: Workload, board: Board, cache_dir: Path) -> FirmwareProfile:
    """Return the profile as unicorn gives it; arguments and errors as `profile_emulated`."""
    device = open_unicorn(workload.firmware, board, cache_dir)
    profile = _profile(device, workload, board, _count_blocks(device, workload, board))
    return replace(profile, stack_bytes=device.stack_bytes())


def profile_qemu(workload: Workload, board: Board, cache_dir: Path) -> FirmwareProfile:
    """Return the profile as qemu-system-arm gives it; arguments and errors as `profile_emulated`.

    Where its counting plugin cannot be made or loaded, instructions come from -icount: for the
    whole call only, and without cycles.
    """
    device = open_qemu(workload.firmware, board, cache_dir)
    try:
        counted = _count_blocks(device, workload, board)
    except PluginError as error:
        return profile_icount(workload, board, cache_dir, str(error))
    return replace(_profile(device, workload, board, counted), link="qemu-system")


def profile_icount(
    workload: Workload, board: Board, cache_dir: Path, reason: str
) -> FirmwareProfile:
    """Return the profile as qemu-system-arm gives it without a plugin: no layers, no cycles.

    Args:
        reason: why there is no plugin.
    """
    tree, obs, policy = workload.firmware, workload.obs, workload.policy
    machine = emulated_board(board)
    files = tree.image_files(machine)
    files[TICKS_SOURCE] = b"#define QL_TICKS_BY_SYSTICK\n" + files[TICKS_SOURCE]
    elf = build_image(files, machine, cache_dir)
    counter = QemuDevice(elf, read_image(elf, machine), machine, tree.interface, cache_dir)
    instructions, error = counter.icount_call(quantize_observations(policy, obs[:1]))
    of_act = None if policy.contract.observation.is_image else counter.icount_act(obs[0])[0]
    counted = _Counted((), instructions, None, of_act, None)
    profile = _profile(open_qemu(tree, board, cache_dir), workload, board, counted)
    note = (
        f"no estimate: {reason}; QEMU's -icount counted the whole call, within {error} "
        "instructions, and no blocks"
    )
    return replace(profile, link="qemu-system -icount", cycle_assumptions=note)


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was counted, by whichever means."""

    layers: tuple[LayerCost, ...]
    instructions: int
    cycles: Cycles | None
    act_instructions: int | None
    act_cycles: Cycles | None


def _count_blocks(device: EmulatedDevice, workload: Workload, board: Board) -> _Counted:
    policy, obs, size = workload.policy, workload.obs, device.image.flash_bytes
    tables = device.interface.table_bytes
    counts = device.count_calls(quantize_observations(policy, obs[:1]))
    layers = tuple(
        LayerCost(
            call.layer,
            call.kernel,
            count.instructions,
            estimate_cycles(count, board, size, call.table_bytes),
            call.table_bytes,
        )
        for call, count in zip(device.interface.calls, counts, strict=True)
    )
    whole = merged(counts)
    of_act = None if policy.contract.observation.is_image else device.count_act(obs[0])
    return _Counted(
        layers,
        whole.instructions,
        estimate_cycles(whole, board, size, tables),
        None if of_act is None else of_act.instructions,
        None if of_act is None else estimate_cycles(of_act, board, size, tables),
    )


def _profile(
    device: EmulatedDevice, workload: Workload, board: Board, counted: _Counted
) -> FirmwareProfile:
    policy, obs, image = workload.policy, workload.obs[:COMPARED], device.image
    integers = quantize_observations(policy, obs)
    is_vector = not policy.contract.observation.is_image
    actions = device.act(obs) if is_vector else device.decisions(integers)
    equal = rows_equal(device.run(integers), integer_outputs(policy, obs)) & rows_equal(
        actions, act(policy, obs)
    )
    return FirmwareProfile(
        subject=workload.subject(board.name, artifacts=False, firmware=True),
        board=board.name,
        cpu=board.cpu,
        clock_hz=board.clock_hz,
        link="unicorn",
        compiler=compiler_version(),
        contract_sha256=policy.contract.digest,
        multiply_accumulates=multiply_accumulates(policy),
        flash_bytes=image.flash_bytes,
        table_bytes=device.interface.table_bytes,
        ram_bytes=image.ram_bytes,
        arena_bytes=device.interface.arena_bytes,
        stack_bytes=None,
        layers=counted.layers,
        instructions=counted.instructions,
        cycles=counted.cycles,
        cycle_assumptions=cycle_assumptions(board),
        act_instructions=counted.act_instructions,
        act_cycles=counted.act_cycles,
        compared=len(obs),
        differing=int((~equal).sum()),
    )


def rows_equal(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Return bool [n]: whether each row is equal in every bit that counts."""
    result: NDArray[np.bool_] = (a == b).reshape(len(a), -1).all(axis=1)
    return result
