"""Checkpoints of robot trainers: rsl_rl, rl_games, skrl, and any state dict whose actor is a chain
of Linear layers.

In: tensors by name. Out: a `Policy`. Such a file does not say which activations stand between its
layers: they come from the trainer's own settings beside it, or from the user.
Source: rsl_rl 1 to 5 (OnPolicyRunner.save), rl_games 1.6 (a2c_common.get_full_state_weights),
skrl 1.4 (Agent.write_checkpoint, the models that its runner makes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.files.open import open_file, source_digest
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import Activation, Dense, Function, Policy, linear_chain
from quarl.importers.cells import cells_and_layers
from quarl.importers.observation import NO_CLIP
from quarl.importers.options import ImportOptions, make_contract, missing_action
from quarl.importers.torch.cells import torch_cells
from quarl.importers.torch.layers import PLACE, TORCH_ACTIVATIONS, Layers, TorchState
from quarl.importers.torch.state import is_state_dict

State = Mapping[str, NDArray[Any]]
PPO_TRAINERS = ("rsl_rl", "rl_games")
_STATED = re.compile(r"^[ \t]*activations?:[ \t]*['\"]?([A-Za-z_.]+)", re.MULTILINE)
SETTINGS = ("agent.yaml", "config.yaml", "params.yaml")  # as trainers write them
MAX_SETTINGS_BYTES = 1 << 20
RSL_EPSILON = 1e-2  # EmpiricalNormalization divides by std + eps
RSL_MEMORIES = {  # the recurrent module before each actor; others are the critic's or a teacher's
    "actor": ("memory_a.rnn",),
    "student": ("memory_s.rnn",),
    "mlp": ("rnn.rnn", "rnn"),
}
RL_GAMES_EPSILON, RL_GAMES_CLIP = 1e-5, 5.0  # RunningMeanStd
SKRL_EPSILON, SKRL_CLIP = 1e-8, 5.0  # RunningStandardScaler, which divides by sqrt(var) + eps
SKRL_SCALERS = ("state_preprocessor", "observation_preprocessor")
ACTIVATIONS: dict[str, Function | None] = {
    **{name.lower(): function for name, function in TORCH_ACTIVATIONS.items()},
    "identity": None,
    "leaky_relu": TORCH_ACTIVATIONS["LeakyReLU"],
    "linear": None,
    "lrelu": TORCH_ACTIVATIONS["LeakyReLU"],
    "none": None,
    "swish": "silu",
}
NOT_ACTORS = re.compile(r"critic|value|vf|target|q\d?$|qf|encoder|rnd|estimator|discriminator")
STATISTICS = re.compile(r"(^|[._])(mean|var|variance|std|rms|mu|sigma)\d*$", re.IGNORECASE)
SPREADS = re.compile(r"std|sigma|(^|[._])(log_?)?var", re.IGNORECASE)
ACTORS = re.compile(r"actor|policy|pi|mu|mean|mlp|net|model|layers?|body|action")


@dataclass(frozen=True, slots=True)
class Chain:
    """The actor of one checkpoint."""

    trainer: str
    state: State
    modules: tuple[str, ...]  # Linear layers, in order; an activation stands between two
    normalizer: Normalizer | None = None
    heads: tuple[str, ...] = ()  # of a choice; of several choices, one each
    stretches: bool = False  # outputs are clipped to -1..1 and spread over the bounds
    memory: str = ""  # the recurrent module before the layers
    notes: tuple[str, ...] = ()  # what the importer chose or dropped
    statistics: tuple[str, ...] = ()  # of as many numbers as are observed, which nobody explains


def find_chain(path: Path, found: Any) -> Chain | None:
    """Return the actor in what a file holds, None where there is none of these kinds.

    Raises:
        UnsupportedError: a recurrent one whose order is not in the file, or one with pictures.
    """
    parts = found if isinstance(found, dict) else {}
    for key, read in (
        ("model_state_dict", _rsl_rl),
        ("actor_state_dict", _rsl_rl),
        ("model", _rl_games),
        ("policy", _skrl),
    ):
        state = unwrapped(parts.get(key))
        if state and (chain := read(path, state, parts)) is not None:
            return chain
    dicts = [found, *parts.values()] if isinstance(found, dict) else []
    states = [state for part in dicts if (state := unwrapped(part))]
    chains = [chain for state in states for chain in _plain(state)]
    if len(chains) != 1:
        return None
    known = {name: value for state in reversed(states) for name, value in state.items()}
    return replace(chains[0], statistics=_statistics_in(known, chains[0]))


def read_chain(path: Path, chain: Chain, options: ImportOptions) -> Policy:
    """Return the policy of an actor.

    Raises:
        InputError: nobody says its activations or its action.
    """
    function, last_function, said = _activations(path, chain, options)
    state = TorchState(path.name, dict(chain.state))
    layers: Layers = []
    for place, module in enumerate(chain.modules):
        layers.append((module, state.dense(module)))
        is_last = place + 1 == len(chain.modules) and not chain.heads
        if not is_last and function is not None:
            layers.append((f"{module}.activation", Activation(function)))
    if chain.heads:
        heads = [state.dense(module) for module in chain.heads]
        weights, bias = (
            np.concatenate([getattr(head, field) for head in heads])
            for field in ("weights", "bias")
        )
        layers.append((chain.heads[0], Dense(weights, bias)))
    first, last = layers[0][1], layers[-1][1]
    if last_function is not None:
        layers.append((f"{chain.modules[-1]}.activation", Activation(last_function)))
    assert isinstance(first, Dense)
    assert isinstance(last, Dense)
    cells = torch_cells(state, chain.memory) if chain.memory else ()
    count = len(last.bias)
    length = cells[0].features if cells else first.weights.shape[1]
    observation = Observation((length,), "float32", "vector", (), chain.normalizer)
    if chain.normalizer is not None and options.normalizer is not None:
        raise InputError(
            f"{path.name}: keeps the statistics of its observations itself, --obs-norm would "
            "normalise twice: omit --obs-norm"
        )
    if chain.statistics and options.normalizer is None and not options.no_normalizer:
        raise InputError(
            f"{path.name}: also holds {', '.join(chain.statistics[:3])}, statistics of as many "
            "numbers as it observes: where observations were normalised by them, add --obs-norm "
            "FILE.npz with mean, var, epsilon, clip_obs, else say --no-obs-norm"
        )
    action, notes = _action(path, chain, state, count, options)
    given = action or options.action_space
    if last_function == "tanh" and given is not None and _is_bounded(given):
        action = replace(given, transform="unscale")
    contract = make_contract(path, options, observation, action, (*said, *chain.notes, *notes))
    nodes = linear_chain(layers)
    made: tuple[str, ...] = ()
    if cells:
        nodes, states, made = cells_and_layers(path, cells, chain.memory, layers)
        contract = replace(contract, state=states)
    algorithm = "PPO" if chain.trainer in PPO_TRAINERS else "unknown"
    return Policy(nodes, contract, algorithm, chain.trainer, source_digest(path), made)


def unwrapped(state: Any) -> dict[str, NDArray[Any]]:
    """Return a state dict without the prefixes of wrappers (`torch.compile`, `DataParallel`); empty
    where it is none.
    """
    if not is_state_dict(state):
        return {}
    found = {key.replace("_orig_mod.", ""): value for key, value in state.items()}
    if all(key.startswith("module.") for key in found):
        found = {key.removeprefix("module."): value for key, value in found.items()}
    return found


def _rsl_rl(path: Path, state: State, parts: Mapping[str, Any]) -> Chain | None:
    modules = {key.partition(".")[0] for key in state}
    actor = next((name for name in ("actor", "student", "mlp") if name in modules), None)
    if actor is None:
        return None
    memories = {key.rpartition(".")[0] for key in state if key.endswith(".weight_ih_l0")}
    own = [name for name in memories if name in RSL_MEMORIES[actor]]
    if memories and not own:
        raise _recurrent(path)
    chain = _numbered(state, actor)
    if chain is None:
        return None
    normalizer = None
    for prefix in ("actor_obs_normalizer.", "obs_normalizer.", "student_obs_normalizer."):
        if f"{prefix}_mean" in state:
            normalizer = _empirical(state, prefix)
    beside = unwrapped(parts.get("obs_norm_state_dict"))
    if normalizer is None and "_mean" in beside:
        normalizer = _empirical(beside, "")
    return Chain("rsl_rl", state, chain, normalizer, memory=own[0] if own else "")


def _empirical(state: State, prefix: str) -> Normalizer:
    mean, std = (
        np.ravel(state[f"{prefix}{name}"]).astype(np.float64) for name in ("_mean", "_std")
    )
    var = (std + RSL_EPSILON) ** 2
    return Normalizer(tuple(mean.tolist()), tuple(var.tolist()), 0.0, NO_CLIP)


def _rl_games(path: Path, state: State, parts: Mapping[str, Any]) -> Chain | None:
    network = "a2c_network"
    if not any(key.startswith(f"{network}.") for key in state):
        return None
    if any(key.startswith((f"{network}.rnn", f"{network}.a_rnn")) for key in state):
        raise _recurrent(path)
    if any(key.startswith((f"{network}.actor_cnn", f"{network}.cnn")) for key in state):
        raise UnsupportedError(
            f"{path.name}: an rl_games network with convolutions, whose strides are not in the "
            "file: export it to ONNX"
        )
    chain = _numbered(state, f"{network}.actor_mlp")
    if chain is None:
        return None
    normalizer = None
    name = "running_mean_std.running_"
    if f"{name}mean" in state:
        mean, var = (np.ravel(state[f"{name}{part}"]).astype(float) for part in ("mean", "var"))
        values = tuple(mean.tolist()), tuple(var.tolist())
        normalizer = Normalizer(*values, RL_GAMES_EPSILON, RL_GAMES_CLIP)
    if f"{network}.mu.weight" in state:
        modules = (*chain, f"{network}.mu")
        return Chain("rl_games", state, modules, normalizer, stretches=True)
    choices = [f"{network}.logits"] if f"{network}.logits.weight" in state else []
    choices += [f"{network}.logits.{place}" for place in range(64)]
    heads = tuple(module for module in choices if f"{module}.weight" in state)
    return Chain("rl_games", state, chain, normalizer, heads) if heads else None


def _skrl(path: Path, state: State, parts: Mapping[str, Any]) -> Chain | None:
    """skrl's agents: a Sequential, the layer of the actions, and a RunningStandardScaler."""
    modules, head = _numbered(state, "net_container"), state.get("policy_layer.weight")
    if modules is None or head is None or _outputs(state, modules) != head.shape[-1]:
        return None
    scaler = next((unwrapped(parts.get(name)) for name in SKRL_SCALERS if name in parts), {})
    normalizer = None
    if {"running_mean", "running_variance"} <= scaler.keys():
        mean, var = (
            np.ravel(scaler[f"running_{name}"]).astype(np.float64) for name in ("mean", "variance")
        )
        spread = (np.sqrt(var) + SKRL_EPSILON) ** 2
        values = tuple(mean.tolist()), tuple(spread.tolist())
        normalizer = Normalizer(*values, 0.0, SKRL_CLIP)
    return Chain("skrl", state, (*modules, "policy_layer"), normalizer)


