"""Animation: one episode as a film inside the report, float32 on the left and int8 on the right.

In: a bundle, and the seed of an episode. Out: a GIF with its first frame as a still, for paper and
for readers who want no motion. The environment that the bundle names is run, so this happens only
where somebody asks for it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from quarl.bundle.release import Release
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.reports.gif import check_pillow, gif_bytes
from quarl.reports.player import Film, beside, bundle_player, film
from quarl.reports.replay import worth_a_look
from quarl.stats.seeds import SCORE_SEED

MOST_BYTES = 1_000_000  # of the film; base64 makes it a third larger in the page


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one player did."""

    total: float  # return
    steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Animation:
    """A film ready for the page."""

    env: str
    seed: int
    reason: str  # why this episode
    source: Side
    int8: Side
    frames: int
    frames_hz: float
    gif: bytes
    still: bytes  # its first frame, PNG
    width: int
    height: int


def animate(release: Release, paired: PairedEpisodes | None) -> Animation:
    """Return a film of the episode in which int8 lost most, or of the first one where none is
    known.

    Raises:
        InputError: there is no environment or no float source, or it draws no pictures.
        ToolMissingError: Pillow is not installed.
    """
    check_pillow()
    source, int8 = (bundle_player(release, None, int8=int8) for int8 in (False, True))
    place, reason = (0, "first seed") if paired is None else worth_a_look(paired)[0]
    seed = SCORE_SEED if paired is None else paired.source.seeds[place]
    films = film(source, seed), film(int8, seed)
    both = beside(*films)
    data = gif_bytes(both, MOST_BYTES)
    still, size = _still(data)
    return Animation(
        env=source.env.registered_id,
        seed=seed,
        reason=reason,
        source=_side(films[0]),
        int8=_side(films[1]),
        frames=len(both.frames),
        frames_hz=both.frames_hz,
        gif=data,
        still=still,
        width=size[0],
        height=size[1],
    )


def _side(film: Film) -> Side:
    return Side(film.total, film.steps)


def _still(gif: bytes) -> tuple[bytes, tuple[int, int]]:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(gif)) as image:
        image.save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), image.size
