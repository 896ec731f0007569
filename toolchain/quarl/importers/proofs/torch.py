"""Outputs of torch networks for the import proof: Stable-Baselines3's own policies, and CleanRL's
layers run by torch.

Both compute on channels-first pictures with torch's kernels, so a mistake in layout, order or
activation shows.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from quarl.errors import InputError, ToolMissingError
from quarl.graph.policy import Activation, Policy
from quarl.importers import chainer
from quarl.importers.detect import detect_format
from quarl.importers.options import ImportOptions
from quarl.importers.safetensors import tensors_in
from quarl.importers.torch.layers import TORCH_ACTIVATIONS
from quarl.importers.torch.trainers import unwrapped
from quarl.rollouts.flat_space import flat_length, is_flattened, is_picture, pictures_in

CONTRIB = {
    "QR-DQN": "QRDQN",
    **{name: name for name in ("TQC", "TRPO", "ARS", "CrossQ", "MaskablePPO", "RecurrentPPO")},
}


def outputs_of_sb3(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.floating[Any]], str]:
    """Return Stable-Baselines3's outputs [n, count] for observations [n, *shape]. Loading
    unpickles: only for trusted files.
    """
    # Stable-Baselines3 imports TensorBoard, and that TensorFlow, for seconds and with warnings;
    # this name tells it not to.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    try:
        import sb3_contrib
        import stable_baselines3
        import torch
    except ImportError as error:
        raise ToolMissingError(
            "Stable-Baselines3 is not installed: pip install 'quarl[sb3]'"
        ) from error
    _spare_compiler(torch.optim.Optimizer)
    name = policy.algorithm
    algorithm = (
        getattr(sb3_contrib, CONTRIB[name]) if name in CONTRIB else getattr(stable_baselines3, name)
    )
    small = {
        "buffer_size": 1,
        "learning_starts": 0,
        "optimize_memory_usage": False,
    }  # a replay buffer may take gigabytes
    try:
        network = algorithm.load(path, device="cpu", custom_objects=small).policy
    except Exception as error:  # unpickling may raise anything
        raise InputError(f"{path.name}: Stable-Baselines3 cannot load it ({error!r})") from error
    network.set_training_mode(False)
    _take_flat_observations(network)
    normalizer = policy.contract.observation.normalizer
    seen = obs if normalizer is None else normalizer.apply(obs).astype(np.float32)
    with torch.no_grad():
        tensor, _ = network.obs_to_tensor(_parts_of(network.observation_space, seen))
        outputs = _sb3_outputs(network, name, policy.contract.action.is_choice, tensor)
    count = policy.contract.action.count
    return (
        _two_each(outputs.numpy()) if outputs.shape[1] * 2 == count else outputs.numpy(),
        f"Stable-Baselines3 {stable_baselines3.__version__}, torch {torch.__version__}",
    )


def _spare_compiler(optimizer: type) -> None:
    """Let torch make optimizers without its compiler, which they import to be left out of what it
    compiles: for a second, where nothing is compiled.
    """
    for method in vars(optimizer).values():
        if hasattr(method, "__wrapped__"):
            method.__wrapped__.__dynamo_disable = method.__wrapped__


def outputs_of_cleanrl(
    path: Path, policy: Policy, obs: NDArray[Any], options: ImportOptions
) -> tuple[NDArray[np.floating[Any]], str]:
    """Return what torch computes from the checkpoint's tensors [n, count], layer by layer as
    CleanRL's scripts do.
    """
    try:
        import torch
    except ImportError as error:
        raise ToolMissingError("torch is not installed: pip install 'quarl[sb3]'") from error
    loaded = _tensors(path)
    memory = _memory_of(policy)
    first = f"{memory}.weight_ih_l0" if memory else f"{policy.nodes[0].name}.weight"
    candidates = [loaded, *(loaded.values() if isinstance(loaded, dict) else loaded)]
    states = [part for part in map(unwrapped, candidates) if first in part]
    if not states:
        raise ToolMissingError(f"{path.name}: torch reads no tensor {first} from it")
    state = {
        name: torch.from_numpy(np.array(value, np.float32)) for name, value in states[0].items()
    }
    observation = policy.contract.observation
    seen = (
        observation.normalizer.apply(obs).astype(np.float32)
        if observation.normalizer is not None
        else obs
    )
    if observation.layout == "hwc":
        seen = np.ascontiguousarray(seen.transpose(0, 3, 1, 2))
    with torch.no_grad():
        x = torch.from_numpy(seen).float()
        if policy.framework != "cleanrl":
            return _chain_outputs(
                state, policy, x
            ).numpy(), f"its layers in torch {torch.__version__}"
        outputs = _cleanrl_outputs(state, x)
    return outputs.numpy(), f"CleanRL's layers in torch {torch.__version__}"


def _tensors(path: Path) -> Any:
    """Return what the file holds, tensors as arrays; a torch file is read by torch itself."""
    kind = detect_format(path)
    if kind == "safetensors":
        return tensors_in(path)
    if kind == "chainer":
        return chainer.tensors_in(path)
    import torch

    scalar = np.float64(0).__reduce__()[0]
    kinds: list[Any] = [
        scalar,
        np.dtype,
        *{type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8")},
    ]
    try:
        with torch.serialization.safe_globals(kinds):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever it raises
        raise ToolMissingError(
            f"{path.name}: torch does not load it without running what it holds ({error!r:.100})"
        ) from error

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        return value.float().numpy() if isinstance(value, torch.Tensor) else value

    return plain(loaded)


def _chain_outputs(state: dict[str, Any], policy: Policy, x: Any) -> Any:
    """Return what a chain of Linear layers gives, by torch's own activations."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    kinds = {function: name for name, function in TORCH_ACTIVATIONS.items()}
    memory = _memory_of(policy)
    if memory:
        x = _remembered(state, memory, x)
    for node in policy.nodes:
        if memory and node.name.startswith(f"{memory}."):
            continue
        match node.op:
            case Activation(function=function):
                x = getattr(torch.nn, kinds[function])()(x)
            case _ if f"{node.name}.weight" in state and len(state[f"{node.name}.weight"]) == len(
                getattr(node.op, "bias", ())
            ):
                x = F.linear(
                    x, state[f"{node.name}.weight"].float(), state.get(f"{node.name}.bias")
                )
            case _:  # several choices, one head each
                base = node.name.rpartition(".")[0]
                names = [key for key in state if key.startswith(f"{base}.") and "weight" in key]
                parts = [
                    F.linear(x, state[key], state[key.replace("weight", "bias")]) for key in names
                ]
                x = torch.cat(parts, dim=1)
    return x


