"""Checkpoints of RLlib (new API stack) read as data: its own networks of vectors for PPO, DQN, SAC.

In: the folder of an algorithm, or that of one module. Out: a `Policy`. Its pickles are read by
`quarl.importers.torch.pickle`, which imports and calls nothing; spaces and settings in them are
objects of names and numbers.
Source: ray 2.60, rllib.core.rl_module and rllib.core.models.torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.files.open import read_file
from quarl.files.text import shortened
from quarl.graph.contract import Action, Observation, box_bounds
from quarl.graph.policy import Activation, Dense, Function, Policy, linear_chain
from quarl.importers.options import ImportOptions, box_from_environment, make_contract
from quarl.importers.rllib_folder import MADE_WITH, STATE, module_folder
from quarl.importers.torch.layers import PLACE, Layers, TorchState
from quarl.importers.torch.objects import Named, ObjectMeanings, Thing, array_of, other_contents
from quarl.importers.torch.pickle import Machine, as_text
from quarl.importers.torch.trainers import ACTIVATIONS

CONNECTORS = "env_runner/module_to_env_connector"
BEFORE = "env_runner/env_to_module_connector"
MOST_WHOLE = 1 << 31  # of a space
MAX_STATE_BYTES, MAX_SETTINGS_BYTES = 1 << 28, 1 << 22
DEFAULT_ACTIVATION = "tanh"  # of DefaultModelConfig; in heads it is relu
DEFAULT_HEAD = "relu"
# of each module class: algorithm, encoder and head; the action's transform is that of `_action`
FAMILIES = {
    "DefaultPPOTorchRLModule": ("PPO", ("encoder.actor_encoder", "encoder.encoder"), "pi"),
    "DefaultDQNTorchRLModule": ("DQN", ("encoder",), "af"),
    "DefaultSACTorchRLModule": ("SAC", ("pi_encoder",), "pi"),
}
WAY = (
    "export it to ONNX: module = RLModule.from_checkpoint(FOLDER), then torch.onnx.export of its "
    "encoder and head"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One module: its folder, tensors, and what it was made with."""

    folder: Path
    state: TorchState
    family: str
    settings: Mapping[str, Any]
    digest: str

    @property
    def name(self) -> str:
        """For messages."""
        return self.folder.name


def read_rllib(path: Path, options: ImportOptions) -> Policy:
    """Return the deterministic policy of a module.

    Raises:
        InputError: damaged, or what is missing is not stated.
        UnsupportedError: a module or layer that is not carried over; named.
        UntrustedFileError: an instruction that plain numbers do not need.
    """
    folder = module_folder(path)
    assert folder is not None, "recognised by it"
    with other_contents(
        path.name, "its pickles are not those of an RLlib module", "save the checkpoint again"
    ):
        return _policy(path, _opened(folder), options)


def _opened(folder: Path) -> Checkpoint:
    contents = [
        read_file(folder / name, limit)
        for name, limit in ((STATE, MAX_STATE_BYTES), (MADE_WITH, MAX_SETTINGS_BYTES))
    ]
    tensors, made = (
        Machine(f"{folder.name}/{name}", ObjectMeanings()).run(content)
        for name, content in zip((STATE, MADE_WITH), contents, strict=True)
    )
    kind = made["class"]
    state = {str(key): array_of(value).astype(np.float32) for key, value in tensors.items()}
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    family = kind.name.rpartition(".")[2] if isinstance(kind, Named) else "?"
    settings = made["ctor_args_and_kwargs"][1]
    return Checkpoint(folder, TorchState(folder.name, state), family, settings, digest)


def _policy(path: Path, found: Checkpoint, options: ImportOptions) -> Policy:
    if found.family not in FAMILIES:
        raise UnsupportedError(
            f"{path.name}: the module is a {found.family[:60]}, carried over are "
            f"{', '.join(FAMILIES)}: {WAY}"
        )
    algorithm, encoders, head = FAMILIES[found.family]
    encoder = next((name for name in encoders if found.state.has(f"{name}.net.mlp")), None)
    if encoder is None or not found.state.has(f"{head}.net.mlp"):
        first = ", ".join(list(found.state.tensors)[:3])
        raise UnsupportedError(
            f"{path.name}: the module's network is not RLlib's MLP (it holds {first}, ...): {WAY}"
        )
    config = _config(found.settings.get("model_config"))
    layers = _mlp(found, f"{encoder}.net.mlp", config, "fcnet_activation", is_last=False)
    layers += _mlp(found, f"{head}.net.mlp", config, "head_fcnet_activation", is_last=True)
    action = _action(path, found, algorithm, options)
    if action.kind == "box":
        name, last = layers[-1]
        assert isinstance(last, Dense)
        layers[-1] = name, Dense(last.weights[: action.count], last.bias[: action.count])
        if algorithm == "SAC":
            layers.append(("squash", Activation("tanh")))
    _check_observations(path, found, options)
    space = found.settings["observation_space"]
    observation = Observation(_shape(space), "float32", "vector")
    stated = f"activation {config.get('fcnet_activation', DEFAULT_ACTIVATION)}: "
    stated += "the file" if "fcnet_activation" in config else "RLlib's default"
    contract = make_contract(path, options, observation, action, (stated,))
    return Policy(linear_chain(layers), contract, algorithm, "rllib", found.digest)