def _outputs(state: State, modules: tuple[str, ...]) -> int:
    return int(state[f"{modules[-1]}.weight"].shape[0])


def _recurrent(path: Path) -> UnsupportedError:
    return UnsupportedError(
        f"{path.name}: a recurrent policy of the trainer's own layout is not read: export it to "
        "ONNX with its state as input and output"
    )


def _plain(state: State) -> list[Chain]:
    """Return the chains of Linear layers that may be an actor."""
    prefixes = dict.fromkeys(
        found[1] for key in state if (found := re.fullmatch(rf"(.*?)\.?{PLACE}\.weight", key))
    )
    named = [p for p in prefixes if not NOT_ACTORS.search(p)]
    best = [p for p in named if ACTORS.search(p)] or named
    chains = [(prefix, _numbered(state, prefix)) for prefix in best]
    return [
        Chain("torch", state, modules)
        for _, modules in chains
        if modules is not None and _is_whole(state, modules)
    ]


def _is_whole(state: State, modules: tuple[str, ...]) -> bool:
    """Whether no other layer gives what the first one takes, or takes what the last one gives; a
    critic's and a spread's do not count.
    """
    inputs, outputs = state[f"{modules[0]}.weight"].shape[1], _outputs(state, modules)
    others = [
        value.shape
        for name, value in state.items()
        if name.endswith(".weight")
        and value.ndim == 2
        and name.removesuffix(".weight") not in modules
        and not NOT_ACTORS.search(name)
        and not SPREADS.search(name)
    ]
    return not any(shape[1] == outputs or shape[0] == inputs for shape in others)


