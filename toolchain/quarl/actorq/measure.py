"""What a decision and a step cost on this machine, by width and precision, with nothing else of a
run around them.

In: an environment and widths. Out: CPU time of one thread, the best of many windows, the candidates
taking turns: other work on the machine costs little. A window of steps is as long as an actor plays
by one policy, so that the caches are as full of its weights as an actor's. The frameworks take
part, so that int8 is compared with the best float there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.accounts import Ledger
from quarl.actorq.acting import Acting
from quarl.actorq.block import PRECISIONS, Block, NetShape, Precision
from quarl.actorq.contents import float_policy_of, plain_contract
from quarl.actorq.fill import Filler, Layers, Ranges
from quarl.actorq.kernel import load_kernel
from quarl.actorq.plan import actor_plan
from quarl.actorq.players import Player, open_player
from quarl.actorq.settings import Settings
from quarl.actorq.torch_player import TorchPlayer
from quarl.emitters.float_tflite import emit_float_tflite
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec
from quarl.runtimes.host import LitertRuntime

WINDOW_S = 0.002
WIDTHS = (64, 128, 256, 512, 1024, 2048)
GAIN = 1.1  # against the best float, from which a width is called worth it
ROUND_STEPS = 300  # the longer pull period of the paper


@dataclass(frozen=True, slots=True)
class StepCost:
    """CPU microseconds of one environment step of an actor, decision included."""

    width: int  # of each of three hidden layers
    candidate: str
    step_us: float
    decision_us: float


class LitertPlayer:
    """LiteRT in fp32, for comparisons."""

    def __init__(self, block: Block) -> None:
        self.load(block)

    def load(self, block: Block) -> None:
        """Take another policy of fp32."""
        policy = float_policy_of(block, plain_contract(block), "none", "none")
        self._runtime = LitertRuntime(emit_float_tflite(policy))

    def __call__(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs."""
        made: NDArray[np.float32] = self._runtime.infer(np.ascontiguousarray(obs, np.float32))
        return made


@dataclass(frozen=True, slots=True, eq=False)
class SampleNet:
    """A network with random weights, and the ranges of normal observations."""

    shape: NetShape
    layers: Layers
    ranges: Ranges
    obs: NDArray[np.float32]


def sample_net(shape: NetShape, seed: int = 0) -> SampleNet:
    """Return a network whose results keep their size from layer to layer."""
    rng = np.random.default_rng(seed)
    power = 2.0 if shape.hidden == "relu" else 1.0
    layers = [
        (
            rng.normal(0, (power / inputs) ** 0.5, (outputs, inputs)).astype(np.float32),
            rng.normal(0, 0.1, outputs).astype(np.float32),
        )
        for inputs, outputs in pairwise(shape.lengths)
    ]
    obs = rng.normal(size=(256, shape.lengths[0])).astype(np.float32)
    values, peaks = obs, []
    for weights, bias in layers:
        values = values @ weights.T + bias
        peaks.append(float(np.abs(values).max()))
        values = np.maximum(values, 0) if shape.hidden == "relu" else np.tanh(values)
    return SampleNet(shape, layers, Ranges.of(obs, peaks), obs)


def blocks_of(net: SampleNet) -> dict[Precision, Block]:
    """Return the network's block of each precision."""
    kernel = load_kernel()
    return {
        precision: Filler(kernel, net.shape, precision, centered=False).fill(
            net.layers, net.ranges, 1, 0
        )
        for precision in PRECISIONS
    }


def candidates_of(blocks: Mapping[Precision, Block]) -> dict[str, Player]:
    """Return whoever can play the network, by name."""
    torch_fp32, torch_int8 = TorchPlayer(), TorchPlayer(dynamic_int8=True)
    for player in (torch_fp32, torch_int8):
        player.load(blocks["fp32"])
    kernels: dict[str, Player] = {p: open_player("kernel", blocks[p]) for p in PRECISIONS}
    return {
        **kernels,
        "LiteRT fp32": LitertPlayer(blocks["fp32"]),
        "torch fp32": torch_fp32,
        "torch dynamic int8": torch_int8,
    }


def best_us(calls: Mapping[str, Callable[[], object]], rounds: int = 60) -> dict[str, float]:
    """Return the least CPU time of a call of each, the calls taking turns."""
    counts, best = {}, dict.fromkeys(calls, float("inf"))
    for name, call in calls.items():
        call()
        began = time.perf_counter()
        call()
        counts[name] = max(1, int(WINDOW_S / (time.perf_counter() - began)))
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.thread_time()
            for _ in range(counts[name]):
                call()
            spent = (time.thread_time() - began) / counts[name] * 1e6
            best[name] = min(best[name], spent)
    return best


def step_costs(
    settings: Settings,
    env: EnvSpec,
    contract: Contract,
    widths: Sequence[int] = WIDTHS,
    rounds: int = 6,
) -> tuple[StepCost, ...]:
    """Return what a step costs every candidate at every width: noise, environment and transitions
    included, Ray not.
    """
    found = []
    for width in widths:
        ends = contract.observation.shape[0], contract.action.count
        shape = NetShape(
            (ends[0], *(width,) * 3, ends[1]), settings.activation, contract.action.kind == "box"
        )
        net = sample_net(shape)
        players = candidates_of(blocks_of(net))
        decisions = best_us({n: _call(p, net.obs[:1]) for n, p in players.items()}, rounds * 5)
        plan = actor_plan(settings, env, contract, "kernel", seed=1, lanes=1)
        acting = Acting(plan, 0, seed=1)
        acting.open(1)
        best = dict.fromkeys(players, float("inf"))
        for _ in range(rounds):
            for name, player in players.items():
                ledger, began = Ledger(name), time.thread_time()
                acting.play(player, 0, ROUND_STEPS, ledger)
                spent = (time.thread_time() - began) / ledger.steps * 1e6
                best[name] = min(best[name], spent)
        acting.close()
        found += [StepCost(width, name, best[name], decisions[name]) for name in players]
    return tuple(found)


def break_even(costs: Sequence[StepCost]) -> int | None:
    """Return the least width from which int8 collects at least GAIN times as fast as the best
    float; None where no measured width does.
    """
    worth: int | None = None
    for width in sorted({cost.width for cost in costs}, reverse=True):
        steps = {cost.candidate: cost.step_us for cost in costs if cost.width == width}
        floats = [us for name, us in steps.items() if name in ("fp32", "LiteRT fp32", "torch fp32")]
        if min(floats) / steps["int8"] < GAIN:
            break
        worth = width
    return worth


def to_tables(costs: Sequence[StepCost]) -> list[dict[str, object]]:
    """Return the costs for JSON."""
    return [asdict(cost) for cost in costs]


def _call(player: Player, obs: NDArray[np.float32]) -> Callable[[], object]:
    return lambda: player(obs)
