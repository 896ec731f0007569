"""Files of films, by the ending of their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from quarl.errors import InputError
from quarl.reports.gif import check_pillow, gif_bytes
from quarl.reports.mp4 import ffmpeg, mp4_bytes

if TYPE_CHECKING:
    from quarl.reports.player import Film

ENCODERS: dict[str, Callable[[Film], bytes]] = {".gif": gif_bytes, ".mp4": mp4_bytes}
_NEEDS: dict[str, Callable[[], object]] = {".gif": check_pillow, ".mp4": ffmpeg}


def check_film_file(video: Path) -> None:
    """Check, before anything is played, that such a film can be written here.

    Raises:
        InputError: the name ends otherwise. ToolMissingError: what writes it is not installed.
    """
    if video.suffix not in ENCODERS:
        raise InputError(f"--video {video}: must end in {' or '.join(ENCODERS)}")
    _NEEDS[video.suffix]()
