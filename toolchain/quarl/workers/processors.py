"""How many processors a process may use: all that the system gives it, and one for a worker, beside
which others work.
"""

from __future__ import annotations

import os

_VARIABLE = "QUARL_PROCESSORS"
# what the libraries for linear algebra read when they are loaded
ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", _VARIABLE: "1"}


def processors() -> int:
    """Return how many processors this process may use."""
    asked = os.environ.get(_VARIABLE, "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def only_one() -> None:
    """Use one processor in this process from now on."""
    os.environ.update(ONE)
