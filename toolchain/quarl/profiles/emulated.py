"""The firmware's profile: built, booted in the emulator, compared with the reference, counted.

Sizes are exact, instructions emulated, cycles and time estimated; nothing here is measured on
silicon.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.boards.cortex_m import Board, read_boards
from quarl.errors import InputError
from quarl.firmware.build import build_image, compiler_version
from quarl.firmware.elf import Image, read_image
from quarl.firmware.example import with_example
from quarl.firmware.fit import check_fit
from quarl.firmware.image import harness_sources
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.sources import kernels_for, program_sources
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.graph.shapes import multiply_accumulates
from quarl.links.count import merged
from quarl.links.machine import PluginError
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.links.unicorn import UnicornDevice
from quarl.profiles.cycles import Cycles, cycle_assumptions, estimate_cycles
from quarl.profiles.figure import Figure
from quarl.resources import targets_dir

FORMAT = 1
Device: TypeAlias = UnicornDevice | QemuDevice
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

    def to_json(self) -> str:
        """Return canonical JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def firmware_profile_from_json(text: str, where: str) -> FirmwareProfile:
    """Return the profile written by `to_json`; `where` names the file in messages.

    Raises:
        InputError: not a firmware profile, or one of another format version.
    """
    try:
        document = json.loads(text)
        found = document.pop("format")
        if found != FORMAT:
            raise InputError(
                f"{where}: format {found}, this quarl reads format {FORMAT}: run quarl "
                "profile again"
            )
        layers = tuple(
            LayerCost(**{**layer, "cycles": _cycles_from(layer["cycles"])})
            for layer in document.pop("layers")
        )
        cycles, of_act = (
            _cycles_from(document.pop("cycles")),
            _cycles_from(document.pop("act_cycles")),
        )
        return FirmwareProfile(**document, layers=layers, cycles=cycles, act_cycles=of_act)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: not a firmware profile ({error!r}): run quarl profile again"
        ) from error


def open_firmware(policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path) -> Device:
    """Return the policy's firmware, built and booted: in unicorn where that has the core, in QEMU
    otherwise.

    Args:
        obs: observations [n, *shape] in environment units, as given to `write_firmware`: the
            example replayed at boot.
    Raises:
        BudgetError: it does not fit. ToolMissingError: no compiler or emulator. DeviceError: it
            does not build or boot.
    """
    return (
        open_unicorn(policy, obs, board, cache_dir)
        if board.core.emulation.unicorn
        else open_qemu(policy, obs, board, cache_dir)
    )


def open_unicorn(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path
) -> UnicornDevice:
    """Return the policy's firmware, linked for the board and booted in unicorn; errors as
    `open_firmware`.
    """
    program, image = build_firmware(policy, obs, board, cache_dir)
    return UnicornDevice(image, board, program)


def open_qemu(policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path) -> QemuDevice:
    """Return the policy's firmware for QEMU's machine with the board's core; it must fit the board
    itself. Errors as `open_firmware`.
    """
    machine = emulated_board(board)
    program = checked_program(policy, obs, board)
    elf = build_image(program_sources(program) | harness_sources(machine), machine, cache_dir)
    return QemuDevice(elf, read_image(elf, machine), machine, program, cache_dir)


def build_firmware(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path
) -> tuple[Program, Image]:
    """Return the program and its linked image; from the cache if nothing has changed."""
    program = checked_program(policy, obs, board)
    files: Mapping[str, bytes] = program_sources(program) | harness_sources(board)
    return program, read_image(build_image(files, board, cache_dir), board)


def profile_firmware(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path
) -> FirmwareProfile:
    """Return the profile of a policy's firmware on a board's core: in unicorn where that has the
    core, in QEMU otherwise.

    Args:
        obs: observations [n, *shape] in environment units; the first is counted, up to COMPARED are
            compared.
    Raises:
        InputError: no observations.
        BudgetError, ToolMissingError, DeviceError: see `open_firmware`.
    """
    if board.core.emulation.unicorn:
        return profile_unicorn(policy, obs, board, cache_dir)
    return profile_qemu(policy, obs, board, cache_dir)


def profile_unicorn(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path
) -> FirmwareProfile:
    """Return the profile as unicorn gives it; arguments and errors as `profile_firmware`."""
    device = open_unicorn(policy, obs, board, cache_dir)
    profile = _profile(device, policy, obs, board)
    return replace(profile, stack_bytes=device.stack_bytes())


