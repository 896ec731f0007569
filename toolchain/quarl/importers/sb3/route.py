"""The way round for an agent whose network is its author's own code: lines that write ONNX."""

from __future__ import annotations

_BODIES = {
    "stable_baselines3.common.policies": (
        "policy.pi_features_extractor",
        "policy.mlp_extractor.policy_net",
        "policy.action_net",
    ),
    "stable_baselines3.dqn.policies": ("policy.q_net.features_extractor", "policy.q_net.q_net"),
    "stable_baselines3.sac.policies": (
        "policy.actor.features_extractor",
        "policy.actor.latent_pi",
        "policy.actor.mu",
        "torch.nn.Tanh()",
    ),
    "stable_baselines3.td3.policies": ("policy.actor.features_extractor", "policy.actor.mu"),
}
_OTHERS = {
    "sb3_contrib.common.maskable.policies": "stable_baselines3.common.policies",
    "sb3_contrib.tqc.policies": "stable_baselines3.sac.policies",
}


def onnx_route(file: str, module: str, algorithm: str) -> str:
    """Return lines of Python that write the agent's actor as ONNX, ready to paste where its code is
    at hand; of other algorithms, what to do in words.
    """
    body = _BODIES.get(_OTHERS.get(module, module))
    if body is None:
        return "Export the policy to ONNX with torch.onnx.export, and give quarl that file"
    package = "sb3_contrib" if module.startswith("sb3_contrib") else "stable_baselines3"
    name = file.rpartition(".")[0] or file
    return f"""Where its code is at hand, these lines write ONNX, which quarl reads:

import torch
from {package} import {algorithm}
policy = {algorithm}.load({file!r}, device="cpu").policy
body = torch.nn.Sequential({", ".join(body)}).eval()
example = torch.zeros(1, *policy.observation_space.shape)
torch.onnx.export(body, example, {name + ".onnx"!r}, dynamo=False)
"""