def _statistics_in(state: State, chain: Chain) -> tuple[str, ...]:
    """Return the names that look like statistics of the observations."""
    count = chain.state[f"{chain.modules[0]}.weight"].shape[1]
    return tuple(
        name
        for name, value in state.items()
        if value.size == count
        and STATISTICS.search(name)
        and name.rpartition(".")[0] not in chain.modules
    )


def _numbered(state: State, prefix: str) -> tuple[str, ...] | None:
    """Return the Linear layers of a Sequential in order, None where it holds anything else."""
    start = f"{prefix}." if prefix else ""
    own = [key for key in state if re.match(rf"{re.escape(start)}{PLACE}\.", key)]
    numbers = sorted({int(key[len(start) :].partition(".")[0]) for key in own})
    widths: list[tuple[int, int]] = []
    for number in numbers:
        names = {key.rpartition(".")[2] for key in own if key.startswith(f"{start}{number}.")}
        weight = state.get(f"{start}{number}.weight")
        if weight is None or weight.ndim != 2 or not names <= {"weight", "bias"}:
            return None
        widths.append((weight.shape[1], weight.shape[0]))
    follows = all(before[1] == after[0] for before, after in pairwise(widths))
    return tuple(f"{start}{number}" for number in numbers) if widths and follows else None


