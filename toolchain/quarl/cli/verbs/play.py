"""`quarl play`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.bundle.manifest import MANIFEST
from quarl.bundle.release import open_bundle
from quarl.cli.options import (
    EnvArgOption,
    EnvOption,
    JsonOption,
    NoObsNormOption,
    ObsNormOption,
    env_spec,
    import_options,
    rung_number,
)
from quarl.cli.progress import progress_bar
from quarl.cli.result import print_result

PlayedArgument = Annotated[
    str,
    typer.Argument(
        metavar="POLICY", help="Name of a shipped policy, a file of trained weights, or a bundle."
    ),
]


def play(
    policy: PlayedArgument,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Play in int8: a bundle's .tflite, or the policy quantised now."
        ),
    ] = False,
    rung: Annotated[
        str | None,
        typer.Option(
            "--rung", metavar="N", help="Rung for --int8 of a policy, 0 to 5 (default 3)."
        ),
    ] = None,
    episodes: Annotated[
        int, typer.Option("--episodes", min=1, max=10_000, metavar="N", help="Episodes to play.")
    ] = 10,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, metavar="N", help="Seed of the first episode; the next count up."
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            "--video", metavar="FILE.gif", help="Film the first episode, up to 600 frames."
        ),
    ] = None,
    env: EnvOption = None,
    env_arg: EnvArgOption = None,
    obs_norm: ObsNormOption = None,
    no_obs_norm: NoObsNormOption = False,
    as_json: JsonOption = False,
) -> None:
    """Play a policy in its environment, in float32 or int8, and film it."""
    from quarl.cli import show_play
    from quarl.errors import InputError
    from quarl.files.atomic import write_whole
    from quarl.pipeline import import_source
    from quarl.player import player as stage
    from quarl.quantize.ladder import DEFAULT_RUNG
    from quarl.seeds import SCORE_SEED

    spec = env_spec(env, env_arg)
    if rung is not None and not int8:
        raise InputError(f"--rung {rung}: is for --int8")
    if video is not None and video.suffix != ".gif":
        raise InputError(f"--video {video}: must end in .gif")
    if (Path(policy) / MANIFEST).is_file():
        if rung is not None:
            raise InputError(f"--rung {rung}: {policy} is a bundle, which stands on its own rung")
        player = stage.bundle_player(open_bundle(Path(policy)), spec, int8=int8)
    else:
        opened = import_source(
            policy, import_options(obs_norm, no_obs_norm), spec, fetching=progress_bar
        )
        number = (DEFAULT_RUNG if rung is None else rung_number(rung)) if int8 else None
        if int8 and number is None:
            raise InputError(
                "--rung auto: is chosen by playing many episodes: quarl ship does that, then "
                "play its bundle"
            )
        player = stage.source_player(opened, spec, number)
    first = SCORE_SEED if seed is None else seed
    with progress_bar(f"playing {player.name}") as progress:
        played = stage.play(player, range(first, first + episodes), progress)
    filmed = size = None
    if video is not None:
        from quarl.player.gif import gif_bytes

        with progress_bar(f"filming {player.name}"):
            filmed = stage.film(player, first)
            data = gif_bytes(filmed)
        write_whole(video, data)
        size = len(data)
    shown = (
        show_play.played_table(player, played) if as_json else show_play.played_text(player, played)
    )
    if filmed is not None and size is not None and video is not None:
        if isinstance(shown, dict):
            shown["video"] = {
                "file": str(video),
                "bytes": size,
                "frames": len(filmed.frames),
                "steps": filmed.steps,
            }
        else:
            shown += f"\n{video}: {show_play.film_text(filmed)}, {size:,} B"
    print_result(shown, as_json)