def _memory_of(policy: Policy) -> str:
    """Return the recurrent module that a policy begins with; empty where it has none."""
    return re.sub(r"(\.\d+)?\.joined$", "", policy.nodes[0].name) if policy.contract.state else ""


def _remembered(state: dict[str, Any], module: str, x: Any) -> Any:
    """Return what torch's own recurrent module gives for one episode [n, features]."""
    import torch

    own = {
        key.removeprefix(f"{module}."): value
        for key, value in state.items()
        if key.startswith(f"{module}.")
    }
    hidden, rows = own["weight_hh_l0"].shape[1], len(own["weight_hh_l0"])
    kind = {4: torch.nn.LSTM, 3: torch.nn.GRU, 1: torch.nn.RNN}[rows // hidden]
    layers = sum(key.startswith("weight_hh_l") for key in own)
    cell = kind(x.shape[1], hidden, layers, bias="bias_ih_l0" in own)
    cell.load_state_dict(own)
    return cell(x)[0]


def _take_flat_observations(network: Any) -> None:
    """Let a network whose observations are choices, windows or dicts take the vector they are laid
    out as; beside pictures, let each other part be a vector.
    """
    from gymnasium import spaces
    from stable_baselines3.common.torch_layers import FlattenExtractor

    given = network.observation_space
    if not is_flattened(given):
        return
    if pictures_in(given):
        space: Any = spaces.Dict(
            {
                key: part if is_picture(part) else _vector_space(flat_length(part))
                for key, part in given.spaces.items()
            }
        )
    else:
        space = _vector_space(flat_length(given))
    for module in network.modules():
        if hasattr(module, "observation_space"):
            module.observation_space = space
        for name in ("features_extractor", "pi_features_extractor", "vf_features_extractor"):
            if hasattr(module, name) and not pictures_in(given):
                setattr(module, name, FlattenExtractor(space))


def _vector_space(length: int) -> Any:
    return Box(-np.inf, np.inf, (length,), np.float32)


def _parts_of(space: Any, rows: NDArray[Any]) -> Any:
    """Return rows [n, features] as the dict of arrays that a network with a picture takes."""
    if not pictures_in(space):
        return rows
    parts, first = {}, 0
    for key, part in space.spaces.items():
        values = rows[:, first : first + flat_length(part)]
        first += flat_length(part)
        if is_picture(part):  # Stable-Baselines3 keeps the channels first
            channels, height, width = part.shape
            pixels = values.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
            values = pixels.astype(part.dtype)
        parts[key] = values
    return parts


def _two_each(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the outputs of yes-or-no choices as the policy gives them: 0 and the logit."""
    return np.stack([np.zeros_like(logits), logits], axis=2).reshape(len(logits), -1)


def _sb3_outputs(network: Any, name: str, discrete: bool, tensor: Any) -> Any:
    if name == "RecurrentPPO":
        features = network.extract_features(tensor, network.pi_features_extractor)
        latent = network.lstm_actor(features)[0]  # unbatched: the rows are one episode
        made = network.action_net(network.mlp_extractor.forward_actor(latent))
        return made.tanh() if network.squash_output else made
    if not discrete:
        return network._predict(tensor, deterministic=True)
    if name == "DQN":
        return network.q_net(tensor)
    if name == "QR-DQN":
        return network.quantile_net(tensor).mean(dim=1)
    if name == "ARS":
        return network.action_net(network.extract_features(tensor, network.features_extractor))
    features = network.extract_features(tensor, network.pi_features_extractor)
    if isinstance(features, tuple):  # extractors of policy and value net are separate
        features = features[0]
    return network.action_net(network.mlp_extractor.forward_actor(features))


def _cleanrl_outputs(state: dict[str, Any], x: Any) -> Any:
    from torch.nn import functional as F  # noqa: N812

    def linear(module: str, value: Any) -> Any:
        return F.linear(value, state[f"{module}.weight"], state[f"{module}.bias"])

    def conv(module: str, stride: int, value: Any) -> Any:
        return F.relu(
            F.conv2d(value, state[f"{module}.weight"], state[f"{module}.bias"], stride=stride)
        )

    if "network.7.weight" in state:
        x = conv("network.4", 1, conv("network.2", 2, conv("network.0", 4, x / 255.0)))
        x = F.relu(linear("network.7", x.flatten(1)))
        return linear("actor" if "actor.weight" in state else "network.9", x)
    if "fc1.weight" in state:
        x = F.relu(linear("fc2", F.relu(linear("fc1", x))))
        return linear("fc_mean" if "fc_mean.weight" in state else "fc_mu", x).tanh()
    if "network.0.weight" in state:
        return linear("network.4", F.relu(linear("network.2", F.relu(linear("network.0", x)))))
    module = "actor_mean" if "actor_mean.0.weight" in state else "actor"
    return linear(f"{module}.4", linear(f"{module}.2", linear(f"{module}.0", x).tanh()).tanh())
