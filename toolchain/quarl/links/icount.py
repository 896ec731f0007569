"""Instructions without the counting plugin: QEMU's virtual clock advances by a fixed time per
instruction, and SysTick reads it.

In: a firmware whose ticks come from SysTick, requests of one kind. Out: instructions of the whole
call, not of its layers.
Each instruction takes 2^shift ns, so a tick is worth 10^9 / (2^shift * SysTick's Hz) of them.
SysTick has 24 bits: a call that wraps it reads as 0 ticks, and is asked again with a smaller shift.
What is counted begins in `ql_ticks_start` and ends in `ql_ticks_passed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quarl.errors import DeviceError

SHIFTS = (6, 3, 0)  # one instruction is at least a tick; an eighth; a fortieth or so
OVERHEAD = 12  # instructions between the two readings that are not the call's own
Ask = Callable[[Sequence[str]], int]
"""Returns the ticks of one call, in QEMU with these options."""


def instructions_by_icount(ask: Ask, ticks_hz: int) -> tuple[int, int]:
    """Return the instructions of one call, and by how many that may be wrong either way.

    Args:
        ticks_hz: of the emulated machine.
    Raises:
        DeviceError: SysTick wraps even at the smallest shift, or does not run.
    """
    for shift in SHIFTS:
        ticks = ask(["-icount", f"shift={shift},align=off,sleep=off"])
        if ticks:
            per_tick = 1e9 / (2**shift * ticks_hz)
            return max(0, round(ticks * per_tick) - OVERHEAD), OVERHEAD + round(per_tick)
    raise DeviceError(
        "QEMU's SysTick counted nothing: the call takes more instructions than it can hold"
    )
