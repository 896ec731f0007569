"""Play: a policy in its environment for somebody to look at, as numbers and as a film.

In: a source or a bundle, in float32 or in int8. Out: its episodes, and the pictures of one of them.
The film shows the very episode that the numbers tell of: the environment is played again from the
same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.release import Release
from quarl.emitters import emit_tflite
from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.ladder import quantize_on_rung
from quarl.rollouts.actors import Actor, artifact_actor, source_actor
from quarl.rollouts.episodes import LONGEST_EPISODE_STEPS, Episodes, Watch, run_episodes
from quarl.rollouts.foreign_env import ForeignEnv, blame, make_env
from quarl.rollouts.memory import begin
from quarl.rollouts.vector_env import check_env
from quarl.sources.observations import observations_of
from quarl.sources.source import Source
from quarl.workers.progress import Progress

MOST_FRAMES = 600  # of a film: 40 s of an Atari game


@dataclass(frozen=True, slots=True)
class Player:
    """A policy ready to play."""

    name: str
    arithmetic: str  # "float32", or int8 and its rung
    actor: Actor
    env: EnvSpec
    step_hz: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """The pictures of an episode, from its beginning."""

    frames: NDArray[np.uint8]  # [count, height, width, 3], one before each step and one at the end
    frames_hz: float
    steps: int  # of the episode, which may be longer than the film
    total: float  # the episode's return


def source_player(source: Source, env: EnvSpec | None, rung: int | None) -> Player:
    """Return the source as a player, where it was trained unless `env` says otherwise.

    Args:
        rung: plays in int8, quantised now on this rung of the ladder; None: in float32.
    Raises:
        InputError: there is no environment, or the file holds integers and float32 was asked for,
            or the other way round.
    """
    played = env or _home(source)
    if played is None:
        raise InputError(f"{source.name}: does not name its environment: add --env ID")
    policy = source.policy
    check_env(played, policy.contract)
    if isinstance(policy, QuantPolicy):
        if rung is None:
            raise InputError(
                f"{source.file.name} holds integers, there is no float32 to play: add --int8"
            )
        return Player(
            source.name,
            "int8",
            artifact_actor(policy, emit_tflite(policy)),
            played,
            policy.contract.step_hz,
        )
    if rung is None:
        return Player(source.name, "float32", source_actor(policy), played, policy.contract.step_hz)
    fitted, _ = observations_of(source, None)
    candidate = quantize_on_rung(policy, fitted, rung)
    actor = artifact_actor(candidate, emit_tflite(candidate))
    return Player(source.name, f"int8, rung {rung}", actor, played, policy.contract.step_hz)


def bundle_player(release: Release, env: EnvSpec | None, *, int8: bool) -> Player:
    """Return the bundle's int8 `.tflite`, or its float32 source, as a player, where the gate judges
    it unless `env` says otherwise.

    Raises:
        InputError: there is no environment, or no source.
    """
    manifest, quantized = release.manifest, release.quantized
    played = env or manifest.env
    if played is None:
        raise InputError(f"{release.folder}: does not say where the policy plays: add --env ID")
    check_env(played, quantized.contract)
    if int8:
        actor, arithmetic = (
            artifact_actor(quantized, release.file("model.tflite")),
            f"int8, rung {manifest.rung}",
        )
    else:
        source = release.source
        if source is None:
            raise InputError(
                f"{release.folder}: came from an int8 file, so there is no float32 to play: add "
                "--int8"
            )
        actor, arithmetic = source_actor(source), "float32"
    return Player(manifest.name, arithmetic, actor, played, quantized.contract.step_hz)


def play(player: Player, seeds: Sequence[int], progress: Progress | None = None) -> Episodes:
    """Return one episode per seed."""
    return run_episodes(player.env, player.actor, seeds, watch=Watch(progress=progress))


def show(player: Player, seeds: Sequence[int], progress: Progress | None = None) -> Episodes:
    """Return one episode per seed, each shown in a window at the environment's own pace.

    Raises:
        InputError: the environment draws nothing.
    """
    env = make_env(_drawn(player.env, "human"))
    played = []
    try:
        for place, seed in enumerate(seeds):
            played.append(_episode(player, env, seed, lambda: None))
            if progress is not None:
                progress(place + 1, len(seeds))
    finally:
        env.close()
    is_reported = any(each.success is not None for each in played)
    return Episodes(
        tuple(seeds),
        np.array([each.total for each in played], np.float64),
        np.array([each.steps for each in played], np.int32),
        np.array([bool(each.success) for each in played]) if is_reported else None,
    )


def film(player: Player, seed: int, most_frames: int = MOST_FRAMES) -> Film:
    """Return the pictures of the episode of this seed, at most `most_frames`.

    Raises:
        InputError: the environment draws no pictures.
    """
    env = make_env(_drawn(player.env, "rgb_array"))
    frames: list[NDArray[np.uint8]] = []

    def look() -> None:
        if len(frames) < most_frames:
            frames.append(_picture(player, env.render()))

    try:
        played = _episode(player, env, seed, look)
        with blame(player.env, lambda: "in its metadata"):
            rate = player.step_hz or float(env.metadata.get("render_fps") or 30)
    finally:
        env.close()
    return Film(np.stack(frames), rate, played.steps, played.total)


class _Played(NamedTuple):
    total: float
    steps: int
    success: bool | None


def _episode(player: Player, env: ForeignEnv, seed: int, look: Callable[[], None]) -> _Played:
    """Play one episode; `look` is called before each step and at the end."""
    obs, total, steps, ended, success = env.reset(seed), 0.0, 0, False, None
    choose, first = begin(player.actor, [seed]), np.zeros(1, np.int64)
    while not ended:
        look()
        obs, reward, ended, success = env.step(choose(first, obs[None])[0])
        total, steps = total + reward, steps + 1
        if steps >= LONGEST_EPISODE_STEPS:
            raise InputError(
                f"{player.env.id}: the episode of seed {seed} goes on after {steps:,} steps: "
                "register it with max_episode_steps"
            )
    look()
    return _Played(total, steps, success)


def _drawn(env: EnvSpec, mode: str) -> EnvSpec:
    """Return the environment as one that draws."""
    return replace(env, kwargs={**env.kwargs, "render_mode": mode})


def beside(left: Film, right: Film) -> Film:
    """Return two films of the same environment as one; the shorter one stands still at its end."""
    count = max(len(left.frames), len(right.frames))
    height, gap = left.frames.shape[1], max(2, left.frames.shape[2] // 40)
    between = np.full((count, height, gap, 3), 255, np.uint8)
    sides = [_held(film.frames, count) for film in (left, right)]
    frames = np.concatenate([sides[0], between, sides[1]], axis=2)
    return Film(frames, left.frames_hz, max(left.steps, right.steps), left.total)


def _held(frames: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return `count` frames, the last one repeated."""
    return frames[np.minimum(np.arange(count), len(frames) - 1)]


def _picture(player: Player, drawn: Any) -> NDArray[np.uint8]:
    if (
        not isinstance(drawn, np.ndarray)
        or drawn.dtype != np.uint8
        or drawn.ndim != 3
        or drawn.shape[2] != 3
    ):
        found = (
            f"{drawn.dtype} {drawn.shape}"
            if isinstance(drawn, np.ndarray)
            else type(drawn).__name__
        )
        raise InputError(
            f"{player.env.id}: its pictures are {found}, not uint8 [height, width, 3]: it "
            "cannot be filmed"
        )
    return drawn


def _home(source: Source) -> EnvSpec | None:
    """Return where the policy was trained, so that it plays what its score was measured on."""
    return (
        source.env
        if source.recipe is None
        else EnvSpec(source.recipe.env.id, dict(source.recipe.env.kwargs))
    )
