"""How a number reads in the report: four significant digits at most, thousands separated, the unit
behind a no-break space.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

GAP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int = 4) -> str:
    """Return a number with at most `digits` significant digits; integers keep all of theirs."""
    if not math.isfinite(value):
        return (
            "\N{INFINITY}" if value > 0 else f"{MINUS}\N{INFINITY}" if value < 0 else "not a number"
        )
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif 1e-4 <= abs(value) < 10**6:
        decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
        text = f"{value:,.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return text.replace("-", MINUS)


def signed(value: float, digits: int = 4) -> str:
    """Return a number that always shows its sign, for differences."""
    return number(value, digits) if value < 0 or value == 0 else f"+{number(value, digits)}"


def decimals_for(values: Iterable[float], digits: int = 4) -> int:
    """Return with how many decimals the largest of these has `digits` significant digits, for
    numbers that are compared.
    """
    largest = max((abs(value) for value in values), default=0.0)
    return 0 if largest == 0 else min(max(digits - 1 - math.floor(math.log10(largest)), 0), 6)


def fixed(value: float, decimals: int) -> str:
    """Return a number with this many decimals, for columns that are read from top to bottom."""
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def with_unit(value: float, unit: str) -> str:
    """Return a number and its unit as quarl's files name it."""
    match unit:
        case "us":
            return time(value)
        case "B":
            return size(value)
        case "of range":
            return f"{percent(value)} of the range"
        case "":
            return number(value)
        case _:
            return f"{number(value)}{GAP}{unit}"


def time(value_us: float) -> str:
    """Return a time in the unit that suits it."""
    if abs(value_us) >= 1e6:
        return f"{number(value_us / 1e6)}{GAP}s"
    if abs(value_us) >= 1e3:
        return f"{number(value_us / 1e3)}{GAP}ms"
    return f"{number(value_us, 3)}{GAP}µs"


def size(value_bytes: float) -> str:
    """Return a number of bytes, in KiB or MiB from ten of them on."""
    if value_bytes >= 10 * 2**20:
        return f"{number(value_bytes / 2**20)}{GAP}MiB"
    if value_bytes >= 10 * 2**10:
        return f"{number(value_bytes / 2**10)}{GAP}KiB"
    return f"{number(value_bytes)}{GAP}B"


def percent(share: float, digits: int = 3) -> str:
    """Return a share, 0..1, in percent."""
    value = 100 * share
    if 0 < abs(value) < 0.01:
        return f"{'<' if value > 0 else f'{MINUS}<'}{GAP}0.01{GAP}%"
    return f"{number(float(f'{value:.{digits}g}'), digits)}{GAP}%"


def count(amount: int, one: str, many: str | None = None) -> str:
    """Return an amount with its noun."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def prose(words: str) -> str:
    """Return a sentence from quarl's files with the signs and the capital letter of a page."""
    words = micro(words)
    return words[:1].upper() + words[1:]


def micro(words: str) -> str:
    """Return words from quarl's files, which are plain ASCII, with the sign of microseconds."""
    return re.sub(r"(?<=\d) us\b", f"{GAP}µs", words)
