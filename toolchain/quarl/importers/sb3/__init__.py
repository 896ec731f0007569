"""Stable-Baselines3 and sb3-contrib zips become a `Policy`, without torch or Stable-Baselines3, and
without loading a pickle.

One entry per policy class: where its deterministic actor lies in the state dict, and what its
outputs mean.
Normalisation is not in the zip: VecNormalize writes a file of its own
(quarl.sources.normalizer_file).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.files.archives import Archive
from quarl.files.open import source_digest
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.policy import Activation, Dense, Flatten, Function, Node, Policy, linear_chain
from quarl.importers.cells import cells_and_layers
from quarl.importers.options import ImportOptions, make_contract
from quarl.importers.sb3.combined import with_pictures
from quarl.importers.sb3.data import Sb3Data, read_data
from quarl.importers.sb3.route import onnx_route
from quarl.importers.torch.cells import torch_cells
from quarl.importers.torch.layers import (
    Layers,
    TorchState,
    channels_last_columns,
    clipped,
    nature_cnn,
    renormed_sequential,
    scaled_columns,
    scaled_input,
    sequential,
    yes_or_no,
)
from quarl.importers.torch.state import read_state_dict

MOST_FILES = 1_000  # of a folder, that are looked at
RENORM_EPSILON = 1e-3  # default of CrossQPolicy's batch_norm_eps
CLIP_MEAN = 2.0  # default of SACPolicy and TQCPolicy, in force only with use_sde


@dataclass(frozen=True, slots=True)
class Source:
    """One zip, read: its JSON, its tensors and what the policy observes."""

    data: Sb3Data
    state: TorchState
    observation: Observation
    function: Function  # of the hidden layers

    def hidden(self, extractor: str, module: str, activate_last: bool = True) -> Layers:
        """Return the feature extractor and the Sequential after it."""
        layers: Layers = []
        if self.state.has(f"{extractor}.cnn"):
            layers += nature_cnn(
                self.state, f"{extractor}.cnn", f"{extractor}.linear.0", self.observation.shape
            )
        elif self.state.has(extractor) and not self.observation.pictures:
            raise UnsupportedError(
                f"{self.state.file}: {extractor} has tensors that are not the Nature CNN's: "
                "export the policy to ONNX"
            )
        return layers + sequential(self.state, module, self.function, activate_last)


def actor_critic(source: Source, action: Action) -> Layers:
    """PPO, A2C, TRPO, MaskablePPO: the mean or the logits; tanh only where gSDE squashes."""
    state = source.state
    extractor = (
        "pi_features_extractor" if state.has("pi_features_extractor") else "features_extractor"
    )
    layers = source.hidden(extractor, "mlp_extractor.shared_net")  # of versions before 1.8
    layers += sequential(state, "mlp_extractor.policy_net", source.function, activate_last=True)
    head = state.dense("action_net")
    if action.kind == "multi_discrete" and len(head.bias) == action.width:
        head = yes_or_no(head)
    return [*layers, ("action_net", head), *_squash(action)]


def renormed_actor(source: Source, action: Action) -> Layers:
    """CrossQ: as SAC, with batch renormalisation before each layer."""
    state, kwargs = source.state, source.data.policy_kwargs
    epsilon = kwargs.get("batch_norm_eps", RENORM_EPSILON)
    if not isinstance(epsilon, float) or epsilon <= 0:
        raise InputError(f"{state.file}: batch_norm_eps is {str(epsilon)[:40]!r}, not a number")
    if source.data.use_sde:
        raise UnsupportedError(
            f"{state.file}: CrossQ with gSDE is not carried over: export the policy to ONNX"
        )
    layers, rest = renormed_sequential(state, "actor.latent_pi", source.function, epsilon)
    head = scaled_columns(state.dense("actor.mu"), rest)
    return [*layers, ("actor.mu", head), *_squash(action)]


def q_network(source: Source, action: Action) -> Layers:
    """DQN: the action values."""
    return source.hidden("q_net.features_extractor", "q_net.q_net", activate_last=False)


def quantile_network(source: Source, action: Action) -> Layers:
    """QR-DQN: the last layer gives [quantiles, actions]; their mean is linear, so it folds into
    weights and bias.
    """
    layers = source.hidden(
        "quantile_net.features_extractor", "quantile_net.quantile_net", activate_last=False
    )
    name, head = layers[-1] if layers else ("", None)
    if not isinstance(head, Dense) or len(head.bias) % action.count:
        raise InputError(
            f"{source.state.file}: the quantile head does not fit {action.count} actions"
        )
    weights = (
        head.weights.astype(np.float64)
        .reshape(-1, action.count, head.weights.shape[1])
        .mean(axis=0)
    )
    bias = head.bias.astype(np.float64).reshape(-1, action.count).mean(axis=0)
    return [*layers[:-1], (name, Dense(weights.astype(np.float32), bias.astype(np.float32)))]


def gaussian_actor(source: Source, action: Action) -> Layers:
    """SAC, TQC: tanh of the mean; with gSDE the mean is clipped before."""
    layers = source.hidden("actor.features_extractor", "actor.latent_pi")
    limit = source.data.policy_kwargs.get("clip_mean", CLIP_MEAN)
    if not isinstance(limit, (int, float)):
        raise InputError(
            f"{source.state.file}: clip_mean is {str(limit)[:40]!r}, not a number: save the "
            "agent again"
        )
    if source.data.use_sde and limit > 0:
        layers += clipped("actor.mu", source.state.dense("actor.mu.0"), limit)
    else:
        layers.append(("actor.mu", source.state.dense("actor.mu")))
    return [*layers, *_squash(action)]


def deterministic_actor(source: Source, action: Action) -> Layers:
    """TD3, DDPG: tanh of the last layer."""
    return [
        *source.hidden("actor.features_extractor", "actor.mu", activate_last=False),
        *_squash(action),
    ]


def random_search(source: Source, action: Action) -> Layers:
    """ARS: a linear policy or a small MLP."""
    return [
        *source.hidden("features_extractor", "action_net", activate_last=False),
        *_squash(action),
    ]


@dataclass(frozen=True, slots=True)
class Family:
    """One module of policy classes: how to build the layers, the default activation, whether box
    outputs are squashed.
    """

    layers: Callable[[Source, Action], Layers]
    function: Function
    squashes: Callable[[Sb3Data], bool]
    algorithm: Callable[[Sb3Data], str]


def read_sb3(path: Path, options: ImportOptions) -> Policy:
    """Return the zip's deterministic policy.

    Raises:
        InputError, UnsupportedError, UntrustedFileError: as `importers.read_policy`.
    """
    with Archive(path) as archive:
        data = read_data(archive)
        state = TorchState(
            path.name, read_state_dict(archive.read("policy.pth"), f"{path.name}: policy.pth")
        )
        stamp = "_stable_baselines3_version"  # not written by the first releases
        version = (
            archive.read(stamp, 64).decode("ascii", "replace").strip()
            if stamp in archive.names
            else "of unknown version"
        )
    family = FAMILIES.get(data.policy_module)
    if family is None:
        known = (
            "PPO, MaskablePPO, RecurrentPPO, A2C, TRPO, DQN, QR-DQN, SAC, TQC, CrossQ, TD3, "
            "DDPG, ARS"
        )
        raise UnsupportedError(
            f"{path.name}: policies of {data.policy_module} are not carried over, only "
            f"{known} with their own policy classes"
        )
    route = onnx_route(path.name, data.policy_module, family.algorithm(data))
    data.check_extractor(route)
    action = data.action("unscale" if family.squashes(data) else "clip", options)
    masks = ("action masks: none, every action is allowed",) if family is MASKABLE else ()
    contract = make_contract(path, options, data.observation(), action, masks)
    check_normalizer(path, data, family, contract.observation, options)
    source = Source(data, state, data.observation(), data.activation(family.function))
    if family is RECURRENT:
        return _recurrent_policy(path, source, contract, version)
    return Policy(
        _nodes(source, family.layers(source, action)),
        contract,
        family.algorithm(data),
        f"stable-baselines3 {version}",
        source_digest(path),
    )


def _recurrent_policy(path: Path, source: Source, contract: Contract, version: str) -> Policy:
    """Return the actor of RecurrentPPO: an LSTM on the observation, and the layers behind it."""
    if source.observation.is_image or source.observation.pictures:
        raise UnsupportedError(
            f"{path.name}: a recurrent policy of pixels is not carried over: quarl carries a state "
            "beside vectors. Train on features of the picture"
        )
    cells = torch_cells(source.state, "lstm_actor")
    layers = actor_critic(source, contract.action)
    nodes, states, made = cells_and_layers(path, cells, "lstm_actor", layers)
    return Policy(
        nodes,
        replace(contract, state=states),
        RECURRENT.algorithm(source.data),
        f"stable-baselines3 {version}",
        source_digest(path),
        made,
    )


def statistics_beside(path: Path) -> list[str]:
    """Return the names of files beside the zip, or in a folder of its name, that look like
    VecNormalize's.
    """
    folders = [folder for folder in (path.parent, path.parent / path.stem) if folder.is_dir()]
    files = [file for folder in folders for file in sorted(folder.glob("*.pkl"))[:MOST_FILES]]
    named = [file.name for file in files if re.search(r"vec.*norm", file.name, re.IGNORECASE)]
    if checkpoint := re.fullmatch(r"(.*)_(\d+)_steps", path.stem):
        own = f"{checkpoint[1]}_vecnormalize_{checkpoint[2]}_steps.pkl"
        others = re.compile(r".*_vecnormalize_\d+_steps\.pkl")
        named = [name for name in named if name == own or not others.fullmatch(name)]
    return named


def check_normalizer(
    path: Path, data: Sb3Data, family: Family, observation: Observation, options: ImportOptions
) -> None:
    """Check that a VecNormalize the training used has been given.

    On-policy algorithms keep `_last_original_obs` only under VecNormalize. Off-policy ones always
    keep it, so nothing in the zip tells: they are asked about.

    Raises:
        InputError: it was used, or may have been, and neither --obs-norm nor --no-obs-norm was
            given.
    """
    if observation.is_image or observation.normalizer is not None or options.no_normalizer:
        return
    on_policy = family in (
        FAMILIES["stable_baselines3.common.policies"],
        MASKABLE,
        RECURRENT,
        FAMILIES["sb3_contrib.ars.policies"],
    )
    found = statistics_beside(path)
    if found or (on_policy and data.fields.get("_last_original_obs") is not None):
        reason = (
            f"{found[0]} lies beside it"
            if found
            else "the zip keeps observations from before a VecNormalize"
        )
        raise InputError(
            f"{path.name}: was trained with VecNormalize ({reason}), whose statistics are not "
            f"in the zip: add --obs-norm {found[0] if found else 'vecnormalize.pkl'}, or say "
            "--no-obs-norm if only rewards were normalised"
        )
    if not on_policy:
        raise InputError(
            f"{path.name}: a {family.algorithm(data)} agent does not say whether its observations "
            "were normalised in training: say --no-obs-norm if they were not, else add --obs-norm "
            "vecnormalize.pkl, the file that VecNormalize saved"
        )


def _squash(action: Action) -> Layers:
    return (
        [("squash", Activation("tanh"))]
        if action.kind == "box" and action.transform == "unscale"
        else []
    )


def _nodes(source: Source, layers: Layers) -> tuple[Node, ...]:
    """Return the nodes of the layers, behind what looks at the pictures beside vectors."""
    if not source.observation.pictures:
        return linear_chain(_first_layer(source, layers))
    divides = bool(source.data.policy_kwargs.get("normalize_images", True))
    return with_pictures(source.state, source.data.parts(), layers, divides=divides)


def _first_layer(source: Source, layers: Layers) -> Layers:
    """Return the layers fitted to the graph's input: pixels flattened and divided by 255."""
    observation = source.observation
    if not observation.is_image:
        return layers
    name, op = layers[0]
    flatten: Layers = []
    if isinstance(op, Dense):
        flatten, op = [("flatten", Flatten())], channels_last_columns(name, op, observation.shape)
    if not source.data.policy_kwargs.get("normalize_images", True):
        op = scaled_input(
            op, 255
        )  # the network saw pixels from 0 to 255, the graph gives pixels / 255
    return [*flatten, (name, op), *layers[1:]]