def profile_qemu(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path
) -> FirmwareProfile:
    """Return the profile as qemu-system-arm gives it; arguments and errors as `profile_firmware`.

    Where its counting plugin cannot be made or loaded, instructions come from -icount: for the
    whole call only, and without cycles.
    """
    device = open_qemu(policy, obs, board, cache_dir)
    try:
        return replace(_profile(device, policy, obs, board), link="qemu-system")
    except PluginError as error:
        return profile_icount(policy, obs, board, cache_dir, str(error))


def profile_icount(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path, reason: str
) -> FirmwareProfile:
    """Return the profile as qemu-system-arm gives it without a plugin: no layers, no cycles;
    `reason` says why.
    """
    device = open_qemu(policy, obs, board, cache_dir)
    machine = emulated_board(board)
    files: dict[str, bytes] = {**program_sources(device.program), **harness_sources(machine)}
    files[TICKS_SOURCE] = b"#define QL_TICKS_BY_SYSTICK\n" + files[TICKS_SOURCE]
    elf = build_image(files, machine, cache_dir)
    counter = QemuDevice(elf, read_image(elf, machine), machine, device.program, cache_dir)
    instructions, error = counter.icount_call(quantize_observations(policy, obs[:1]))
    of_act = None if policy.contract.observation.is_image else counter.icount_act(obs[0])[0]
    counted = _Counted((), instructions, None, of_act, None)
    profile = _profile(device, policy, obs, board, counted)
    note = (
        f"no estimate: {reason}; QEMU's -icount counted the whole call, within {error} "
        "instructions, and no blocks"
    )
    return replace(profile, link="qemu-system -icount", cycle_assumptions=note)


def checked_program(policy: QuantPolicy, obs: NDArray[Any], board: Board) -> Program:
    """Return the policy as a program for the board's core, its example made of the observations.

    Raises:
        InputError: no observations. BudgetError: it does not fit.
    """
    if not len(obs):
        raise InputError("firmware: no observations to make its example of: give at least one")
    program = with_example(lower(policy, kernels_for(board)), obs)
    check_fit(program, board, read_boards(targets_dir()).values())
    return program


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was counted, by whichever means."""

    layers: tuple[LayerCost, ...]
    instructions: int
    cycles: Cycles | None
    act_instructions: int | None
    act_cycles: Cycles | None


def _count_blocks(device: Device, policy: QuantPolicy, obs: NDArray[Any], board: Board) -> _Counted:
    program, size = device.program, device.image.flash_bytes
    counts = device.count_calls(quantize_observations(policy, obs[:1]))
    layers = tuple(
        LayerCost(
            call.node,
            call.kernel,
            count.instructions,
            estimate_cycles(count, board, size),
            call.bytes,
        )
        for call, count in zip(program.calls, counts, strict=True)
    )
    whole = merged(counts)
    of_act = None if policy.contract.observation.is_image else device.count_act(obs[0])
    return _Counted(
        layers,
        whole.instructions,
        estimate_cycles(whole, board, size),
        None if of_act is None else of_act.instructions,
        None if of_act is None else estimate_cycles(of_act, board, size),
    )


def _profile(
    device: Device,
    policy: QuantPolicy,
    obs: NDArray[Any],
    board: Board,
    counted: _Counted | None = None,
) -> FirmwareProfile:
    obs, program, image = obs[:COMPARED], device.program, device.image
    integers = quantize_observations(policy, obs)
    is_vector = not policy.contract.observation.is_image
    actions = device.act(obs) if is_vector else device.decisions(integers)
    equal = rows_equal(device.run(integers), integer_outputs(policy, obs)) & rows_equal(
        actions, act(policy, obs)
    )
    found = counted or _count_blocks(device, policy, obs, board)
    return FirmwareProfile(
        board=board.name,
        cpu=board.cpu,
        clock_hz=board.clock_hz,
        link="unicorn",
        compiler=compiler_version(),
        contract_sha256=policy.contract.digest,
        multiply_accumulates=multiply_accumulates(policy),
        flash_bytes=image.flash_bytes,
        table_bytes=program.table_bytes,
        ram_bytes=image.ram_bytes,
        arena_bytes=program.plan.arena_bytes,
        stack_bytes=None,
        layers=found.layers,
        instructions=found.instructions,
        cycles=found.cycles,
        cycle_assumptions=cycle_assumptions(board),
        act_instructions=found.act_instructions,
        act_cycles=found.act_cycles,
        compared=len(obs),
        differing=int((~equal).sum()),
    )


def _cycles_from(table: Mapping[str, int] | None) -> Cycles | None:
    return None if table is None else Cycles(**table)


def rows_equal(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Return bool [n]: whether each row is equal in every bit that counts."""
    result: NDArray[np.bool_] = (a == b).reshape(len(a), -1).all(axis=1)
    return result
