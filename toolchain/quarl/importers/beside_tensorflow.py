"""What has to happen before TensorFlow is imported, so that it is quiet and a process can hold
torch beside it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module


def prepare_for_tensorflow() -> None:
    """Load triton, where torch brought it along, and silence TensorFlow's log unless the user has
    set its level.

    Both carry an LLVM, and since 2.20 TensorFlow's is visible to all that is loaded after it: there
    triton's crashes the process (tensorflow issue 124205), and torch loads triton with the first
    optimiser, which loading a Stable-Baselines3 file makes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules:
        with suppress(ImportError):  # torch's CPU build has none
            import_module("triton")
