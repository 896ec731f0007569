"""The runtimes of a Pi beside the integer reference: one `BackendEquality` each."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.linux import LinuxBoard
from quarl.evidence.backends import FRAMES, equality_of
from quarl.evidence.evidence import BackendEquality
from quarl.graph.reference import integer_outputs
from quarl.links.pi import sha256_of
from quarl.links.pi_link import open_pi_link
from quarl.profiles.pi.measure import ALL_RUNTIMES, outputs_of_pi
from quarl.profiles.workload import Workload
from quarl.resources import default_cache_dir

BACKENDS = tuple(f"pi_{runtime}" for runtime in ALL_RUNTIMES)


def compare_on_pi(
    workload: Workload, board: LinuxBoard, link: str | None
) -> tuple[BackendEquality, ...]:
    """Return each runtime of the Pi beside the integer reference; of images the first FRAMES are
    asked. Errors as `profile_pi` and `open_pi_link`.
    """
    is_image = workload.policy.contract.observation.is_image
    obs = workload.obs[:FRAMES] if is_image else workload.obs
    expected, opened = integer_outputs(workload.policy, obs), open_pi_link(link, board)
    answers = outputs_of_pi(replace(workload, obs=obs), board, opened, default_cache_dir())
    return tuple(
        equality_of(
            f"pi_{runtime}",
            f"{release} on {board.name} ({opened.link}, outputs SHA-256 "
            f"{sha256_of(outputs.tobytes())})",
            expected,
            outputs,
        )
        for runtime, (release, outputs) in answers.items()
    )