def _activations(
    path: Path, chain: Chain, options: ImportOptions
) -> tuple[Function | None, Function | None, tuple[str, ...]]:
    """Return the function between the layers and the one after the last, None for none, and who
    says so: --activation relu,tanh names both.
    """
    named, _, after = (options.activation or "").partition(",")
    if after and (chain.heads or chain.trainer in PPO_TRAINERS):
        raise InputError(
            f"{path.name}: --activation {options.activation}: {chain.trainer} has none after the "
            f"last layer: --activation {named}"
        )
    function, by = _activation(path, chain, named or None)
    if chain.trainer in PPO_TRAINERS:
        return function, None, (by,)
    last = _known(path, after, "--activation") if after else None
    note = f"activation {after or 'none'} after the last layer" + (": --activation" * bool(after))
    return function, last, (by, note)


def _activation(path: Path, chain: Chain, named: str | None) -> tuple[Function | None, str]:
    """Return the function between the layers, None for none, and who says so."""
    if len(chain.modules) + len(chain.heads) == 1:
        return None, "activation: none, one layer"
    name, by = named, "--activation"
    if name is None:
        name, by = _from_settings(path)
    if name is None:
        raise InputError(
            f"{path.name}: a checkpoint of {chain.trainer}, and the file does not say which "
            "activation stands between its layers: add --activation elu (or tanh, relu, silu, "
            f"selu ...), as it was trained with, or put the trainer's {SETTINGS[0]} beside it; or "
            "export it to ONNX"
        )
    return _known(path, name, by), f"activation {_plain_name(name)}: {by}"


def _plain_name(name: str) -> str:
    return name.strip().lower().replace("nn.", "")


def _known(path: Path, name: str, by: str) -> Function | None:
    """Return the function of that name, None for none."""
    if _plain_name(name) not in ACTIVATIONS:
        raise InputError(
            f"{path.name}: {by} says the activation {name[:40]!r}, known are "
            f"{', '.join(sorted(ACTIVATIONS))}: export it to ONNX"
        )
    return ACTIVATIONS[_plain_name(name)]


def _from_settings(path: Path) -> tuple[str | None, str]:
    """Return the activation that the trainer's settings beside the file name, and their name."""
    folders = [path.parent, path.parent / "params", path.parent.parent / "params"]
    for file in (folder / name for folder in folders for name in SETTINGS):
        if not file.is_file():
            continue
        with open_file(file, MAX_SETTINGS_BYTES) as opened:
            text = opened.read().decode("utf-8", "replace")
        names = {found[1].lower() for found in _STATED.finditer(text)}
        if len(names) == 1:
            return names.pop(), file.name
    return None, ""


def _action(
    path: Path, chain: Chain, state: TorchState, count: int, options: ImportOptions
) -> tuple[Action | None, tuple[str, ...]]:
    if chain.heads:
        counts = tuple(len(state.dense(module).bias) for module in chain.heads)
        if len(counts) == 1:
            return Action("discrete", count), ()
        return Action("multi_discrete", count, counts=counts), ()
    given = options.action_space
    if given is None:
        raise missing_action(
            path.name, f"the network ends in a linear layer ({chain.modules[-1]})", count
        )
    if given.count != count:
        raise InputError(
            f"{path.name}: the network has {count} outputs, {options.action_by} says "
            f"{given.count}: give the space as it was trained"
        )
    if chain.stretches and _is_bounded(given):
        note = "outputs are clipped to -1..1 and spread over the bounds, as rl_games does"
        transform: Literal["unscale"] = "unscale"
        return replace(given, transform=transform), (note,)
    return None, ()


def _is_bounded(action: Action) -> bool:
    return action.kind == "box" and bool(np.isfinite([action.low, action.high]).all())


def modules_of(found: Any) -> Sequence[str]:
    """Return the first names of what a file holds, for messages."""
    return (
        sorted({str(key).partition(".")[0] for key in found})[:8] if isinstance(found, dict) else []
    )
