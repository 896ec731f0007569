"""State dicts saved by the CleanRL scripts become a `Policy`.

Such a file has names and tensors only. Which script wrote it follows from the names; its
activations, pixel scale and action rule are those of the script, so a network that differs from the
scripts in its names or depth is refused. Two scripts have names that other code has too (`actor`
and `critic`, `network`): a file with these is CleanRL's where its own name says so.
Source of the architectures:
cleanrl/{dqn,dqn_atari,ppo,ppo_continuous_action,ppo_atari,sac_continuous_action,td3_continuous_action,
ddpg_continuous_action}.py and their envpool variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.files.open import source_digest
from quarl.graph.contract import Action, Observation, box_bounds
from quarl.graph.policy import Activation, Dense, Function, Policy, linear_chain
from quarl.importers.options import ImportOptions, box_from_environment, make_contract
from quarl.importers.torch.layers import Layers, TorchState, nature_cnn, sequential
from quarl.importers.torch.state import describe, read_torch
from quarl.importers.torch.trainers import Chain, find_chain, read_chain, unwrapped

ATARI_SIDE = 84  # pixels; the Atari scripts resize to 84 x 84
ATARI_FEATURES = 64 * 7 * 7  # what the Nature CNN makes of 84 x 84
SCRIPT_DEPTH = 3  # Linear layers of every actor and Q-network on vectors
OWN_SUFFIX = ".cleanrl_model"  # of what the scripts save


@dataclass(frozen=True, slots=True)
class Script:
    """One kind of CleanRL script.

    `actor` are the modules its deterministic policy uses, `beside` those it saves but does not need
    to act.
    """

    algorithm: str
    actor: tuple[str, ...]
    beside: tuple[str, ...]
    layers: Callable[[TorchState, ImportOptions], Layers]
    is_box: bool = False
    squashes: bool = False
    # the script wraps the environment in NormalizeObservation, whose statistics it does not save
    normalizes: bool = False
    between: str = ""  # the activation, of a script whose names other code has too


def read_cleanrl(path: Path, options: ImportOptions) -> Policy:
    """Return the deterministic policy of a CleanRL checkpoint, or of another file of tensors.

    Raises:
        InputError, UnsupportedError, UntrustedFileError: as `importers.read_policy`.
    """
    return read_tensors(path, read_torch(path), options)


def read_tensors(path: Path, found: Any, options: ImportOptions) -> Policy:
    """Return the policy of tensors by name: of a CleanRL script, of a robot trainer, or of a chain
    of Linear layers whose activation the user names.

    Raises:
        InputError, UnsupportedError: as `importers.read_policy`.
    """
    chain = find_chain(path, found)
    if chain is not None and (chain.trainer != "torch" or options.activation is not None):
        return read_chain(path, chain, options)
    script, state = _choose(path, found, chain)
    if script.between and path.suffix != OWN_SUFFIX and not _is_conv(state):
        if chain is None:
            script.layers(state, options)  # says what is not a chain of Linear layers
        raise _doubt(path, script, state)
    layers = script.layers(state, options)
    first = layers[0][1]
    observation = (
        Observation((first.weights.shape[1],), "float32", "vector")
        if isinstance(first, Dense)
        else _pixels(state, options)
    )
    count = next(len(op.bias) for _, op in reversed(layers) if isinstance(op, Dense))
    contract = make_contract(path, options, observation, _action(state, script, count, options))
    if script.normalizes and contract.observation.normalizer is None and not options.no_normalizer:
        raise InputError(
            f"{path.name}: CleanRL's continuous PPO normalises observations and does not save "
            "how: add --obs-norm FILE.npz with mean, var, "
            "epsilon, clip_obs of its NormalizeObservation wrapper, or say --no-obs-norm if "
            "the script was run without it"
        )
    return Policy(linear_chain(layers), contract, script.algorithm, "cleanrl", source_digest(path))


def _doubt(path: Path, script: Script, state: TorchState) -> InputError:
    """Return the question about a file that may be of a script, or of any other code."""
    (module,) = script.actor
    last = state.children(module)[-1:]
    bias = state.tensors.get(f"{module}.{''.join(last)}.bias", np.zeros(1))
    return InputError(
        f"{path.name}: {module} may be that of CleanRL's {script.algorithm}, or of any other code; "
        "the file says neither which activation stands between its layers nor what its outputs "
        f"mean. Where it is CleanRL's: --activation {script.between} --action discrete:{bias.size},"
        f" or call the file {path.stem}{OWN_SUFFIX}; else say its own, or export it to ONNX"
    )


def _choose(path: Path, found: Any, chain: Chain | None) -> tuple[Script, TorchState]:
    """Return the one state dict in the file that is a policy, and its script; `chain` is another
    way to read the file.
    """
    parts = (
        list(found.values())
        if isinstance(found, dict)
        else list(found)
        if isinstance(found, (list, tuple))
        else []
    )
    dicts = [state for part in ([found, *parts]) if (state := unwrapped(part))]
    if not dicts:
        raise InputError(
            f"{path.name}: holds {describe(found)}, a state dict is needed: "
            "torch.save(agent.state_dict(), FILE)"
        )
    matches = [(script, state) for state in dicts if (script := _script_of(state)) is not None]
    if len(matches) == 1:
        return matches[0][0], TorchState(path.name, matches[0][1])
    if matches:
        raise InputError(
            f"{path.name}: holds {len(matches)} policies, one is needed: torch.save the state "
            "dict of the one that acts"
        )
    modules = sorted({key.split(".")[0] for state in dicts for key in state})
    known = {
        "atoms": "C51, whose expectation over atoms needs a softmax",
        "lstm": "a recurrent policy",
    }
    named = [f"is {known[module]}" for module in modules if module in known]
    reason = named[0] if named else f"no CleanRL script has the modules {', '.join(modules[:8])}"
    other = (
        f", or, where {chain.modules[0]} to {chain.modules[-1]} are the actor, name the activation "
        "between them: --activation tanh"
        if chain is not None
        else ""
    )
    raise UnsupportedError(
        f"{path.name}: {reason}: not carried over. Known are DQN, PPO, Atari PPO, SAC, TD3 "
        f"and DDPG; export others to ONNX{other}"
    )


def _script_of(state: Mapping[str, NDArray[Any]]) -> Script | None:
    modules = {key.split(".")[0] for key in state}
    for script in SCRIPTS:
        needed = set(script.actor)
        if needed <= modules and modules <= needed | set(script.beside):
            return script
    return None


def _pixels(state: TorchState, options: ImportOptions) -> Observation:
    """Return the pixels [channels, height, width] the Nature CNN sees; the side follows from the
    scripts or the environment.
    """
    channels = state.conv("network.0", 4).weights.shape[3]
    features = state.dense("network.7").weights.shape[1]
    if options.observation is not None:
        if not options.observation.is_image:
            raise InputError(
                f"{state.file}: the policy observes pixels, the environment given with --env "
                "a vector of shape "
                f"{options.observation.shape}: give the environment it was trained on"
            )
        height, width, _ = options.observation.graph_shape
        return Observation((channels, height, width), "uint8", "chw")
    if features != ATARI_FEATURES:
        raise InputError(
            f"{state.file}: its pictures are not 84 x 84 (the first Linear takes {features}): "
            "add --env ID, which says their size"
        )
    return Observation((channels, ATARI_SIDE, ATARI_SIDE), "uint8", "chw")


def _action(state: TorchState, script: Script, count: int, options: ImportOptions) -> Action:
    if not script.is_box:
        return Action("discrete", count)
    transform: Literal["clip", "unscale"] = "unscale" if script.squashes else "clip"
    scale, bias = state.tensors.get("action_scale"), state.tensors.get("action_bias")
    if script.squashes and scale is not None and bias is not None:
        if scale.size != count or bias.size != count:
            raise InputError(
                f"{state.file}: action_scale {scale.shape} and action_bias {bias.shape} do "
                f"not fit {count} actions"
            )
        low, high = (
            box_bounds(bias.astype(np.float64) + sign * scale.astype(np.float64))
            for sign in (-1, 1)
        )
        return Action("box", count, low, high, transform)
    return box_from_environment(state.file, count, transform, options)


def _mlp(module: str, function: Function) -> Callable[[TorchState, ImportOptions], Layers]:
    def layers(state: TorchState, options: ImportOptions) -> Layers:
        found = sequential(state, module, function, activate_last=False)
        depth = len(state.children(module))
        if depth != SCRIPT_DEPTH:
            raise UnsupportedError(
                f"{state.file}: {module} has {depth} layers, CleanRL's have {SCRIPT_DEPTH}; "
                "activations are not in the file, "
                "so the layers of another network are not known: export it to ONNX"
            )
        return found

    return layers


def _fully_connected(head: str) -> Callable[[TorchState, ImportOptions], Layers]:
    def layers(state: TorchState, options: ImportOptions) -> Layers:
        relu = Activation("relu")
        return [
            ("fc1", state.dense("fc1")),
            ("fc1.relu", relu),
            ("fc2", state.dense("fc2")),
            ("fc2.relu", relu),
            (head, state.dense(head)),
            ("squash", Activation("tanh")),
        ]

    return layers


def _network(head: str) -> Callable[[TorchState, ImportOptions], Layers]:
    def layers(state: TorchState, options: ImportOptions) -> Layers:
        expected = ["0", "2", "4", "7", *(["9"] if head == "network.9" else [])]
        if state.children("network") != expected:
            raise UnsupportedError(
                f"{state.file}: network has tensors at "
                f"{', '.join(state.children('network'))}, CleanRL's Nature CNN "
                f"at {', '.join(expected)}: other networks are not carried over, export it to ONNX"
            )
        shape = _pixels(state, options).shape
        return [*nature_cnn(state, "network", "network.7", shape), (head, state.dense(head))]

    return layers


def _q_network(state: TorchState, options: ImportOptions) -> Layers:
    return (_network("network.9") if _is_conv(state) else _mlp("network", "relu"))(state, options)


def _is_conv(state: TorchState) -> bool:
    """Whether it begins with the Nature CNN, as the scripts of games do."""
    first = state.tensors.get("network.0.weight")
    return first is not None and first.ndim == 4


SCRIPTS = (
    Script("PPO", ("network", "actor"), ("critic",), _network("actor")),
    Script("PPO", ("actor",), ("critic",), _mlp("actor", "tanh"), between="tanh"),
    Script(
        "PPO",
        ("actor_mean",),
        ("critic", "actor_logstd"),
        _mlp("actor_mean", "tanh"),
        is_box=True,
        normalizes=True,
    ),
    Script("DQN", ("network",), (), _q_network, between="relu"),
    Script(
        "SAC",
        ("fc1", "fc2", "fc_mean"),
        ("fc_logstd", "action_scale", "action_bias"),
        _fully_connected("fc_mean"),
        is_box=True,
        squashes=True,
    ),
    Script(
        "TD3/DDPG",
        ("fc1", "fc2", "fc_mu"),
        ("action_scale", "action_bias"),
        _fully_connected("fc_mu"),
        is_box=True,
        squashes=True,
    ),
)
