"""A contract written by hand: `contract.toml` says what a policy's file does not.

In: a TOML file. Out: import options with its spaces, names, units, rate and normaliser. The format
is described in toolchain/docs/sources.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from quarl.errors import InputError
from quarl.files.tables import Count, NotNegative, Number, Text, table, value_from
from quarl.files.toml import read_toml
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.importers import ImportOptions
from quarl.sources.spaces import action_from, observation_from

MOST_FRAMES = 1_000  # of a history


@table
@dataclass(frozen=True, slots=True)
class NormalizerTable:
    """Statistics of the observations: clip((obs - mean) / sqrt(var + epsilon))."""

    mean: list[Number]
    var: list[NotNegative]
    epsilon: NotNegative = 1e-8
    clip_obs: Number = 10.0


@table
@dataclass(frozen=True, slots=True)
class ObservationTable:
    """What the policy observes; `names` and `units` are those of one frame of `history`."""

    space: Text | None = None
    names: list[Text] | None = None
    units: list[Text] | None = None
    history: Annotated[Count, Field(le=MOST_FRAMES)] = 1
    normalizer: NormalizerTable | None = None


@table
@dataclass(frozen=True, slots=True)
class ActionTable:
    """What the policy does; `low` and `high` have one bound per value."""

    space: Text | None = None
    names: list[Text] | None = None
    units: list[Text] | None = None
    low: list[Number] | None = None
    high: list[Number] | None = None


@table
@dataclass(frozen=True, slots=True)
class ContractTable:
    """The file."""

    observation: ObservationTable | None = None
    action: ActionTable | None = None
    step_hz: Number | None = None


def with_contract_file(options: ImportOptions, path: Path) -> ImportOptions:
    """Return the options with what the file states; what an option states already wins.

    Raises:
        InputError: not such a file, or its statements contradict each other; names all problems.
    """
    stated = value_from(ContractTable, read_toml(path), str(path))
    by = path.name
    if stated.observation is not None:
        observation = _observation(stated.observation, by)
        if options.observation is None and observation is not None:
            options = replace(options, observation=observation, observation_by=by)
        normalizer = _normalizer(stated.observation)
        if options.normalizer is None and normalizer is not None and not options.no_normalizer:
            options = replace(options, normalizer=normalizer, normalizer_by=by)
    if stated.action is not None:
        action = _action(stated.action, by)
        if options.action_space is None and action is not None:
            options = replace(options, action_space=action, action_by=by)
    if stated.step_hz is not None and options.step_hz is None:
        options = replace(options, step_hz=stated.step_hz, step_hz_by=by)
    return options


def _observation(stated: ObservationTable, by: str) -> Observation | None:
    names, units = _framed(stated.names, stated.history), _words(stated.units) * stated.history
    count = len(names or units)
    if stated.space is None and not count:
        return None
    space = stated.space or f"vector:{count}"
    observation = observation_from(space, f"{by}: observation.space")
    if observation.is_image and (names or units):
        raise InputError(f"{by}: a picture has no names or units: omit them")
    for what, words in (("names", names), ("units", units)):
        if words and len(words) != observation.shape[0]:
            raise InputError(
                f"{by}: observation.{what}: {len(words)} for {observation.shape[0]} features "
                f"({stated.history} frames): one per feature of a frame is needed"
            )
    return replace(observation, names=names, units=units)


def _framed(names: Sequence[str] | None, history: int) -> tuple[str, ...]:
    """Return the names of all frames, the oldest first: "gyro_x[t-2]", "gyro_x"."""
    frames = [f"[t-{age}]" if age else "" for age in reversed(range(history))]
    return tuple(f"{name}{frame}" for frame in frames for name in names or ())


def _normalizer(stated: ObservationTable) -> Normalizer | None:
    found = stated.normalizer
    if found is None:
        return None
    repeats = stated.history if len(found.mean) == len(stated.names or ()) else 1
    return Normalizer(
        tuple(found.mean) * repeats, tuple(found.var) * repeats, found.epsilon, found.clip_obs
    )


def _action(stated: ActionTable, by: str) -> Action | None:
    names, units = _words(stated.names), _words(stated.units)
    count = len(names or units or stated.low or ())
    if stated.space is None and not count:
        return None
    action = action_from(stated.space or f"box:{count}", f"{by}: action.space")
    if (stated.low is None) != (stated.high is None):
        raise InputError(f"{by}: action.low and action.high belong together: give both")
    if stated.low is not None and stated.high is not None:
        if action.kind != "box":
            raise InputError(f"{by}: action.low: only a box has bounds")
        action = replace(action, low=tuple(stated.low), high=tuple(stated.high))
    return replace(action, names=names, units=units)


def _words(words: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(words or ())
