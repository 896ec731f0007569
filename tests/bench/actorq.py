"""ActorQ's numbers: decisions, refresh, data collection, the store under Ray.

Every figure is CPU time of one thread, the best of many short windows with the candidates taking
turns, so that other work on the machine costs little. Only ratios of one run are compared.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.accounts import Ledger
from quarl.actorq.acting import Acting
from quarl.actorq.block import Block, NetShape, Precision
from quarl.actorq.contents import plain_contract
from quarl.actorq.fill import Filler
from quarl.actorq.kernel import load_kernel, runnable_variants
from quarl.actorq.players import KernelPlayer, Player, open_player
from quarl.actorq.release import float_policy_of
from quarl.actorq.run import contract_of
from quarl.actorq.settings import settings_of
from quarl.actorq.torch_player import TorchPlayer
from quarl.emitters.float_tflite import emit_float_tflite
from quarl.graph.env_spec import EnvSpec
from quarl.runtimes.host import LitertRuntime
from tests.bench.row import Row
from tests.support.actorq import SMALL, recipe_of
from tests.support.nets import Net, random_net

WIDTHS = (256, 512, 1024, 2048)
DECISION_US = dict(zip(WIDTHS, (3, 8, 28, 100), strict=True))
REFRESH_MS = dict(zip(WIDTHS, (0.5, 1, 4, 15), strict=True))
COLLECTION = {2048: (10.0, 5.0, 2.0), 512: (2.5, 1.25, 3.0)}  # torch fp32, best fp32, torch int8
WINDOW_S, ROUNDS = 0.002, 60
CHEETAH = EnvSpec("quarl.envs:quarl/DmControl-v0", {"domain": "cheetah", "task": "run"})


class LitertPlayer:
    """LiteRT in fp32, for the comparison only."""

    def __init__(self, block: Block) -> None:
        self.load(block)

    def load(self, block: Block) -> None:
        policy = float_policy_of(block, plain_contract(block), "test")
        self._runtime = LitertRuntime(emit_float_tflite(policy))

    def __call__(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = self._runtime.infer(np.ascontiguousarray(obs, np.float32))
        return made


def bench_actorq(folder: Path) -> list[Row]:
    """Decisions, refresh, collection, and the store."""
    rows = []
    for width in WIDTHS:
        rows += _decisions(width)
    if importlib.util.find_spec("dm_control") is not None:
        for width in (512, 2048):
            rows += _collection(width)
    return rows


def _blocks(net: Net) -> dict[Precision, Block]:
    kernel = load_kernel()
    made: dict[Precision, Block] = {}
    for precision in ("int8", "fp16", "fp32"):
        filler = Filler(kernel, net.shape, precision, centered=False)  # type: ignore[arg-type]
        made[precision] = filler.fill(net.layers, net.ranges, 1, 0)  # type: ignore[index]
    return made


def _players(blocks: Mapping[Precision, Block]) -> dict[str, Player]:
    torch_fp32, torch_int8 = TorchPlayer(), TorchPlayer(dynamic_int8=True)
    for player in (torch_fp32, torch_int8):
        player.load(blocks["fp32"])
    return {
        "int8": open_player("kernel", blocks["int8"]),
        "fp16": open_player("kernel", blocks["fp16"]),
        "fp32": open_player("kernel", blocks["fp32"]),
        "LiteRT fp32": LitertPlayer(blocks["fp32"]),
        "torch fp32": torch_fp32,
        "torch int8": torch_int8,
    }


def _best_us(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the best CPU time of a call of each, the candidates taking turns."""
    counts, best = {}, dict.fromkeys(candidates, float("inf"))
    for name, call in candidates.items():
        call()
        began = time.perf_counter()
        call()
        counts[name] = max(1, int(WINDOW_S / (time.perf_counter() - began)))
    for _ in range(rounds):
        for name, call in candidates.items():
            began = time.thread_time()
            for _ in range(counts[name]):
                call()
            spent = (time.thread_time() - began) / counts[name] * 1e6
            best[name] = min(best[name], spent)
    return best


