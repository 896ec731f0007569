"""Episodes shared out among workers: the same returns, bit for bit, whoever plays them.

In: a field (environment, workers, lanes) and what makes an actor. Out: the episodes of all seeds.
An episode depends on its seed alone, so a share is some of the seeds, in order. Short work is done
in this process: the workers are asked once it has lasted longer than they have patience.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import (
    DEFAULT_LANES,
    REPLAYED,
    Episodes,
    Player,
    Watch,
    join_episodes,
    play_together,
    random_episodes,
    run_episodes,
)
from quarl.rollouts.foreign_env import holds_nothing_open, is_found_by_name
from quarl.workers import HERE, Workers
from quarl.workers.copies import can_be_copied, side_by_side
from quarl.workers.progress import Progress, part_of

T = TypeVar("T")
Maker: TypeAlias = Callable[[], Actor]
"""What makes an actor where it is needed: a function of this package with its arguments, as
`functools.partial` holds them.
"""

SHARES = 2  # for each worker, so that one who is done early finds more
FEWEST = 4  # seeds of a share, where each worker has several
FEWEST_COPIED = 16  # seeds of which a copy of this process plays half
MOST_OPENED = 6  # actors that are kept for the next share


@dataclass(frozen=True, slots=True)
class Field:
    """Where episodes are played, and by whom."""

    env: EnvSpec
    workers: Workers = HERE
    lanes: int = DEFAULT_LANES


Part: TypeAlias = Callable[[Field, Sequence[int], Watch], T]
"""Plays the episodes of some seeds, alone in its process."""


def play_episodes(
    field: Field, make: Maker, seeds: Sequence[int], progress: Progress | None = None
) -> Episodes:
    """Return what `run_episodes` returns, computed by the field's workers."""
    return join_episodes(in_shares(field, partial(_played, make), seeds, progress))


def play_each(
    field: Field, makers: Sequence[Maker], seeds: Sequence[int], progress: Progress | None = None
) -> list[Episodes]:
    """Return what `play_together` returns for what the makers make, computed by the field's
    workers; a unit of progress for an episode.
    """
    part = partial(_played_together, tuple(makers))
    shares = in_shares(field, part, seeds, progress, each=len(makers))
    return [join_episodes(parts) for parts in zip(*shares, strict=True)]


def play_at_random(
    field: Field, contract: Contract, seeds: Sequence[int], progress: Progress | None = None
) -> Episodes:
    """Return what `random_episodes` returns, computed by the field's workers."""
    return join_episodes(in_shares(field, partial(_drawn, contract), seeds, progress))


def in_shares(
    field: Field,
    part: Part[T],
    seeds: Sequence[int],
    progress: Progress | None = None,
    *,
    each: int = 1,
) -> list[T]:
    """Return what `part` gives for each share of the seeds, in their order.

    Args:
        part: can be pickled; plays the episodes of the seeds it is given in the field it is given.
        each: how many units of progress `part` counts for a seed.
    Raises:
        InputError: as `run_episodes`.
        DeviceError: a worker died, and so did the one that played its share again.
    """
    return next(in_turns(field, part, [seeds], progress, each=each))


def in_turns(
    field: Field,
    part: Part[T],
    turns: Sequence[Sequence[int]],
    progress: Progress | None = None,
    *,
    each: int = 1,
) -> Generator[list[T], None, None]:
    """Yield what `in_shares` returns for the seeds of each turn, one turn after the other.

    A worker for whom a turn has no more share begins the next turn: that is lost where the caller
    closes the generator instead of going on. Whether the environment repeats itself
    (`Watch.replayed`) is asked in the first turn alone.

    Raises:
        InputError, DeviceError: as `in_shares`.
    """
    workers, alone = field.workers, replace(field, workers=HERE)
    play = partial(part, alone)
    travels = workers.count > 1 and _travels(alone.env, play)
    count, done, waiting = each * sum(map(len, turns)), 0, list(turns)
    while waiting and not (travels and workers.patience_s <= 0):
        watch = Watch(progress=part_of(progress, done, count), replayed=0 if done else REPLAYED)
        tried = (
            _try_here(workers, play, waiting[0], watch, may_be_copied=holds_nothing_open(field.env))
            if travels
            else [play(waiting[0], watch)]
        )
        if tried is None:
            break
        yield tried
        done += each * len(waiting.pop(0))
    tell = part_of(progress, done, count)
    yield from _by_workers(workers, play, waiting, done == 0, tell, each)


