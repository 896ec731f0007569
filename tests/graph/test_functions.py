"""Elementwise functions: any of them is a table of 256 entries, the same on every target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.emitters import emit_float_onnx, emit_float_tflite
from quarl.errors import UnsupportedError
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.functions import DEFINITIONS, activate, expanded, parse, text_of
from quarl.graph.policy import Activation, Policy, linear_chain
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import LADDER
from quarl.quantize.quantizer import quantize
from quarl.runtimes.host import LitertRuntime, OnnxRuntime
from tests.conftest import need
from tests.support.backends import differing_integers
from tests.support.small_policies import dense

FORMULA = "sub(mul(x,tanh(mul(0.5,x))),0.25)"
FUNCTIONS = (
    *("relu", "relu6", "tanh", "sigmoid", "elu", "softplus", "abs"),
    *("silu", "gelu", "gelu_tanh", "mish", "selu", "hardswish", "softsign", FORMULA),
    *("leaky_relu(0.2)", "elu(0.5)", "celu(0.7)", "clip(-1,1)", "hardsigmoid(0.2,0.5)"),
)


def of_torch(function: str) -> Any:
    import torch
    from torch.nn import functional as F  # noqa: N812

    return {
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "leaky_relu(0.2)": lambda x: F.leaky_relu(x, 0.2),
        "elu(0.5)": lambda x: F.elu(x, 0.5),
        "celu(0.7)": lambda x: F.celu(x, 0.7),
        "clip(-1,1)": F.hardtanh,
        "abs": torch.abs,
        "hardsigmoid(0.2,0.5)": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
        FORMULA: lambda x: x * torch.tanh(0.5 * x) - 0.25,
    }.get(function) or getattr(F, function)


def policy_with(function: str) -> Policy:
    rng = np.random.default_rng(3)
    layers = [
        ("first", dense(rng, 12, 5)),
        ("f", Activation(function)),
        ("last", dense(rng, 3, 12)),
    ]
    contract = Contract(Observation((5,), "float32", "vector"), Action("discrete", 3))
    return Policy(linear_chain(layers), contract, "none", "none", "0" * 64)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_equal_torch_far_out_and_near_zero(function: str) -> None:
    need("torch")
    import torch

    x = np.concatenate([np.linspace(-80, 80, 4001), np.linspace(-1e-3, 1e-3, 101)])
    wanted = of_torch(function)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(activate(function, x), wanted, rtol=1e-12, atol=1e-8)
    assert activate(function, x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("function", FUNCTIONS)
def test_float_files_compute_what_the_graph_computes(function: str) -> None:
    policy = policy_with(function)
    obs = np.random.default_rng(0).normal(size=(200, 5), scale=2).astype(np.float32)
    for runtime in (LitertRuntime(emit_float_tflite(policy)), OnnxRuntime(emit_float_onnx(policy))):
        np.testing.assert_allclose(runtime.run(obs), policy.outputs(obs), atol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("rung", [3, 5])
def test_every_target_gives_the_reference_outputs(
    function: str, rung: int, tmp_path: Path, kernels: Path
) -> None:
    need("gcc")
    policy = policy_with(function)
    obs = np.random.default_rng(0).normal(size=(300, 5), scale=2).astype(np.float32)
    quantized = quantize(policy, calibrate(obs, policy.contract), LADDER[rung].settings, rung)
    assert differing_integers(quantized, obs, tmp_path, kernels) == {"litert": 0, "onnx": 0, "c": 0}
    assert (quantized_argmax(quantized, obs) == policy.outputs(obs).argmax(axis=1)).mean() > 0.9


def quantized_argmax(quantized: Any, obs: Any) -> Any:
    from quarl.graph.reference import act

    return act(quantized, obs)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_text_of_a_tree_is_read_back(name: str) -> None:
    numbers = ",".join(["0.5"] * len(DEFINITIONS[name][0]))
    tree = expanded(parse(f"{name}({numbers})" if numbers else name))
    assert parse(text_of(tree)) == tree


@pytest.mark.parametrize(
    "text",
    [
        "swishy",
        "tanh(x,x)",
        "leaky_relu",
        "__import__('os')",
        "x.real",
        "(lambda: x)()",
        "tanh(" * 60 + "x" + ")" * 60,
        "add(x,1j)",
        "add(x,y)",
        "x" * 5_000,
        "tanh(x=x)",
        "",
        "0" * 64,
        "-1.5",
    ],
)
def test_what_is_not_a_function_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(UnsupportedError, match="is not known"):
        parse(text)
