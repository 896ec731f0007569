"""What the user says about a file that the file cannot say itself, and how both are joined into one
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
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The user's own words: everything here wins over silence in the file, and must not contradict
    what the file says.
    """

    normalizer: Normalizer | None = None  # --obs-norm FILE.npz
    # --no-obs-norm: the policy was trained on raw observations, whatever the file hints at
    no_normalizer: bool = False
    action_space: Action | None = None  # --env ID, for files that do not say their action space
    observation: Observation | None = None  # --env ID, for files that do not say it
    step_hz: float | None = None

    def __post_init__(self) -> None:
        if self.normalizer is not None and self.no_normalizer:
            raise InputError(
                "--obs-norm and --no-obs-norm were both given: keep the one that tells how "
                "the policy was trained"
            )


Importer: TypeAlias = Callable[[Path, ImportOptions], Policy | QuantPolicy]


def make_contract(
    path: Path, options: ImportOptions, observation: Observation | None, action: Action | None
) -> Contract:
    """Return the contract: what the file says (`observation`, `action`), completed by the user's
    options.

    Raises:
        InputError: neither says it, or they disagree; names what is missing and how to give it.
    """
    observation = _observation(path, observation, options.observation)
    if options.normalizer is not None:
        observation = replace(observation, normalizer=options.normalizer)
    return Contract(observation, _action(path, action, options.action_space), options.step_hz)


def box_from_environment(
    file: str, count: int, transform: Literal["clip", "unscale"], options: ImportOptions
) -> Action:
    """Return the box action whose bounds the file lacks, from the environment the user named.

    Raises:
        InputError: no environment was given, or its actions are not a box of `count` values.
    """
    given = options.action_space
    if given is None:
        raise InputError(
            f"{file}: the bounds of its {count} action values are not in the file: add --env "
            "ID, the environment it was trained on"
        )
    if given.kind != "box" or given.count != count:
        raise InputError(
            f"{file}: the policy has {count} action values, the actions of the environment "
            f"given with --env are {_describe(given)}: "
            "give the environment it was trained on"
        )
    return replace(given, transform=transform)


def _observation(path: Path, found: Observation | None, given: Observation | None) -> Observation:
    if found is None and given is None:
        raise InputError(
            f"{path.name}: the file does not say what the policy observes: add --env ID, the "
            "environment it was trained on"
        )
    if found is None or given is None:
        chosen = found or given
        assert chosen is not None
        return chosen
    if found.graph_shape != given.graph_shape or found.is_image != given.is_image:
        raise InputError(
            f"{path.name}: the policy observes {_shape(found)}, the environment given with "
            f"--env {_shape(given)}: "
            "give the environment it was trained on"
        )
    return replace(
        found, shape=given.shape, layout=given.layout, names=given.names or found.names
    )  # as the environment gives it


def _action(path: Path, found: Action | None, given: Action | None) -> Action:
    if found is None and given is None:
        raise InputError(
            f"{path.name}: the file does not say what its actions mean: add --env ID, the "
            "environment it was trained on"
        )
    if found is None or given is None:
        chosen = found or given
        assert chosen is not None
        return chosen
    if (
        found.kind != given.kind
        or found.count != given.count
        or not np.allclose(_bounds(found), _bounds(given), 1e-6, 1e-6)
    ):
        raise InputError(
            f"{path.name}: the policy's actions are {_describe(found)}, those of the "
            f"environment given with --env {_describe(given)}: "
            "give the environment it was trained on"
        )
    return replace(
        found, low=given.low, high=given.high
    )  # a file may print its bounds rounded, the environment has them exactly


def _bounds(action: Action) -> NDArray[np.float64]:
    return np.array([action.low, action.high], np.float64)


def _shape(observation: Observation) -> str:
    return f"{'pixels' if observation.is_image else 'a vector'} of shape {observation.graph_shape}"


def _describe(action: Action) -> str:
    if action.kind == "discrete":
        return f"discrete with {action.count} choices"
    return f"a box of {action.count} values from {list(action.low)} to {list(action.high)}"
