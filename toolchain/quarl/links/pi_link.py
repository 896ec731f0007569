"""Ways to a Raspberry Pi: emulated, over ssh, or this machine itself.

In: the words of `--link`. Out: a `PiLink`, not connected yet.
"""

from __future__ import annotations

from quarl.boards.linux import LinuxBoard
from quarl.errors import InputError
from quarl.links.local import LocalPi
from quarl.links.pi import PiLink
from quarl.links.qemu_user import EmulatedPi
from quarl.links.ssh import PREFIX, SshPi
from quarl.pi.root import open_root
from quarl.resources import default_cache_dir

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


def open_pi_link(words: str | None, board: LinuxBoard) -> PiLink:
    """Return the way to a Pi that `--link` names; None is the emulated one. Errors as
    `check_pi_link`.
    """
    check_pi_link(words, board)
    if words is None or words == EMULATED:
        cache = default_cache_dir()
        return EmulatedPi(board.cpu, open_root(cache), cache)
    return LocalPi() if words == LOCAL else SshPi(words.removeprefix(PREFIX))
