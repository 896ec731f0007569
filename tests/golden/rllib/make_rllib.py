"""Writes the RLlib checkpoints of this folder: python make_rllib.py OUT, with ray[rllib] 2.60.

Each is an untrained agent of small layers, its module folder as RLlib saves it, and example.npz:
observations and what `forward_inference` answers. Of sac only the tensors of the policy were kept:
its critics are a megabyte.
"""

import logging
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import ray
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

SMALL = DefaultModelConfig(fcnet_hiddens=[8, 8], head_fcnet_hiddens=[])
RELU = DefaultModelConfig(
    fcnet_hiddens=[8],
    fcnet_activation="relu",
    head_fcnet_hiddens=[8],
    head_fcnet_activation="silu",
)
CASES = {
    "ppo_choice": (PPOConfig(), "CartPole-v1", SMALL),
    "ppo_box": (PPOConfig(), "Pendulum-v1", RELU),
    "dqn": (DQNConfig(), "CartPole-v1", SMALL),
    "sac": (SACConfig(), "Pendulum-v1", SMALL),
}
MODULE = "learner_group/learner/rl_module/default_policy"


def main() -> None:
    out = Path(sys.argv[1])
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
    for name, (config, env, model) in CASES.items():
        algorithm = (
            config.environment(env)
            .framework("torch")
            .debugging(seed=1)
            .env_runners(num_env_runners=0)
            .rl_module(model_config=model)
            .build_algo()
        )
        with tempfile.TemporaryDirectory() as folder:
            algorithm.save(folder)
            for part in (MODULE, "env_runner/module_to_env_connector"):
                shutil.copytree(Path(folder, part), out / name / part)
        module = algorithm.get_module()
        count = module.observation_space.shape[0]
        obs = np.random.default_rng(0).normal(0, 2, (64, count)).astype(np.float32)
        with torch.no_grad():
            made = module.forward_inference({"obs": torch.from_numpy(obs)})
            batch = {"obs": torch.from_numpy(obs)}
            values = None if "action_dist_inputs" in made else module.compute_q_values(batch)
        outputs = made["action_dist_inputs"] if values is None else values["qf_preds"]
        np.savez(out / name / "example.npz", obs=obs, outputs=outputs.detach().numpy())
        algorithm.stop()


main()
