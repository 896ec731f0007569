"""What the user says about a file that the file cannot say itself, and how both are joined into one
contract. Nothing is guessed: what neither says is asked for, and who said what stands in the
contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.contract import Action, Contract, Normalizer, Observation
from quarl.graph.env_spec import atari_advice
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy

ENVIRONMENT = "--env"
FILE = "the file"
NORMALIZER_OPTION = "--obs-norm"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The user's own words: everything here wins over silence in the file, and must not contradict
    what the file says.

    `..._by` says where a statement comes from: an option, a file, an environment.
    """

    normalizer: Normalizer | None = None
    # --no-obs-norm: the policy was trained on raw observations, whatever the file hints at
    no_normalizer: bool = False
    action_space: Action | None = None
    observation: Observation | None = None
    step_hz: float | None = None
    output: str | None = None  # --output NAME, the output that is the policy
    activation: str | None = None  # --activation NAME, between the layers of a bare state dict
    action_by: str = ENVIRONMENT
    observation_by: str = ENVIRONMENT
    normalizer_by: str = NORMALIZER_OPTION
    step_hz_by: str = "the recipe"

    def __post_init__(self) -> None:
        if self.normalizer is not None and self.no_normalizer:
            raise InputError(
                "--obs-norm and --no-obs-norm were both given: keep the one that tells how "
                "the policy was trained"
            )


Importer: TypeAlias = Callable[[Path, ImportOptions], Policy | QuantPolicy]


def make_contract(
    path: Path,
    options: ImportOptions,
    observation: Observation | None,
    action: Action | None,
    notes: tuple[str, ...] = (),
) -> Contract:
    """Return the contract: what the file says (`observation`, `action`), completed by the user's
    options, and who said what.

    Args:
        action: None where the file does not say it; one that the options completed counts as said
            by both.
        notes: what the importer chose, dropped or fixed.
    Raises:
        InputError: neither says it, or they disagree; names what is missing and how to give it.
    """
    stated: tuple[str, ...] = (
        _stated(
            "observation", observation is not None, options.observation, options.observation_by
        ),
        _stated("action", action is not None, options.action_space, options.action_by),
    )
    joined = _observation(path, observation, options)
    if options.normalizer is not None:
        joined = replace(joined, normalizer=options.normalizer)
        stated += (f"normaliser: {options.normalizer_by}",)
    elif joined.normalizer is not None:
        stated += ("normaliser: the network's own first steps",)
    elif options.no_normalizer and options.normalizer_by == NORMALIZER_OPTION:
        stated += ("normaliser: none, --no-obs-norm",)
    if options.step_hz is not None:
        stated += (f"rate: {options.step_hz_by}",)
    return Contract(joined, _action(path, action, options), options.step_hz, (*stated, *notes))


class MissingActionError(InputError):
    """Nobody says what the `count` outputs of a network mean."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


def missing_action(file: str, ending: str, count: int) -> MissingActionError:
    """Return the error that asks what a network's outputs mean, with all ways to say it."""
    return MissingActionError(
        f"{file}: {ending}, and the file does not say what its {count} outputs mean. Say it: "
        f"--env ID (the environment it was trained in), --action box:{count}:-1..1 (real values "
        f"and their bounds), --action box:{count} (real values without bounds), or --action "
        f"discrete:{count} (the largest output is the choice)",
        count,
    )


def box_from_environment(
    file: str, count: int, transform: Literal["clip", "unscale"], options: ImportOptions
) -> Action:
    """Return the box action whose bounds the file lacks, as the user states them.

    Raises:
        InputError: nothing was stated, or it is not a box of `count` values.
    """
    given = options.action_space
    if given is None:
        raise InputError(
            f"{file}: the bounds of its {count} action values are not in the file: add --env "
            f"ID, the environment it was trained on, or state them: --action box:{count}:-1..1"
        )
    if given.kind != "box" or given.count != count:
        raise InputError(
            f"{file}: the policy has {count} action values, {options.action_by} says "
            f"{describe_action(given)}: one of both is wrong"
        )
    return replace(given, transform=transform)


def _stated(what: str, in_file: bool, given: object, by: str) -> str:
    said = [FILE] if in_file else []
    return f"{what}: {' and '.join([*said, *([by] if given is not None else [])])}"


def _observation(path: Path, found: Observation | None, options: ImportOptions) -> Observation:
    given, by = options.observation, options.observation_by
    if found is None and given is None:
        raise InputError(
            f"{path.name}: the file does not say what the policy observes: add --env ID, the "
            "environment it was trained on, or --observation image:84x84x4 or vector:48"
        )
    if found is None or given is None:
        chosen = found or given
        assert chosen is not None
        return chosen
    is_same = (found.graph_shape, found.is_image) == (given.graph_shape, given.is_image)
    if not is_same or (given.pictures and found.pictures and given.pictures != found.pictures):
        raise InputError(
            f"{path.name}: the policy observes {_shape(found)}, {by} says {_shape(given)}: "
            "give the environment it was trained on, or the space as it was trained"
            + (f", such as {game}" if (game := atari_advice(by.removeprefix("--env "))) else "")
        )
    # as the environment gives it
    return replace(
        found,
        shape=given.shape,
        layout=given.layout,
        names=given.names or found.names,
        units=given.units or found.units,
        pictures=given.pictures or found.pictures,
        parts=found.parts or tuple(part for part in given.parts if part.name),
    )


def _action(path: Path, found: Action | None, options: ImportOptions) -> Action:
    given, by = options.action_space, options.action_by
    if found is None and given is None:
        raise InputError(
            f"{path.name}: the file does not say what its actions mean: add --env ID, the "
            "environment it was trained on, or --action"
        )
    if found is None or given is None:
        chosen = found or given
        assert chosen is not None
        return chosen
    is_same = (found.kind, found.count, found.counts) == (given.kind, given.count, given.counts)
    if not is_same or not np.allclose(_bounds(found), _bounds(given), 1e-6, 1e-6):
        raise InputError(
            f"{path.name}: the policy's actions are {describe_action(found)}, {by} says "
            f"{describe_action(given)}: give the environment it was trained on, or the space as "
            "it was trained"
        )
    # a file may print its bounds rounded, the environment has them exactly
    return replace(given, transform=found.transform, start=found.start)


def _bounds(action: Action) -> NDArray[np.float64]:
    return np.array([action.low, action.high], np.float64)


def _shape(observation: Observation) -> str:
    kind = "pixels" if observation.is_image else "a vector"
    places = (f", a picture of {p.shape} from value {p.first} on" for p in observation.pictures)
    return f"{kind} of shape {observation.graph_shape}{''.join(places)}"


def describe_action(action: Action) -> str:
    """Return an action in words, for messages."""
    match action.kind:
        case "discrete":
            first = f" from {action.start}" if action.start else ""
            return f"discrete with {action.count} choices{first}"
        case "multi_discrete":
            return f"{action.width} choices of {', '.join(map(str, action.counts))} values"
        case "box":
            return f"a box of {action.count} values from {list(action.low)} to {list(action.high)}"
