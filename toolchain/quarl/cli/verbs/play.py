"""`quarl play`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarl.cli.command import takes
from quarl.cli.env_options import EnvOptions
from quarl.cli.options import (
    JsonOption,
    NoObsNormOption,
    ObsNormOption,
    import_options,
    rung_number,
)
from quarl.cli.progress import progress_bar
from quarl.cli.result import print_result

if TYPE_CHECKING:
    from quarl.reports.player import Film, Player


@dataclass(frozen=True, kw_only=True)
class PlayOptions(EnvOptions):
    """Who plays, where and how often."""

    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="Name of a shipped policy, a file of trained weights, or a bundle.",
        ),
    ]
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Play in int8: a bundle's .tflite, or the policy quantised now."
        ),
    ] = False
    rung: Annotated[
        str | None,
        typer.Option(
            "--rung", metavar="N", help="Rung for --int8 of a policy, 0 to 5 (default 3)."
        ),
    ] = None
    episodes: Annotated[
        int, typer.Option("--episodes", min=1, max=10_000, metavar="N", help="Episodes to play.")
    ] = 10
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, metavar="N", help="Seed of the first episode; the next count up."
        ),
    ] = None
    video: Annotated[
        Path | None,
        typer.Option(
            "--video",
            metavar="FILE",
            help="Film the first episode, up to 600 frames: FILE.gif, or FILE.mp4 with ffmpeg.",
        ),
    ] = None
    beside: Annotated[
        bool,
        typer.Option(
            "--beside", help="Film float32 on the left and int8 on the right; with --video."
        ),
    ] = False
    window: Annotated[
        bool,
        typer.Option("--window", help="Show every episode in a window while it is played."),
    ] = False
    obs_norm: ObsNormOption = None
    no_obs_norm: NoObsNormOption = False
    as_json: JsonOption = False


@takes(PlayOptions)
def play(options: PlayOptions) -> None:
    """Play a policy in its environment, in float32 or int8, and film it."""
    from quarl.cli import show_play
    from quarl.errors import InputError
    from quarl.reports import player as stage
    from quarl.reports.film_file import check_film_file
    from quarl.stats.seeds import SCORE_SEED

    video = options.video
    if video is not None:
        check_film_file(video)
    if options.beside and (video is None or options.int8):
        raise InputError("--beside films both: give --video FILE.gif, and omit --int8")
    if options.window:
        check_screen(os.environ, sys.platform)
    player = _player(options)
    others = [_player(replace(options, int8=True))] if options.beside else []
    first = SCORE_SEED if options.seed is None else options.seed
    with progress_bar(f"playing {player.name}") as progress:
        perform = stage.show if options.window else stage.play
        episodes = perform(player, range(first, first + options.episodes), progress)
    film, size = (None, 0) if video is None else _film([player, *others], first, video)
    if options.as_json:
        table = show_play.played_table(player, episodes)
        if film is not None:
            table["video"] = {
                "file": str(video),
                "bytes": size,
                "frames": len(film.frames),
                "steps": film.steps,
            }
        print_result(table, options.as_json)
    else:
        text = show_play.played_text(player, episodes)
        if film is not None:
            text += f"\n{video}: {show_play.film_text(film)}, {size:,} B"
        print_result(text, options.as_json)


def check_screen(environ: Mapping[str, str], system: str) -> None:
    """Check that there is a screen to show a window on, as far as the system says."""
    from quarl.errors import InputError

    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if system == "linux" and not any(environ.get(name) for name in names):
        raise InputError(
            "--window: there is no screen here (neither DISPLAY nor WAYLAND_DISPLAY is set): "
            "--video FILE.gif films the episode"
        )


def _player(options: PlayOptions) -> Player:
    """Return the player that the options name: a bundle, or a policy in float32 or int8."""
    from quarl.bundle.manifest import MANIFEST
    from quarl.bundle.release import open_bundle
    from quarl.errors import InputError
    from quarl.pipeline import import_source
    from quarl.quantize.ladder import DEFAULT_RUNG
    from quarl.reports import player as stage

    policy, rung = options.policy, options.rung
    if rung is not None and not options.int8:
        raise InputError(f"--rung {rung}: is for --int8")
    if (Path(policy) / MANIFEST).is_file():
        if rung is not None:
            raise InputError(f"--rung {rung}: {policy} is a bundle, which stands on its own rung")
        release = open_bundle(Path(policy))
        spec = options.env_spec(release.manifest.env)
        return stage.bundle_player(release, spec, int8=options.int8)
    spec = options.env_spec()
    words = import_options(options.obs_norm, options.no_obs_norm)
    source = import_source(policy, words, spec, fetching=progress_bar)
    if not options.int8:
        return stage.source_player(source, spec, None)
    number = DEFAULT_RUNG if rung is None else rung_number(rung)
    if number is None:
        raise InputError(
            "--rung auto: is chosen by playing many episodes: quarl ship does that, then "
            "play its bundle"
        )
    return stage.source_player(source, spec, number)


def _film(players: Sequence[Player], seed: int, video: Path) -> tuple[Film, int]:
    """Write the film of an episode, players side by side; return it and its size in bytes."""
    from quarl.files.atomic import write_whole
    from quarl.reports import player as stage
    from quarl.reports.film_file import ENCODERS

    with progress_bar(f"filming {players[0].name}"):
        films = [stage.film(player, seed) for player in players]
        film = films[0] if len(films) == 1 else stage.beside(*films)
        data = ENCODERS[video.suffix](film)
    write_whole(video, data)
    return film, len(data)
