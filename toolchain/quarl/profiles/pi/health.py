"""What spoils a measurement on a Pi: judged from what the machine told before and after it.

In: two `Health`s. Out: the reasons why a run is invalid, and remarks that only belong beside its
figures.
Bits of `vcgencmd get_throttled`: 0 under-voltage, 1 the clock is capped, 2 throttled, 3 soft
temperature limit; 16 to 19 since boot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

NOW_BITS = {
    0: "under-voltage",
    1: "the clock is capped",
    2: "throttled",
    3: "the soft temperature limit is reached",
}
SINCE_BOOT = 16
# the firmware measures the clock, and its readings of a steady one differ by less
CLOCK_NOISE = 0.05
HOT_C = 80.0  # throttling starts there on every model
BUSY = 1.5  # load: more than the measurement itself


@dataclass(frozen=True, slots=True)
class Health:
    """One look; None where the machine does not tell. Fields as `agent.health` says."""

    throttled: int | None
    clock_hz: int | None
    requested_clock_hz: int | None
    highest_clock_hz: int | None
    governor: str | None
    temperature_c: float | None
    swapped_pages: int | None
    load: float | None


def spoiling(before: Health, after: Health) -> tuple[str, ...]:
    """Return why what was measured between two looks must not be reported; empty where it may."""
    reasons = []
    for bit, meaning in NOW_BITS.items():
        now = [
            look.throttled is not None and bool(look.throttled >> bit & 1)
            for look in (before, after)
        ]
        if any(now):
            reasons.append(
                f"{meaning} ({'before' if now[0] else 'after'} the run, "
                f"throttled={_hex(before if now[0] else after)})"
            )
        elif (
            before.throttled is not None
            and ((after.throttled or 0) & ~before.throttled) >> (SINCE_BOOT + bit) & 1
        ):
            reasons.append(
                f"{meaning} at some moment of the run (throttled={_hex(before)} before, "
                f"{_hex(after)} after)"
            )
    clocks = (before.clock_hz, after.clock_hz)
    if (
        clocks[0] is not None
        and clocks[1] is not None
        and abs(clocks[1] - clocks[0]) > CLOCK_NOISE * clocks[0]
    ):
        reasons.append(
            f"the clock went from {clocks[0] / 1e6:,.0f} MHz to {clocks[1] / 1e6:,.0f} MHz"
        )
    elif before.highest_clock_hz is not None and before.highest_clock_hz != after.highest_clock_hz:
        reasons.append(
            f"the highest clock allowed went from {_mhz(before.highest_clock_hz)} to "
            f"{_mhz(after.highest_clock_hz)}"
        )
    if (
        before.swapped_pages is not None
        and after.swapped_pages is not None
        and after.swapped_pages > before.swapped_pages
    ):
        reasons.append(
            f"pages swapped by the machine: {after.swapped_pages - before.swapped_pages:,}"
        )
    return tuple(reasons)


def without_clock(look: Health) -> Health:
    """Return a look whose clock says nothing: an idle Pi's is lower than a busy one's, and that is
    no change.
    """
    return replace(look, clock_hz=None, requested_clock_hz=None)


def remarks(before: Health, after: Health) -> tuple[str, ...]:
    """Return what a reader of the figures should know, though it does not spoil them."""
    found = []
    if before.throttled is not None and before.throttled >> SINCE_BOOT:
        old = [
            meaning
            for bit, meaning in NOW_BITS.items()
            if before.throttled >> (SINCE_BOOT + bit) & 1
        ]
        found.append(
            f"since it was started the Pi has known: {', '.join(old)} "
            f"(throttled={_hex(before)}); not during this run"
        )
    if before.throttled is None:
        found.append("the Pi does not tell whether it was throttled (no vcgencmd)")
    if before.governor is not None and before.governor != "performance":
        found.append(
            f"governor {before.governor}: the clock follows the load, and a policy called now "
            "and then meets a lower one"
        )
    if after.temperature_c is not None and after.temperature_c >= HOT_C:
        found.append(f"{after.temperature_c:.1f} C at the end: throttling begins at {HOT_C:.0f} C")
    if before.load is not None and before.load > BUSY:
        found.append(f"load {before.load:g}: other programs ran beside the measurement")
    return tuple(found)


def _hex(look: Health) -> str:
    return f"{look.throttled or 0:#x}"


def _mhz(clock_hz: int | None) -> str:
    return "unknown" if clock_hz is None else f"{clock_hz / 1e6:,.0f} MHz"