def _by_workers(
    workers: Workers,
    play: Callable[[Sequence[int], Watch], T],
    turns: Sequence[Sequence[int]],
    asks_for_chance: bool,
    tell: Progress | None,
    each: int,
) -> Generator[list[T], None, None]:
    """Yield each turn's results.

    Args:
        asks_for_chance: whether the first share finds out whether the environment repeats itself.
        each: how many units of progress a seed counts.
    """
    cut = [_cut(seeds, workers.count) for seeds in turns]
    shares = [share for turn in cut for share in turn]
    calls = [
        (play, place, share, REPLAYED if asks_for_chance and place == 0 else 0)
        for place, share in enumerate(shares)
    ]
    found: dict[int, T] = {}
    begun, done, count = 0, 0, sum(map(len, shares))
    with closing(workers.run(_part_of, calls)) as results:
        for turn in cut:
            places = range(begun, begun + len(turn))
            while not all(place in found for place in places):
                place, result = next(results)
                found[place] = result
                done += len(shares[place])
                if tell is not None:
                    tell(each * done, each * count)
            yield [found.pop(place) for place in places]
            begun += len(turn)


def _cut(seeds: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Return the seeds in shares of nearly the same size, as many for each worker: SHARES where the
    seeds are many, one where they are few.
    """
    each = min(SHARES, max(1, len(seeds) // (FEWEST * workers)))
    count = min(len(seeds), each * workers)
    ends = [len(seeds) * share // count for share in range(count + 1)]
    return [tuple(seeds[start:end]) for start, end in pairwise(ends)]


def opened(make: Callable[[], T]) -> T:
    """Return the actor or actors, those that this process has made before where they are the
    same.
    """
    try:
        key = hashlib.sha256(pickle.dumps(make)).digest()
    except (pickle.PicklingError, AttributeError, TypeError):  # made in a script: it cannot travel
        return make()
    if key in _OPENED:
        _OPENED.move_to_end(key)
        kept: T = _OPENED[key]
        return kept
    actor = _OPENED[key] = make()
    if len(_OPENED) > MOST_OPENED:
        _OPENED.popitem(last=False)
    return actor


_OPENED: OrderedDict[bytes, Any] = OrderedDict()


class _Impatient(Exception):  # noqa: N818  # it says that work is long, not that it failed
    """The workers should do it."""


def _try_here(
    workers: Workers,
    play: Callable[[Sequence[int], Watch], T],
    seeds: Sequence[int],
    watch: Watch,
    *,
    may_be_copied: bool,
) -> list[T] | None:
    """Return the results of one share or two, or None where they take longer than the workers have
    patience. The second share is played by a copy of this process, where it can be copied.
    """
    began, limit = time.monotonic(), workers.patience_s

    def tick() -> None:
        if time.monotonic() - began > limit:
            raise _Impatient

    watch = replace(watch, tick=tick)
    shares = [(seeds, watch)]
    if may_be_copied and len(seeds) >= FEWEST_COPIED and can_be_copied():
        half = -(-len(seeds) // 2)
        shares = [(seeds[:half], watch), (seeds[half:], Watch(replayed=0, tick=tick))]
    try:
        return side_by_side(play, shares)
    except _Impatient:
        return None
    finally:
        workers.waited(time.monotonic() - began)


def _travels(env: EnvSpec, play: Callable[..., Any]) -> bool:
    """Whether another process can make the environment and the actors."""
    if not is_found_by_name(env):
        return False
    try:
        pickle.dumps(play)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _part_of(
    play: Callable[[Sequence[int], Watch], T], place: int, share: tuple[int, ...], replayed: int
) -> tuple[int, T]:
    return place, play(share, Watch(replayed=replayed))


def _played(make: Maker, field: Field, seeds: Sequence[int], watch: Watch) -> Episodes:
    return run_episodes(field.env, opened(make), seeds, lanes=field.lanes, watch=watch)


def _played_together(
    makers: tuple[Maker, ...], field: Field, seeds: Sequence[int], watch: Watch
) -> list[Episodes]:
    players = [Player(opened(make)) for make in makers]
    return play_together(field.env, players, seeds, lanes=field.lanes, watch=watch)


def _drawn(contract: Contract, field: Field, seeds: Sequence[int], watch: Watch) -> Episodes:
    return random_episodes(field.env, contract, seeds, lanes=field.lanes, watch=watch)
