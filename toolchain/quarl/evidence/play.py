"""Episodes of parity: source, int8 artifact and float64 control on the same seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.release import Release
from quarl.evidence.closed_loop import PairedEpisodes, join_episodes
from quarl.evidence.evidence import DisturbedEpisodes, OwnEpisodes
from quarl.evidence.plan import Schedule
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.rollouts.actors import Actor, artifact_actor, float64_actor, source_actor
from quarl.rollouts.clipping import ClipCounter, ClippedInputs
from quarl.rollouts.divergence import ActionLog, first_divergence
from quarl.rollouts.episodes import DEFAULT_LANES, Episodes, Watch, run_beside, run_episodes
from quarl.rollouts.robustness import DISTURBANCES, feature_spread, play_disturbed
from quarl.rollouts.vector_env import check_env
from quarl.stats.seeds import PARITY_SEED
from quarl.workers.progress import Progress, part_of


def play_pairs(
    release: Release,
    env: EnvSpec,
    schedule: Schedule,
    progress: Progress | None = None,
    *,
    lanes: int = DEFAULT_LANES,
) -> tuple[PairedEpisodes, ClippedInputs | None]:
    """Return paired episodes of the bundle's source, the int8 `.tflite` and the float64 control,
    and what int8 could not see of them.

    Raises:
        InputError: the environment is not the one of the contract, or cannot be played.
    """
    counter = ClipCounter(release.quantized)
    rounds: list[tuple[Episodes, ...]] = []
    divergence: list[NDArray[np.int32]] = []
    looks, played, began = schedule.looks, 0, schedule.clock()
    while True:
        look = next(look for look in looks if look.episodes > played)
        seeds = range(PARITY_SEED + played, PARITY_SEED + look.episodes)
        part = part_of(progress, 3 * played, 3 * looks[-1].episodes)
        episodes, parted = _play_look(release, env, seeds, counter, part, lanes)
        rounds.append(episodes)
        divergence.append(parted)
        played = look.episodes
        source, int8, control = (join_episodes(parts) for parts in zip(*rounds, strict=True))
        parting = np.concatenate(divergence)
        paired = PairedEpisodes(env.id, source, int8, control, looks, parting)
        if len(rounds) == 1 and schedule.after_first is not None:
            looks = schedule.after_first(paired, schedule.clock() - began)
            paired = replace(paired, looks=looks)
        if schedule.is_settled(paired) or played == looks[-1].episodes:
            return paired, counter.result()


def _play_look(
    release: Release,
    env: EnvSpec,
    seeds: range,
    counter: ClipCounter,
    progress: Progress | None,
    lanes: int,
) -> tuple[tuple[Episodes, Episodes, Episodes], NDArray[np.int32]]:
    """Return episodes of source, int8 and control, and the first step at which int8 differs."""
    source = _source_of(release)
    logs = [ActionLog(source_actor(source)), ActionLog(_artifact_actor(release, env))]
    logs[1].also(counter.observe)
    steps = [part_of(progress, turn * len(seeds), 3 * len(seeds)) for turn in (0, 2)]
    control = float64_actor(source)
    watch = Watch(logs[0].observe, steps[0])
    ours, third = run_beside(env, logs[0], control, seeds, lanes=lanes, watch=watch)
    theirs = run_episodes(
        env, logs[1], seeds, observe=logs[1].observe, progress=steps[1], lanes=lanes
    )
    actions = [log.by_episode(len(seeds)) for log in logs]
    parted = first_divergence(actions[0], actions[1], source.contract.action)
    return (ours, theirs, third), parted


def play_robustness(
    release: Release, env: EnvSpec, episodes: int, progress: Progress | None = None
) -> tuple[DisturbedEpisodes, ...]:
    """Return episodes of source and int8 `.tflite` under each disturbance, on the first seeds of
    `play_pairs`.

    Raises:
        InputError: as `play_pairs`.
    """
    actors = (source_actor(_source_of(release)), _artifact_actor(release, env))
    spread = feature_spread(release.example.obs)
    seeds = range(PARITY_SEED, PARITY_SEED + episodes)
    turns = len(actors) * len(DISTURBANCES) * episodes
    disturbed = []
    for turn, name in enumerate(DISTURBANCES):
        starts = (episodes * (len(actors) * turn + k) for k in range(len(actors)))
        both = [
            play_disturbed(env, actor, seeds, name, spread, part_of(progress, start, turns))
            for actor, start in zip(actors, starts, strict=True)
        ]
        disturbed.append(DisturbedEpisodes(name, *both))
    return tuple(disturbed)


def play_own(
    release: Release, env: EnvSpec, episodes: int, progress: Progress | None = None
) -> OwnEpisodes:
    """Return episodes of the int8 `.tflite` alone, on the seeds of `play_pairs`.

    Raises:
        InputError: as `play_pairs`.
    """
    seeds = range(PARITY_SEED, PARITY_SEED + episodes)
    return OwnEpisodes(
        env.id, run_episodes(env, _artifact_actor(release, env), seeds, progress=progress)
    )


def _source_of(release: Release) -> Policy:
    assert release.source is not None, "a policy without a source plays alone"
    return release.source


def _artifact_actor(release: Release, env: EnvSpec) -> Actor:
    """Return what the int8 `.tflite` does, in an environment that is the contract's."""
    check_env(env, release.contract)
    return artifact_actor(release.quantized, release.file("model.tflite"))