def _config(value: Any) -> Mapping[str, Any]:
    """Return the settings of a network, of which only those that were set are kept."""
    if isinstance(value, Thing):
        return value.attributes
    return value if isinstance(value, dict) else {}


def _mlp(
    found: Checkpoint, module: str, config: Mapping[str, Any], key: str, *, is_last: bool
) -> Layers:
    """Return the layers of an MLP; an encoder's has its function behind the last one too."""
    name = as_text(config.get(key, DEFAULT_HEAD if is_last else DEFAULT_ACTIVATION)).lower()
    if name not in ACTIVATIONS:
        raise UnsupportedError(f"{found.name}: {key} is {name[:40]!r}: {WAY}")
    function: Function | None = ACTIVATIONS[name]
    numbers = sorted(
        int(place[1])
        for tensor in found.state.tensors
        if (place := re.fullmatch(rf"{re.escape(module)}\.({PLACE})\.weight", tensor))
    )
    layers: Layers = []
    for number in numbers:
        layers.append((f"{module}.{number}", found.state.dense(f"{module}.{number}")))
        if function is not None and not (is_last and number == numbers[-1]):
            layers.append((f"{module}.{number}.activation", Activation(function)))
    return layers


def _action(path: Path, found: Checkpoint, algorithm: str, options: ImportOptions) -> Action:
    space = found.settings["action_space"]
    match space.kind.rpartition(".")[2]:
        case "Discrete":
            values = space.attributes
            return Action("discrete", _whole(values["n"]), start=_whole(values["start"]))
        case "Box" if len(_shape(space)) == 1:
            low, high = (array_of(space.attributes[name]) for name in ("low", "high"))
            given = Action("box", len(low), box_bounds(low), box_bounds(high))
            spreads = _spreads(path, found)
            if spreads is None:
                # a module alone does not say whether actions are spread over the bounds
                return box_from_environment(path.name, len(low), "clip", options)
            return replace(given, transform="unscale" if spreads else "clip")
    raise UnsupportedError(
        f"{path.name}: {space.kind.rpartition('.')[2]} actions of {algorithm} are not carried over "
        f"from RLlib: {WAY}"
    )


def _spreads(path: Path, found: Checkpoint) -> bool | None:
    """Return whether outputs of -1 to 1 are spread over the bounds, which the connectors behind the
    module say; None where they are not beside it.
    """
    for folder in (path, *found.folder.parents[:4]):
        file = folder / CONNECTORS / MADE_WITH
        if not file.is_file():
            continue
        made = Machine(file.name, ObjectMeanings()).run(read_file(file, MAX_SETTINGS_BYTES))
        for kind, _, arguments in made["ctor_args_and_kwargs"][1]["connectors"]:
            if isinstance(kind, Named) and kind.name.endswith(".NormalizeAndClipActions"):
                return bool(arguments["normalize_actions"])
        return False
    return None


def _check_observations(path: Path, found: Checkpoint, options: ImportOptions) -> None:
    space = found.settings["observation_space"]
    if not space.kind.endswith(".Box") or len(_shape(space)) != 1:
        raise UnsupportedError(
            f"{path.name}: observations are {space.kind.rpartition('.')[2]}, from RLlib only "
            f"vectors are carried over: {WAY}"
        )
    if options.normalizer is not None or options.no_normalizer:
        return
    for folder in (path, *found.folder.parents[:4]):
        for part in sorted((folder / BEFORE).glob("*mean_std*")):
            raise InputError(
                f"{path.name}: observations were normalised by a connector ({part.name}), which is "
                "not read: add --obs-norm FILE.npz with mean, var, epsilon, clip_obs, or say "
                "--no-obs-norm"
            )


def _whole(value: Any) -> int:
    """Return a whole number, plain or as NumPy's scalar."""
    if isinstance(value, Thing):
        dtype, data = value.arguments
        numbers: NDArray[Any] = np.frombuffer(data, np.dtype(as_text(dtype.arguments[0])))
        value = numbers[0].item()
    if not isinstance(value, int) or abs(value) > MOST_WHOLE:
        raise ValueError(f"{shortened(value)} where a whole number belongs")
    return value


def _shape(space: Thing) -> tuple[int, ...]:
    return tuple(_whole(length) for length in space.attributes["_shape"])