def _decisions(width: int) -> list[Row]:
    shape = NetShape((24, width, width, width, 6), "relu", False)
    net = random_net(shape)
    blocks = _blocks(net)
    players = _players(blocks)
    best = _best_us({name: lambda p=p: p(net.obs[:1]) for name, p in players.items()}, ROUNDS)  # type: ignore[misc]
    goal, name = DECISION_US[width], f"3 x {width}"
    rows = [
        Row(f"{name}: int8 decision, us", f"{best['int8']:.1f}", f"<= {goal}", best["int8"] <= goal)
    ]
    for other in ("fp16", "fp32", "LiteRT fp32", "torch fp32", "torch int8"):
        found = f"{best[other]:.1f} us, {best[other] / best['int8']:.1f} x"
        rows.append(Row(f"  {other} takes", found, "", None))
    variants = [v.name for v in runnable_variants() if v.name in ("avx-vnni", "avx2")]
    for variant in variants:
        player = KernelPlayer(blocks["int8"], variant)
        one, eight = (
            _best_us({"": lambda n=n, p=player: p(net.obs[:n])}, ROUNDS // 2)[""] / n  # type: ignore[misc]
            for n in (1, 8)
        )
        holds = max(one, eight) <= 2 * goal if variant == "avx2" else None
        limit = f"<= {2 * goal}" if variant == "avx2" else ""
        found = f"{one:.1f}, {eight:.1f}"
        rows.append(Row(f"  {variant}: a decision at batch 1, at batch 8, us", found, limit, holds))
    filler = Filler(load_kernel(), shape, "int8", centered=True)
    player = KernelPlayer(blocks["int8"])
    times = _best_us(
        {
            "refresh": lambda: filler.fill(net.layers, net.ranges, 1, 0),
            "load": lambda: player.load(blocks["int8"]),
        },
        ROUNDS // 3,
    )
    refresh_ms, load_ms = times["refresh"] / 1e3, times["load"] / 1e3
    share = blocks["fp32"].nbytes / blocks["int8"].nbytes
    most = REFRESH_MS[width]
    return [
        *rows,
        Row("  refresh, ms", f"{refresh_ms:.2f}", f"<= {most:g}", refresh_ms <= most),
        Row("  load, ms", f"{load_ms:.3f}", "<= 0.05", load_ms <= 0.05),
        Row("  bytes, fp32 / int8", f"{share:.2f}", ">= 3.5", share >= 3.5),
    ]


def _collection(width: int) -> list[Row]:
    """Environment steps a CPU second of one actor: noise, transitions and environment included."""
    lines = SMALL.replace("[128, 128]", f"[{width}, {width}, {width}]")
    settings = settings_of(recipe_of(lines, algorithm="D4PG"))
    contract = contract_of(CHEETAH, 100.0)
    lengths = (contract.observation.shape[0], *(width,) * 3, contract.action.count)
    net = random_net(NetShape(lengths, "relu", True))
    players = _players(_blocks(net))
    acting = Acting(settings, CHEETAH, contract, 0, seed=1)
    acting.open(1)
    best = dict.fromkeys(players, float("inf"))
    for _ in range(6):
        for name, player in players.items():
            steps = 40 if name == "torch fp32" else 100
            ledger, began = Ledger(name), time.thread_time()
            acting.play(player, 0, steps, ledger)
            best[name] = min(best[name], (time.thread_time() - began) / ledger.steps)
    acting.close()
    ours = best["int8"]
    ratios = (
        best["torch fp32"] / ours,
        min(best["fp32"], best["LiteRT fp32"]) / ours,
        best["torch int8"] / ours,
    )
    rows = [
        Row(f"cheetah run, 3 x {width}: int8, steps a CPU second", f"{1 / ours:,.0f}", "", None)
    ]
    names = ("torch fp32", "the best fp32", "torch int8")
    for name, ratio, goal in zip(names, ratios, COLLECTION[width], strict=True):
        rows.append(Row(f"  against {name}", f"{ratio:.2f} x", f">= {goal} x", ratio >= goal))
    return rows
