"""ActorQ's numbers: decisions, refresh, data collection, the store under Ray.

Every figure is CPU time of one thread, the best of many short windows with the candidates taking
turns, so that other work on the machine costs little. Only ratios of one run are compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quarl.actorq.block import NetShape
from quarl.actorq.contents import reference_of
from quarl.actorq.fill import Filler
from quarl.actorq.kernel import load_kernel, runnable_variants
from quarl.actorq.measure import (
    SampleNet,
    best_us,
    blocks_of,
    candidates_of,
    sample_net,
    step_costs,
)
from quarl.actorq.players import MOST_ROWS, KernelPlayer, Player
from quarl.actorq.run import contract_of
from quarl.actorq.settings import settings_of
from quarl.graph.env_spec import EnvSpec
from tests.bench.row import Row
from tests.support.actorq import SMALL, recipe_of

WIDTHS = (256, 512, 1024, 2048)
DECISION_US = dict(zip(WIDTHS, (3, 8, 28, 100), strict=True))
REFRESH_MS = dict(zip(WIDTHS, (0.5, 1, 4, 15), strict=True))
COLLECTION = {2048: (10.0, 5.0, 2.0), 512: (2.5, 1.25, 3.0)}  # torch fp32, best fp32, torch int8
COMPARED = {256: 130_000, 512: 26_000, 1024: 10_240, 2048: 5_120}  # observations
ROUNDS = 60
CHEETAH = EnvSpec("quarl.envs:quarl/DmControl-v0", {"domain": "cheetah", "task": "run"})


def bench_actorq(folder: Path) -> list[Row]:
    """Decisions, refresh, collection, and the store."""
    rows = [_outputs()]
    for width in WIDTHS:
        rows += _decisions(width)
    if importlib.util.find_spec("dm_control") is not None:
        for width in (512, 2048):
            rows += _collection(width)
    return rows


def _decisions(width: int) -> list[Row]:
    shape = NetShape((24, width, width, width, 6), "relu", False)
    net = sample_net(shape)
    blocks = blocks_of(net)
    best = best_us({n: _decision(p, net) for n, p in candidates_of(blocks).items()}, ROUNDS)
    goal, name = DECISION_US[width], f"3 x {width}"
    # in turns with others each finds its weights thrown out of the caches; an actor runs alone
    own = KernelPlayer(blocks["int8"])
    alone = best_us({"int8": _decision(own, net)}, ROUNDS)["int8"]
    found = f"{alone:.1f} ({best['int8']:.1f} in turns with the others)"
    rows = [Row(f"{name}: int8 decision, us", found, f"<= {goal}", alone <= goal)]
    for other in ("fp16", "fp32", "LiteRT fp32", "torch fp32", "torch dynamic int8"):
        found = f"{best[other]:.1f} us, {best[other] / best['int8']:.1f} x"
        rows.append(Row(f"  {other} takes", found, "", None))
    variants = [v.name for v in runnable_variants() if v.name in ("avx-vnni", "avx2")]
    for variant in variants:
        player = KernelPlayer(blocks["int8"], variant)
        one, eight = (best_us({"": _decision(player, net, n)}, ROUNDS // 2)[""] / n for n in (1, 8))
        holds = max(one, eight) <= 2 * goal if variant == "avx2" else None
        limit = f"<= {2 * goal}" if variant == "avx2" else ""
        found = f"{one:.1f}, {eight:.1f}"
        rows.append(Row(f"  {variant}: a decision at batch 1, at batch 8, us", found, limit, holds))
    filler = Filler(load_kernel(), shape, "int8", centered=True)
    player = KernelPlayer(blocks["int8"])
    times = best_us(
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


def _decision(player: Player, net: SampleNet, rows: int = 1) -> Callable[[], object]:
    """Return a call that decides on the first observations."""
    return lambda: player(net.obs[:rows])


def _outputs() -> Row:
    """Outputs of the kernels that are not those of the NumPy reference, over all widths."""
    compared = differing = 0
    for width, count in COMPARED.items():
        net = sample_net(NetShape((24, width, width, width, 6), "relu", False), seed=width)
        block = blocks_of(net)["int8"]
        player, reference = KernelPlayer(block), reference_of(block)
        rng = np.random.default_rng(width)
        for _ in range(count // MOST_ROWS):
            obs = rng.normal(size=(MOST_ROWS, 24)).astype(np.float32) * 2
            differing += int((player(obs) != reference(obs)).sum())
            compared += MOST_ROWS * 6
    found = f"{differing} of {compared:,}"
    return Row("int8 outputs that differ from the reference", found, "0 of 10^6", not differing)


def _collection(width: int) -> list[Row]:
    """Environment steps a CPU second of one actor: noise, transitions and environment included."""
    settings = settings_of(recipe_of(SMALL, algorithm="D4PG"))
    costs = step_costs(settings, CHEETAH, contract_of(CHEETAH, 100.0), (width,), rounds=12)
    best = {cost.candidate: cost.step_us for cost in costs}
    ours = best["int8"]
    ratios = {
        "torch fp32": best["torch fp32"] / ours,
        "the best fp32": min(best["fp32"], best["LiteRT fp32"]) / ours,
        "torch dynamic int8": best["torch dynamic int8"] / ours,
    }
    name = f"cheetah run, 3 x {width}: int8, steps a CPU second"
    rows = [Row(name, f"{1e6 / ours:,.0f}", "", None)]
    for (other, ratio), goal in zip(ratios.items(), COLLECTION[width], strict=True):
        rows.append(Row(f"  against {other}", f"{ratio:.2f} x", f">= {goal} x", ratio >= goal))
    return rows
