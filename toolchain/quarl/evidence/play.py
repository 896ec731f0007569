"""Episodes of parity: source, int8 artifact and float64 control on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.release import Release
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.evidence import DisturbedEpisodes, OwnEpisodes
from quarl.evidence.plan import Schedule
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.rows import split_rows
from quarl.rollouts.actors import (
    Actor,
    artifact_actor,
    float64_actor,
    source_actor,
    source_and_control,
)
from quarl.rollouts.clipping import ClipCounter, ClippedInputs
from quarl.rollouts.divergence import ActionLog, first_divergence
from quarl.rollouts.episodes import Episodes, Player, Watch, join_episodes, run_beside
from quarl.rollouts.robustness import DISTURBANCES, feature_spread, play_disturbed
from quarl.rollouts.shares import Field, Maker, in_turns, opened, play_episodes
from quarl.rollouts.vector_env import check_env
from quarl.stats.seeds import parity_seeds
from quarl.stats.sequential import Look
from quarl.workers.progress import Progress, part_of


def play_pairs(
    release: Release,
    field: Field,
    schedule: Schedule,
    progress: Progress | None = None,
) -> tuple[PairedEpisodes, ClippedInputs | None]:
    """Return paired episodes of the bundle's source, the int8 `.tflite` and the float64 control,
    and what int8 could not see of them.

    Raises:
        InputError: the environment is not the one of the contract, or cannot be played.
    """
    check_env(field.env, release.contract)
    players = _Players(_source_of(release), _artifact_maker(release))
    counter = ClipCounter(release.quantized)
    attempt, looks, began = release.manifest.attempt.number, schedule.looks, schedule.clock()
    rounds: list[_Share] = []
    played, has_chance = 0, False
    while True:
        ends = [played, *(look.episodes for look in looks if look.episodes > played)]
        turns = [parity_seeds(attempt, *turn) for turn in pairwise(ends)]
        part = partial(_play_share, players, has_chance)
        told = part_of(progress, 3 * played, 3 * ends[-1])
        with closing(in_turns(field, part, turns, told, each=3)) as found:
            for end, shares in zip(ends[1:], found, strict=True):
                is_first, played = played == 0, end
                if is_first and any(share.has_chance for share in shares):
                    has_chance, shares = True, _with_chance(players, field, shares)
                for share in shares:
                    counter.take(share.counter)
                rounds += shares
                paired = _joined(field.env.id, rounds, looks)
                if is_first and schedule.after_first is not None:
                    looks = schedule.after_first(paired, schedule.clock() - began)
                    paired = replace(paired, looks=looks)
                if schedule.is_settled(paired) or played == looks[-1].episodes:
                    return paired, counter.result()
                if is_first and (has_chance or looks != schedule.looks):
                    break  # what follows is played otherwise


def _joined(env_id: str, shares: Sequence[_Share], looks: tuple[Look, ...]) -> PairedEpisodes:
    source, int8, control = (
        join_episodes([getattr(share, name) for share in shares])
        for name in ("source", "int8", "control")
    )
    parting = np.concatenate([share.parted for share in shares])
    return PairedEpisodes(env_id, source, int8, control, looks, parting)


@dataclass(frozen=True, slots=True, eq=False)
class _Players:
    """Who plays in a pair."""

    source: Policy
    int8: _Artifact


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """Episodes of source, int8 and control on some seeds."""

    source: Episodes
    int8: Episodes
    control: Episodes
    parted: NDArray[np.int32]  # the first step at which int8 differs
    counter: ClipCounter
    has_chance: bool


def _with_chance(players: _Players, field: Field, shares: Sequence[_Share]) -> list[_Share]:
    """Return the shares of an environment that has chance beside the seed: the control plays all
    episodes.
    """
    if len(shares) == 1:
        return list(shares)
    make = partial(float64_actor, players.source)  # only the first share's has played them
    return [
        replace(share, control=play_episodes(field, make, share.source.seeds)) for share in shares
    ]


def _play_share(
    players: _Players, has_chance: bool, field: Field, seeds: Sequence[int], watch: Watch
) -> _Share:
    """Return episodes on the seeds.

    Args:
        has_chance: whether the environment is known not to repeat itself.
    """
    counter = ClipCounter(players.int8.policy)
    source, control = opened(partial(source_and_control, players.source))
    logs = [ActionLog(source), ActionLog(opened(players.int8))]
    logs[1].also(counter.observe)
    beside = run_beside(
        field.env,
        (logs[0], control),
        seeds,
        lanes=field.lanes,
        watch=replace(
            watch,
            observe=logs[0].observe,
            replayed=len(seeds) if has_chance else watch.replayed,
        ),
        others=[Player(logs[1], logs[1].observe)],
    )
    (theirs,) = beside.others
    actions = [log.by_episode(len(seeds)) for log in logs]
    parted = first_divergence(actions[0], actions[1], players.source.contract.action)
    return _Share(beside.played, theirs, beside.control, parted, counter, beside.has_chance)


def play_robustness(
    release: Release, field: Field, episodes: int, progress: Progress | None = None
) -> tuple[DisturbedEpisodes, ...]:
    """Return episodes of source and int8 `.tflite` under each disturbance, on the first seeds of
    `play_pairs`.

    Raises:
        InputError: as `play_pairs`.
    """
    check_env(field.env, release.contract)
    makers: tuple[Maker, ...] = (
        partial(source_actor, _source_of(release)),
        _artifact_maker(release),
    )
    spread = feature_spread(split_rows(release.contract, release.example.obs)[0])
    seeds = parity_seeds(release.manifest.attempt.number, 0, episodes)
    turns = len(makers) * len(DISTURBANCES) * episodes
    disturbed = []
    for turn, name in enumerate(DISTURBANCES):
        starts = (episodes * (len(makers) * turn + k) for k in range(len(makers)))
        both = [
            play_disturbed(field, make, seeds, name, spread, part_of(progress, start, turns))
            for make, start in zip(makers, starts, strict=True)
        ]
        disturbed.append(DisturbedEpisodes(name, *both))
    return tuple(disturbed)


def play_own(
    release: Release, field: Field, episodes: int, progress: Progress | None = None
) -> OwnEpisodes:
    """Return episodes of the int8 `.tflite` alone, on the seeds of `play_pairs`.

    Raises:
        InputError: as `play_pairs`.
    """
    check_env(field.env, release.contract)
    seeds = parity_seeds(release.manifest.attempt.number, 0, episodes)
    played = play_episodes(field, _artifact_maker(release), seeds, progress)
    return OwnEpisodes(field.env.id, played)


def _source_of(release: Release) -> Policy:
    assert release.source is not None, "a policy without a source plays alone"
    return release.source


@dataclass(frozen=True, slots=True, eq=False)
class _Artifact:
    """What makes an actor of the int8 `.tflite`."""

    policy: QuantPolicy
    model: bytes

    def __call__(self) -> Actor:
        return artifact_actor(self.policy, self.model)


def _artifact_maker(release: Release) -> _Artifact:
    return _Artifact(release.quantized, release.file("model.tflite"))
