"""A policy on a Pi, as the pipeline asks for it: profiled, or compared with the integer reference.

In: the policy, its held-out observations, the board, and the words of `--link`. Out: a `PiProfile`,
or one `BackendEquality` per runtime.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from quarl.boards.linux import LinuxBoard
from quarl.errors import InputError
from quarl.evidence.evidence import BackendEquality
from quarl.evidence.gather import equality_of
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs
from quarl.links.local import LocalPi
from quarl.links.pi import PiLink, sha256_of
from quarl.links.qemu_user import EmulatedPi
from quarl.links.ssh import PREFIX, SshPi
from quarl.pi.root import open_root
from quarl.profiles.pi.measure import ALL_RUNTIMES, outputs_of_pi, profile_pi
from quarl.profiles.pi.report import PiProfile
from quarl.resources import default_cache_dir

FRAMES = 100  # of images: an emulated convolution takes a second or so a dozen
BACKENDS = tuple(f"pi_{runtime}" for runtime in ALL_RUNTIMES)
EMULATED, LOCAL = "emulated", "local"


def check_pi_link(words: str | None, board: LinuxBoard) -> None:
    """Check, before any work, that there is the link that `--link` names; nothing is connected yet.

    Raises:
        InputError: no such link.
        ToolMissingError: what it needs is not installed.
    """
    if words is None or words == EMULATED:
        open_root(default_cache_dir())
    elif words.startswith(PREFIX):
        SshPi(words.removeprefix(PREFIX))
    elif words != LOCAL:
        raise InputError(
            f"--link {words}: a {board.title} is reached by {EMULATED}, {PREFIX}USER@HOST or "
            f"{LOCAL}"
        )


def open_link(words: str | None, board: LinuxBoard) -> PiLink:
    """Return the way to a Pi that `--link` names; None is the emulated one. Errors as
    `check_pi_link`.
    """
    check_pi_link(words, board)
    if words is None or words == EMULATED:
        cache = default_cache_dir()
        return EmulatedPi(board.cpu, open_root(cache), cache)
    return LocalPi() if words == LOCAL else SshPi(words.removeprefix(PREFIX))


def profile_on_pi(
    source: Policy | None,
    quantized: QuantPolicy,
    obs: NDArray[Any],
    board: LinuxBoard,
    link: str | None,
) -> PiProfile:
    """Return the profile of a policy on a Pi; arguments and errors as `profile_pi` and `open_link`."""
    return profile_pi(
        source, quantized, _some(quantized, obs), board, open_link(link, board), default_cache_dir()
    )


def compare_on_pi(
    quantized: QuantPolicy, obs: NDArray[Any], board: LinuxBoard, link: str | None
) -> tuple[BackendEquality, ...]:
    """Return each runtime of the Pi beside the integer reference; of images the first FRAMES are
    asked. Errors as `profile_on_pi`.
    """
    shown = _some(quantized, obs)
    expected, opened = integer_outputs(quantized, shown), open_link(link, board)
    found = outputs_of_pi(quantized, shown, board, opened, default_cache_dir())
    return tuple(
        equality_of(
            f"pi_{runtime}",
            f"{release} on {board.name} ({opened.link}, outputs SHA-256 "
            f"{sha256_of(outputs.tobytes())})",
            expected,
            outputs,
        )
        for runtime, (release, outputs) in found.items()
    )


def _some(quantized: QuantPolicy, obs: NDArray[Any]) -> NDArray[Any]:
    return obs[:FRAMES] if quantized.contract.observation.is_image else obs
