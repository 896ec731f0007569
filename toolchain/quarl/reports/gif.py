"""GIF: the pictures of a film as one animated file that plays at the policy's own pace.

In: a `Film`. Out: the file's bytes, the same for the same film and the same Pillow, at most
MOST_BYTES.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from quarl.errors import InputError, ToolMissingError

if TYPE_CHECKING:
    from PIL.Image import Image

    from quarl.reports.player import Film

MOST_BYTES = 8_000_000
WIDEST, NARROWEST = 480, 60  # pixels
COLOURS = 256
_SAMPLES = 16  # frames the palette is chosen from


def check_pillow() -> None:
    """Check that a GIF can be written.

    Raises:
        ToolMissingError: Pillow is not installed.
    """
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ToolMissingError(
            "a GIF needs the Python package pillow, which is not installed: quarl doctor "
            "--install video"
        ) from error


def gif_bytes(film: Film, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the film as a GIF that repeats for ever; it becomes narrower until it is within
    `most_bytes`.

    Raises:
        ToolMissingError: Pillow is not installed.
        InputError: even the narrowest is larger.
    """
    check_pillow()
    width = film.frames.shape[2]
    wanted = width * max(1, min(2, WIDEST // width)) if width <= WIDEST else WIDEST
    while wanted >= NARROWEST:
        data = _encode(film, wanted)
        if len(data) <= most_bytes:
            return data
        wanted = wanted * 2 // 3
    raise InputError(
        f"the film has {len(film.frames)} frames, more than fit into {most_bytes:,} B: film a "
        "shorter episode"
    )


def _encode(film: Film, width: int) -> bytes:
    from PIL import Image

    count, rows, columns, _ = film.frames.shape
    size = (width, max(1, round(rows * width / columns)))
    # whole multiples keep the console's pixels square; anything else is averaged
    filter_ = Image.Resampling.NEAREST if width % columns == 0 else Image.Resampling.BOX
    images = [Image.fromarray(frame).resize(size, filter_) for frame in film.frames]
    palette = _palette(images)
    shown = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    ends = np.round(np.arange(count + 1) * 100 / film.frames_hz).astype(
        int
    )  # in hundredths of a second, as the format counts
    buffer = io.BytesIO()
    durations = [
        max(2, int(length)) * 10 for length in np.diff(ends)
    ]  # viewers slow down what is shorter than 20 ms
    shown[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=shown[1:],
        duration=durations,
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _palette(images: list[Image]) -> Image:
    """Return an image that holds the palette of frames from the whole film."""
    from PIL import Image

    chosen = [
        images[place]
        for place in np.unique(np.linspace(0, len(images) - 1, _SAMPLES).round().astype(int))
    ]
    sheet = Image.fromarray(np.concatenate([np.asarray(image) for image in chosen]))
    return sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
