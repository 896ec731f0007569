"""What `quarl play` shows: text for people, and plain values for --json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quarl.cli.table import table

if TYPE_CHECKING:
    from quarl.reports.player import Film, Player
    from quarl.rollouts.episodes import Episodes


def played_table(player: Player, played: Episodes) -> dict[str, Any]:
    """Return the episodes as plain values."""
    successes = played.successes
    return {
        "policy": player.name,
        "arithmetic": player.arithmetic,
        "env": {"id": player.env.id, "kwargs": dict(player.env.kwargs)},
        "seeds": list(played.seeds),
        "returns": played.returns.tolist(),
        "steps": played.lengths.tolist(),
        "successes": None if successes is None else successes.tolist(),
        "mean_return": float(played.returns.mean()),
        "std_return": _spread(played),
        "success_rate": None if successes is None else float(successes.mean()),
    }


def played_text(player: Player, played: Episodes) -> str:
    """Return the episodes and their mean as text."""
    successes = played.successes
    rows = [
        (
            str(seed),
            f"{found:.5g}",
            f"{length:,}",
            *(() if successes is None else ("yes" if successes[i] else "no",)),
        )
        for i, (seed, found, length) in enumerate(
            zip(played.seeds, played.returns, played.lengths, strict=True)
        )
    ]
    header = ("seed", "return", "steps", *(() if successes is None else ("success",)))
    arguments = "".join(f", {key} = {value}" for key, value in player.env.kwargs.items())
    spread = _spread(played)
    mean = f"mean return {played.returns.mean():.5g}" + (
        "" if spread is None else f" +- {spread:.3g} (standard deviation)"
    )
    if successes is not None:
        mean += f", success {100 * successes.mean():.1f} %"
    episodes = f"{len(rows)} episode" + "s" * (len(rows) != 1)
    return (
        f"{player.name} ({player.arithmetic}) in "
        f"{player.env.id}{arguments}\n{table(header, rows)}\n{mean} over {episodes}"
    )


def film_text(film: Film) -> str:
    """Return what the film shows."""
    frames, length_s = len(film.frames), len(film.frames) / film.frames_hz
    whole = (
        "the whole first episode"
        if frames > film.steps
        else f"the first {frames:,} of {film.steps:,} steps of the first episode"
    )
    return f"{whole}, {length_s:.0f} s at {film.frames_hz:g} frames a second"


def _spread(played: Episodes) -> float | None:
    return float(played.returns.std(ddof=1)) if len(played.returns) > 1 else None
