"""Half precision: updates use it, what is saved does not know of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.sources.recipe import parse_recipe
from quarl.train.bf16_units import bf16_sentence, bf16_units
from quarl.train.trained import Run
from tests.conftest import need
from tests.train.test_sb3 import DQN, PPO


def with_bf16(text: str) -> str:
    return text.replace("normalize_observations", 'precision = "bf16"\nnormalize_observations')


@pytest.mark.parametrize("text", [PPO, DQN], ids=["ppo", "dqn"])
def test_matrix_products_of_updates_are_bfloat16_and_weights_float32(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("torch", "stable_baselines3")
    import torch

    from quarl.train import sb3

    monkeypatch.setattr(sb3, "CHECKPOINT_EPISODES", 2)
    seen: list[tuple[Any, bool]] = []
    linear = torch.nn.functional.linear

    def watched(x: Any, *rest: Any) -> Any:
        made = linear(x, *rest)
        seen.append((made.dtype, torch.is_grad_enabled()))
        return made

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    recipe = parse_recipe(with_bf16(text), "test")
    assert recipe.train.precision == "bf16"
    trained = sb3.fit(recipe, Run(tmp_path))
    assert (torch.bfloat16, True) in seen
    assert (torch.float32, False) in seen
    trained.save(tmp_path / "policy.zip")
    algorithm = sb3._algorithm(recipe.algorithm)
    loaded = algorithm.load(tmp_path / "policy.zip", device="cpu")
    assert type(loaded) is algorithm
    assert {p.dtype for p in loaded.policy.parameters()} == {torch.float32}


@pytest.mark.parametrize(("name", "count"), [("PPO", 1), ("DQN", 1), ("SAC", 2), ("A2C", 0)])
def test_the_optimiser_goes_through_memory_once_where_torch_can(name: str, count: int) -> None:
    """A2C's is RMSProp, which torch has in one pass for no processor."""
    import stable_baselines3

    from quarl.train.precision import in_bf16

    kind = getattr(stable_baselines3, name)
    env = "Pendulum-v1" if name == "SAC" else "CartPole-v1"
    fused = []
    for algorithm in (in_bf16(kind)("MlpPolicy", env, seed=0), kind("MlpPolicy", env, seed=0)):
        owners = [getattr(algorithm.policy, part, None) for part in ("actor", "critic")]
        optimizers = [
            owner.optimizer
            for owner in (algorithm.policy, *owners)
            if getattr(owner, "optimizer", None) is not None
        ]
        assert optimizers
        fused.append([group.get("fused") for o in optimizers for group in o.param_groups])
    assert fused[0].count(True) == count
    assert True not in fused[1], "as Stable-Baselines3 has it"


@pytest.mark.parametrize(
    ("name", "count"), [("PPO", 2), ("A2C", 2), ("DQN", 2), ("SAC", 6), ("TD3", 6), ("DDPG", 4)]
)
def test_what_decides_stays_float32_and_the_rest_is_bfloat16(name: str, count: int) -> None:
    """Log probabilities and values of bfloat16 ruin a training: 205, 136 and 10 of 500."""
    import stable_baselines3
    import torch

    from quarl.train.precision import in_bf16, last_layers

    env = "CartPole-v1" if name in ("PPO", "A2C", "DQN") else "Pendulum-v1"
    algorithm = in_bf16(getattr(stable_baselines3, name))("MlpPolicy", env, seed=0)
    last = last_layers(algorithm.policy)
    assert len(last) == count
    assert len({id(layer) for layer in last}) == count
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for layer in (m for m in algorithm.policy.modules() if isinstance(m, torch.nn.Linear)):
            made = layer(torch.ones(1, layer.in_features))
            is_last = any(layer is one for one in last)
            assert made.dtype == (torch.float32 if is_last else torch.bfloat16)


@pytest.mark.parametrize("name", ["PPO", "A2C", "DQN", "SAC", "TD3", "DDPG"])
def test_every_forward_of_an_update_multiplies_the_weights_as_they_are_now(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autocast keeps the bfloat16 copies of weights until it ends, unless told not to: all but the
    first batch of an update would be answered by the old ones.
    """
    import stable_baselines3
    import torch

    from quarl.train.precision import in_bf16

    linear, stale, count = torch.nn.functional.linear, [], 0

    def watched(x: Any, weight: Any, bias: Any = None) -> Any:
        nonlocal count
        made = linear(x, weight, bias)
        if torch.is_grad_enabled() and made.dtype == torch.bfloat16:
            count += 1
            with torch.no_grad():
                now = linear(x, weight.detach().clone(), bias.detach().clone())
            stale.append(not torch.equal(made, now))
        return made

    on_policy = name in ("PPO", "A2C")
    options: dict[str, Any] = {"learning_rate": 0.05, "seed": 0}
    if on_policy:
        options["n_steps"] = 32
    else:
        options |= {"learning_starts": 20, "train_freq": 20, "gradient_steps": 5}
    env = "CartPole-v1" if name in ("PPO", "A2C", "DQN") else "Pendulum-v1"
    algorithm = in_bf16(getattr(stable_baselines3, name))("MlpPolicy", env, **options)
    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    algorithm.learn(64)
    assert count >= (4 if name == "A2C" else 20)
    assert not any(stale), f"{sum(stale)} of {count} forwards"


@pytest.mark.parametrize("name", ["PPO", "A2C"])
def test_where_nothing_was_learned_the_ratio_of_probabilities_is_one(name: str) -> None:
    import stable_baselines3
    import torch

    from quarl.train.precision import in_bf16

    algorithm = in_bf16(getattr(stable_baselines3, name))(
        "MlpPolicy", "CartPole-v1", n_steps=64, learning_rate=0.0, seed=0
    )
    algorithm.learn(64)
    rollout = next(algorithm.rollout_buffer.get())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, chances, _ = algorithm.policy.evaluate_actions(
            rollout.observations, rollout.actions.long().flatten()
        )
    assert torch.equal(chances, rollout.old_log_prob)


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_a_policy_that_is_judged_computes_in_float32(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stable_baselines3
    import torch

    from quarl.train.precision import in_bf16

    algorithm = in_bf16(getattr(stable_baselines3, name))("MlpPolicy", "CartPole-v1", seed=0)
    linear, seen = torch.nn.functional.linear, set[Any]()

    def watched(*arguments: Any) -> Any:
        made = linear(*arguments)
        seen.add(made.dtype)
        return made

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    algorithm.predict(np.zeros(4, np.float32), deterministic=True)
    assert seen == {torch.float32}


def test_integers_are_not_learned_in_half_precision() -> None:
    with pytest.raises(InputError, match=r"train\.precision: integers are exact in float32 only"):
        parse_recipe(with_bf16(PPO) + "\n[qat]\nweights = 4\ndelay = 0.5\n", "test")


@pytest.mark.parametrize(
    ("flags", "units"),
    [
        ("flags : fpu sse2 avx512_bf16 amx_bf16", "AMX"),
        ("flags : avx2 avx512_bf16", "AVX512_BF16"),
        ("Features : fp asimd bf16", "Arm BF16"),
        ("flags : avx2 avx512f", None),
        ("", None),
    ],
)
def test_what_multiplies_bfloat16_is_read_from_the_flags(flags: str, units: str | None) -> None:
    assert bf16_units(flags) == units


def test_a_processor_without_the_units_is_told_to_use_float32() -> None:
    assert bf16_sentence("AMX") == 'precision = "bf16": matrix products by AMX'
    assert "has no bfloat16 units, so training gets slower" in bf16_sentence(None)
