"""A few episodes played again by source and int8 policy on the same seeds, for the pictures of the
report.

In: a bundle and its paired episodes. Out: flights on the navigation map, frames of an Atari game,
or the reason why there are none.
Only environments that come with quarl are played: looking at a bundle runs no code that the bundle
names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from quarl.bundle.release import Release
from quarl.envs.flight import COMMANDS, DEFAULT_OBSTACLES, FAR_M, MAX_STEPS, Flights
from quarl.errors import QuarlError
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.rollouts.actors import Actor, artifact_actor, source_actor
from quarl.rollouts.memory import begin

MAP_ENV, GAME_ENV = "quarl/PointToPoint-v0", "quarl/Atari-v0"
FRAMES, FRAME_STEPS = 6, 240  # frames of each player, and the decisions they are spread over

Outcome: TypeAlias = Literal["arrived", "collided", "ran out of time"]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Where one player flew."""

    points: NDArray[np.float32]  # [steps + 1, 3], metres
    outcome: Outcome
    total: float  # return


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """One flight of both on the same seed."""

    seed: int
    reason: str  # why this episode is shown
    goal: NDArray[np.float32]  # [3], metres
    boxes: NDArray[np.float32]  # [n, 2, 3]: centre, half the edges
    spheres: NDArray[np.float32]  # [n, 4]: centre, radius
    source: Track
    int8: Track
    is_recorded: bool  # both returns are those that parity recorded

    @property
    def apart_m(self) -> float:
        """The largest distance between the two at the same step, while both fly."""
        steps = min(len(self.source.points), len(self.int8.points))
        gap = (self.source.points[:steps] - self.int8.points[:steps]).astype(np.float64)
        return float(np.sqrt((gap * gap).sum(axis=1)).max())


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The first decisions of one game by both on the same seed; pictures are uint8 [height,
    width].
    """

    seed: int
    reason: str
    steps: tuple[int, ...]  # decision before which each picture was taken
    source: tuple[NDArray[np.uint8], ...]
    int8: tuple[NDArray[np.uint8], ...]
    first_difference: (
        int | None
    )  # decision at which the actions differ for the first time; None: not within `played`
    played: int


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """There are no pictures."""

    reason: str


Replay: TypeAlias = tuple[Flight, ...] | Frames | NotReplayed


def replay_episodes(release: Release, paired: PairedEpisodes | None) -> Replay:
    """Return episodes worth a look: the largest loss, the largest gain, a usual one and the
    first.
    """
    source, env = release.source, release.manifest.env
    if paired is None or source is None or env is None:
        return NotReplayed(
            "No paired episodes of this export are at hand, so none was played again."
        )
    if env.registered_id not in (MAP_ENV, GAME_ENV) or paired.env_id != env.id:
        return NotReplayed(
            f"Drawings are made for {MAP_ENV} and {GAME_ENV}. Of {env.registered_id} an episode "
            "can be filmed: quarl report BUNDLE --film."
        )
    try:
        players = (
            source_actor(source),
            artifact_actor(release.quantized, release.file("model.tflite")),
        )
        if env.registered_id == GAME_ENV:
            return _frames(str(env.kwargs["game"]), players, paired)
        return _flights(players, paired, int(env.kwargs.get("obstacles", DEFAULT_OBSTACLES)))
    except (QuarlError, ModuleNotFoundError) as error:
        return NotReplayed(f"The episodes could not be played again here: {error}.")


def worth_a_look(paired: PairedEpisodes) -> list[tuple[int, str]]:
    """Return the places of up to four episodes and why each was chosen."""
    change = paired.candidate.returns - paired.source.returns
    order = np.argsort(change, kind="stable").tolist()
    lowest, middle, highest = order[0], order[len(order) // 2], order[-1]
    chosen: dict[int, str] = {}
    for place, reason in (
        (
            lowest,
            "largest loss"
            if change[lowest] < 0
            else "smallest gain"
            if change[lowest] > 0
            else "no loss",
        ),
        (
            highest,
            "largest gain"
            if change[highest] > 0
            else "smallest loss"
            if change[highest] < 0
            else "no gain",
        ),
        (middle, "median difference"),
        (0, "first episode"),
    ):
        chosen.setdefault(place, reason)
    return list(chosen.items())


def _flights(
    players: tuple[Actor, Actor], paired: PairedEpisodes, obstacles: int
) -> tuple[Flight, ...]:
    chosen = worth_a_look(paired)
    seeds = [paired.source.seeds[place] for place, _ in chosen]
    flights = Flights(2 * len(seeds), obstacles)
    flights.reset(range(2 * len(seeds)), [seeding.np_random(seed)[0] for seed in (*seeds, *seeds)])
    tracks = _fly(flights, players, seeds)
    found = []
    for row, (place, reason) in enumerate(chosen):
        source, int8 = tracks[row], tracks[len(seeds) + row]
        recorded = bool(
            np.isclose(source.total, paired.source.returns[place])
            and np.isclose(int8.total, paired.candidate.returns[place])
        )
        boxes = np.stack([flights.box_center[row], flights.box_half[row]], axis=1)
        spheres = np.concatenate(
            [flights.sphere_center[row], flights.sphere_radius[row][:, None]], axis=1
        )
        goal = flights.goal[row].copy()
        boxes, spheres = boxes[boxes[:, 0, 0] < FAR_M], spheres[spheres[:, 0] < FAR_M]
        found.append(Flight(seeds[row], reason, goal, boxes, spheres, source, int8, recorded))
    return tuple(found)


def _fly(flights: Flights, players: Sequence[Actor], seeds: Sequence[int]) -> list[Track]:
    """Return the track of every lane; the first half is flown by the first player."""
    lanes = flights.lanes
    points = [[flights.position[lane].copy()] for lane in range(lanes)]
    totals: NDArray[np.float64] = np.zeros(lanes)
    outcomes: list[Outcome | None] = [None] * lanes
    each = np.arange(lanes // len(players))
    choices = [begin(player, seeds) for player in players]
    for _ in range(MAX_STEPS):
        halves = np.split(flights.observe(), len(players))
        made = [choose(each, half) for choose, half in zip(choices, halves, strict=True)]
        moved = flights.step(_commands(np.concatenate(made)))
        for lane in [lane for lane in range(lanes) if outcomes[lane] is None]:
            points[lane].append(flights.position[lane].copy())
            totals[lane] += float(moved.reward[lane])
            if moved.success[lane]:
                outcomes[lane] = "arrived"
            elif moved.collision[lane] or moved.timeout[lane]:
                outcomes[lane] = "collided" if moved.collision[lane] else "ran out of time"
        if None not in outcomes:
            break
    return [
        Track(np.stack(points[lane]), outcome, float(totals[lane]))
        for lane, outcome in enumerate(outcomes)
        if outcome is not None
    ]


def _commands(actions: NDArray[Any]) -> NDArray[np.float32]:
    if actions.ndim == 1:
        return np.asarray(COMMANDS[actions])
    return np.clip(actions.astype(np.float32), -1.0, 1.0)


def _frames(game: str, players: tuple[Actor, Actor], paired: PairedEpisodes) -> Frames:
    from quarl.envs.atari import AtariGame

    place, reason = worth_a_look(paired)[0]
    seed = paired.source.seeds[place]
    shown = [round(step) for step in np.linspace(0, FRAME_STEPS - 1, FRAMES)]
    pictures: list[list[NDArray[np.uint8]]] = []
    actions: list[list[int]] = []
    for player in players:
        choose, first = begin(player, [seed]), np.zeros(1, np.int64)
        env = AtariGame(game)
        obs, _ = env.reset(seed=seed)
        pictures.append([])
        actions.append([])
        for step in range(FRAME_STEPS):
            if step in shown:
                pictures[-1].append(obs[-1].copy())  # the newest of the four
            actions[-1].append(int(choose(first, obs[None])[0]))
            obs, _, terminated, truncated, _ = env.step(np.int64(actions[-1][-1]))
            if terminated or truncated:
                break
    played = min(len(taken) for taken in actions)
    differs = [step for step in range(played) if actions[0][step] != actions[1][step]]
    kept = min(len(pictures[0]), len(pictures[1]))
    return Frames(
        seed,
        reason,
        tuple(shown[:kept]),
        tuple(pictures[0][:kept]),
        tuple(pictures[1][:kept]),
        differs[0] if differs else None,
        played,
    )
