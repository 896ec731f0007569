"""Torch as an actor's runtime: the baseline of the paper, in fp32, and in its dynamic int8.

Only for comparisons; the dynamic int8 has an arithmetic of its own, which no board repeats.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quarl.actorq.block import CLAMP, REAL, Block, check_block, layers_of
from quarl.actorq.contents import float_layers_of


class TorchPlayer:
    """A chain of linear layers in torch, on one thread."""

    def __init__(self, *, dynamic_int8: bool = False) -> None:
        torch.set_num_threads(1)
        self._dynamic_int8 = dynamic_int8

    def load(self, block: Block) -> None:
        """Take another policy of fp32 or fp16; it is copied into torch's own layout."""
        check_block(block)
        modules: list[torch.nn.Module] = []
        kinds = layers_of(block)["kind"].tolist()
        for (weights, bias), kind in zip(float_layers_of(block), kinds, strict=True):
            # without random weights, which take twice as long as all the rest
            new: Any = torch.nn.utils.skip_init
            linear = new(torch.nn.Linear, *weights.shape[::-1])
            linear.weight.data = torch.from_numpy(weights)
            linear.bias.data = torch.from_numpy(bias)
            modules.append(linear)
            if kind != REAL:
                modules.append(torch.nn.ReLU() if kind == CLAMP else torch.nn.Tanh())
        net: Any = torch.nn.Sequential(*modules).eval()
        if self._dynamic_int8:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.ao is deprecated; the paper used it
                quantize: Any = torch.ao.quantization.quantize_dynamic
                net = quantize(net, {torch.nn.Linear}, torch.qint8)
        self._net = net

    def __call__(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs [n, count] for observations [n, obs_len]."""
        with torch.inference_mode():
            made: NDArray[np.float32] = self._net(
                torch.from_numpy(np.ascontiguousarray(obs, np.float32))
            ).numpy()
        return made
