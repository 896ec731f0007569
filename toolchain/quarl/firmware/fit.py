"""Whether a policy fits a board, decided before anything is built."""

from __future__ import annotations

from collections.abc import Iterable

from quarl.boards.microcontroller import Board
from quarl.errors import BudgetError
from quarl.firmware.c_types import SIZES
from quarl.firmware.image import STACK_BYTES
from quarl.firmware.program import Program
from quarl.firmware.render import observation_bytes
from quarl.graph.quant_policy import QuantConv2D, QuantDense

# more than harness, kernels and start-up have ever taken; the true size is the profile's
CODE_BYTES = 6144
LARGEST = 3


def flash_needed(program: Program) -> int:
    """Return the bytes of flash the firmware will need at most: tables, and room for the code."""
    example = 0 if program.example is None else program.example.bytes
    return program.table_bytes + observation_bytes(program) + example + CODE_BYTES


def ram_needed(program: Program) -> int:
    """Return the bytes of RAM the firmware will need at most: arena, observation, action, and the
    least stack.
    """
    contract = program.policy.contract
    observation = (
        0 if contract.observation.is_image else contract.observation.shape[0] * SIZES["float"]
    )
    return (
        program.plan.arena_bytes
        + observation
        + contract.action.count * SIZES["float"]
        + STACK_BYTES
    )


def int4_saves(program: Program) -> int:
    """Return the bytes of flash that `--weights int4` would save; none where the policy came as
    integers, which stay as they are.
    """
    ops = [
        node.op for node in program.policy.nodes if isinstance(node.op, QuantDense | QuantConv2D)
    ]
    if program.policy.rung is None:
        return 0
    return sum(op.weights.size // 2 for op in ops[1:-1] if op.weight_bits == 8)


def check_fit(program: Program, board: Board, others: Iterable[Board] = ()) -> None:
    """Check that a policy fits a board.

    Args:
        others: boards to suggest where it does not.
    Raises:
        BudgetError: says what is needed and there, the largest parts, and which boards would fit.
    """
    flash, ram = flash_needed(program), ram_needed(program)
    problems = []
    if flash > board.flash.bytes:
        sizes = sorted(
            ((call.bytes, call.node) for call in program.calls if call.bytes), reverse=True
        )[:LARGEST]
        parts = ", ".join(f"{name} ({size:,} B)" for size, name in sizes)
        problems.append(
            f"needs {flash:,} B of flash, the board has {board.flash.bytes:,} B "
            f"({flash - board.flash.bytes:,} B over); "
            f"largest layers: {parts}"
        )
    if ram > board.ram.bytes:
        problems.append(
            f"needs {ram:,} B of RAM, the board has {board.ram.bytes:,} B "
            f"({ram - board.ram.bytes:,} B over); "
            f"the tensors take {program.plan.arena_bytes:,} B"
        )
    if not problems:
        return
    fitting = [
        other.name for other in others if flash <= other.flash.bytes and ram <= other.ram.bytes
    ]
    advice = f"it would fit {', '.join(fitting)}" if fitting else "use a narrower policy"
    if flash - int4_saves(program) <= board.flash.bytes < flash and ram <= board.ram.bytes:
        advice += f"; with --weights int4 it would fit {board.name} too"
    raise BudgetError(f"{board.name}: the policy " + "; it ".join(problems) + f": {advice}")