def _on_policy_name(data: Sb3Data) -> str:
    return (
        "PPO" if "clip_range" in data.fields else "TRPO" if "cg_max_steps" in data.fields else "A2C"
    )


def _twin_name(data: Sb3Data) -> str:
    return (
        "DDPG"
        if data.policy_kwargs.get("n_critics") == 1 and data.fields.get("policy_delay") == 1
        else "TD3"
    )


def _never(data: Sb3Data) -> bool:
    return False


def _always(data: Sb3Data) -> bool:
    return True


def _gsde_squashes(data: Sb3Data) -> bool:
    return data.use_sde and bool(data.policy_kwargs.get("squash_output", False))


def _ars_squashes(data: Sb3Data) -> bool:
    defaults = {"ARSPolicy": True, "ARSLinearPolicy": False}
    if "squash_output" not in data.policy_kwargs and data.policy_class not in defaults:
        raise UnsupportedError(
            f"{data.file}: the zip does not say whether "
            f"{data.policy_class or 'its policy class'} squashes its actions"
        )
    return bool(data.policy_kwargs.get("squash_output", defaults.get(data.policy_class)))


FAMILIES: dict[str, Family] = {
    "stable_baselines3.common.policies": Family(
        actor_critic, "tanh", _gsde_squashes, _on_policy_name
    ),
    "stable_baselines3.dqn.policies": Family(q_network, "relu", _never, lambda _: "DQN"),
    "stable_baselines3.sac.policies": Family(gaussian_actor, "relu", _always, lambda _: "SAC"),
    "stable_baselines3.td3.policies": Family(deterministic_actor, "relu", _always, _twin_name),
    "sb3_contrib.qrdqn.policies": Family(quantile_network, "relu", _never, lambda _: "QR-DQN"),
    "sb3_contrib.tqc.policies": Family(gaussian_actor, "relu", _always, lambda _: "TQC"),
    "sb3_contrib.common.maskable.policies": Family(
        actor_critic, "tanh", _never, lambda _: "MaskablePPO"
    ),
    "sb3_contrib.common.recurrent.policies": Family(
        actor_critic, "tanh", _gsde_squashes, lambda _: "RecurrentPPO"
    ),
    "sb3_contrib.crossq.policies": Family(renormed_actor, "relu", _always, lambda _: "CrossQ"),
    "sb3_contrib.ars.policies": Family(random_search, "relu", _ars_squashes, lambda _: "ARS"),
}
MASKABLE = FAMILIES["sb3_contrib.common.maskable.policies"]
RECURRENT = FAMILIES["sb3_contrib.common.recurrent.policies"]
