"""`scipy.special`, loaded by the first number that is asked of it: loading takes longer than most
commands, and few of them judge anything. `scipy.stats` has the same functions and loads longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scipy.special import *  # noqa: F403


def __getattr__(name: str) -> Any:
    from scipy import special

    found = globals()[name] = getattr(special, name)
    return found
