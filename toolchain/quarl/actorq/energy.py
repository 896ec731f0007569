"""Energy of the processor packages, where Linux lets it be read (RAPL).

In: nothing. Out: joules since boot, or None. They are of the whole machine: other work counts too.
"""

from __future__ import annotations

from pathlib import Path

DOMAINS = Path("/sys/class/powercap")


def package_joules(domains: Path = DOMAINS) -> float | None:
    """Return the sum over the packages, None where no counter can be read.

    A counter wraps around after some hours; a run that sees less at its end than at its start must
    not use the difference.
    """
    found = []
    for domain in sorted(domains.glob("intel-rapl:?")) if domains.is_dir() else ():
        try:
            found.append(int((domain / "energy_uj").read_text()))
        except (OSError, ValueError):
            return None
    return sum(found) / 1e6 if found else None
