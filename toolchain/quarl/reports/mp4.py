"""MP4: the pictures of a film as H.264, which a browser, a phone and a slide show play.

In: a `Film`. Out: the file's bytes, the same for the same film and the same ffmpeg. ffmpeg is the
program of that name, or the one that the Python package imageio-ffmpeg brings.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from quarl import tools
from quarl.errors import DeviceError, ToolMissingError

if TYPE_CHECKING:
    from quarl.reports.player import Film

NARROW = 240  # pixels; a narrower picture is drawn at twice its size
QUALITY = "20"  # of x264, constant rate factor: 18 looks like the source, 23 is its default
_TIMEOUT_S = 300.0
_BITEXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1")


def ffmpeg() -> str:
    """Return the program's path.

    Raises:
        ToolMissingError: there is none.
    """
    program = shutil.which("ffmpeg")
    if program is not None:
        return program
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    raise ToolMissingError(
        "an MP4 needs the program ffmpeg, which is not installed: pip install imageio-ffmpeg, or "
        "name a file that ends in .gif"
    )


def mp4_bytes(film: Film) -> bytes:
    """Return the film as an MP4.

    Raises:
        ToolMissingError: there is no ffmpeg.
        DeviceError: ffmpeg refuses it; its last line is in the message.
    """
    program = ffmpeg()
    with tempfile.TemporaryDirectory(prefix="quarl-film-") as folder:
        out = Path(folder) / "film.mp4"  # not a pipe: the format's index is written last
        argv = [program, *_arguments(film.frames.shape, film.frames_hz), str(out)]
        done = tools.run(argv, input=film.frames.tobytes(), timeout=_TIMEOUT_S)
        if done.returncode != 0 or not out.is_file():
            words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise DeviceError(
                f"{program} wrote no film: {' '.join(words) or 'it does not say why'}"
            )
        return out.read_bytes()


def _arguments(shape: tuple[int, ...], frames_hz: float) -> list[str]:
    """Return what ffmpeg is told, but where to write.

    H.264 with the colours that every player knows (yuv420p) takes even widths and heights only.
    """
    _, height, width, _ = shape
    larger = "scale=iw*2:ih*2:flags=neighbor," if width < NARROW else ""
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast", "-crf", QUALITY]
    return [
        *("-v", "error", "-y", *source, "-r", f"{frames_hz:g}", "-i", "-", "-an"),
        *("-vf", larger + even, *coded, "-threads", "1", "-movflags", "+faststart", *_BITEXACT),
    ]
