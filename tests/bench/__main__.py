"""`make bench`: every promised number, measured on this machine as the code stands, beside its
goal.

python -m tests.bench [SECTION ...] [--write FILE.md]

Sections: export accuracy fidelity returns workers atari throughput commands desk play firmware
riscv tiny pi sizes growth precision qat actorq actorq-ray before repeats
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.limits import Limits, limits_from_table
from quarl.emitters import emit_tflite
from quarl.evidence.closed_loop import failures_of
from quarl.exporter.choose_rung import choose_rung
from quarl.exporter.weighing import Choice
from quarl.graph import reference as integer
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import read_policy
from quarl.pipeline import import_source
from quarl.profiles.host import cpu_name
from quarl.quantize.calibration import Calibration, read_observations
from quarl.quantize.ladder import DEFAULT_RUNG, quantize_on_rung
from quarl.rollouts.actors import Actor, artifact_actor, source_actor
from quarl.rollouts.episodes import run_episodes
from quarl.rollouts.shares import Field
from quarl.runtimes.host import LitertRuntime, Runtime, evaluate
from quarl.sources.observations import observations_of
from quarl.stats.seeds import PARITY_SEED
from quarl.study import peers
from quarl.verdict.limits import failure_of, recipe_limits
from tests.bench.actorq import bench_actorq
from tests.bench.actorq_ray import bench_actorq_ray
from tests.bench.before import bench_before
from tests.bench.commands import bench_commands, bench_play
from tests.bench.desk import bench_desk
from tests.bench.fidelity import bench_fidelity
from tests.bench.firmware import bench_firmware
from tests.bench.growth import bench_growth
from tests.bench.nature import atari_frames, write_nature_zip
from tests.bench.page import write_page
from tests.bench.pi import bench_pi
from tests.bench.precision import bench_precision
from tests.bench.process import usage_of
from tests.bench.qat import bench_qat
from tests.bench.repeats import bench_repeats
from tests.bench.riscv import bench_riscv
from tests.bench.row import Row
from tests.bench.sizes import bench_sizes
from tests.bench.tiny import bench_tiny
from tests.bench.workers import bench_workers

POLICIES = Path(__file__).parent / "policies"
PAIRED_EPISODES = 400
MOST_LOST = 0.02  # share of the return
ATARI_POLICY, ATARI_RUNG, ATARI_EPISODES = "breakout_ppo", 3, 300
MARKS = {True: "ok  ", False: "MISS", None: "    "}
THROUGHPUT_FRAMES = 100_000


def bench_export(folder: Path) -> list[Row]:
    """A Nature-CNN zip with 300 frames to a bundle, whole process, against the same job through
    TFLiteConverter.
    """
    policy_zip, frames = _nature(folder)
    quarl = [
        sys.executable,
        "-m",
        "quarl",
        "export",
        str(policy_zip),
        "--calibration",
        str(frames),
        "--out",
    ]
    peer = [
        sys.executable,
        "-m",
        "tests.bench.converter_job",
        str(policy_zip),
        str(frames),
        str(folder / "peer.tflite"),
    ]
    ours = [usage_of([*quarl, str(folder / f"bundle{i}")], folder) for i in range(3)]
    theirs = [usage_of(peer, folder) for _ in range(2)]
    wall_s, peer_s = (min(used.wall_s for used in both) for both in (ours, theirs))
    cpu_s, peer_cpu_s = (min(used.cpu_s for used in both) for both in (ours, theirs))
    peak_mb, peer_mb = (min(used.peak_mb for used in both) for both in (ours, theirs))
    faster = peer_cpu_s / cpu_s
    return [
        Row("export of a Nature CNN, whole process", f"{wall_s:.2f} s", "<= 2.5 s", wall_s <= 2.5),
        Row("  peak memory", f"{peak_mb:.0f} MB", "<= 400 MB", peak_mb <= 400),
        Row("  the same through TFLiteConverter", f"{peer_s:.2f} s, {peer_mb:.0f} MB", "", None),
        Row("  faster by, wall time", f"{peer_s / wall_s:.2f} x", "", None),
        Row(
            "  faster by, processor time, which other programs change least",
            f"{faster:.2f} x ({cpu_s:.2f} s against {peer_cpu_s:.2f})",
            ">= 2.8 x",
            faster >= 2.8,
        ),
        Row("  smaller by", f"{peer_mb / peak_mb:.2f} x", ">= 1.3 x", peer_mb / peak_mb >= 1.3),
    ]


def bench_accuracy(folder: Path) -> list[Row]:
    """Argmax agreement and SQNR of the Nature CNN on frames that were not calibrated on, beside
    both standard tools.
    """
    policy_zip, frames = _nature(folder)
    policy = read_policy(policy_zip)
    assert isinstance(policy, Policy)
    calibration = read_observations(frames, policy.contract)
    test = atari_frames(1000, seed=2)
    wanted = policy.outputs(test)
    quantized = quantize_on_rung(policy, calibration, DEFAULT_RUNG)
    # the head is centred, which changes no decision: compare what is left of both after the common
    # value is taken out
    found = {
        "quarl": integer.real_outputs(quantized, integer.integer_outputs(quantized, test)),
        "TFLiteConverter": peers.tflite_outputs(
            policy, peers.tflite_converter(policy, calibration.obs)
        )(test),
        "onnxruntime.quantize_static": peers.onnx_outputs(
            policy, peers.quantize_static(policy, calibration.obs)
        )(test),
    }
    scores = {name: _agreement_and_sqnr(wanted, outputs) for name, outputs in found.items()}
    best_agreement = max(agreement for name, (agreement, _) in scores.items() if name != "quarl")
    best_sqnr = max(sqnr for name, (_, sqnr) in scores.items() if name != "quarl")
    agreement, sqnr = scores["quarl"]
    rows = [
        Row(f"  {name}", f"{a:.2%}, {s:.1f} dB", "", None)
        for name, (a, s) in scores.items()
        if name != "quarl"
    ]
    return [
        Row(
            "Nature CNN: argmax agreement over 1,000 frames",
            f"{agreement:.2%}",
            f">= {best_agreement:.2%}",
            agreement >= best_agreement,
        ),
        Row(
            "  SQNR of the differences between actions",
            f"{sqnr:.1f} dB",
            f">= {best_sqnr:.1f} dB",
            sqnr >= best_sqnr,
        ),
        *rows,
    ]


def bench_returns(folder: Path) -> list[Row]:
    """The hard policies: 400 paired episodes of the source, rung 0, both standard tools, and the
    rung that `auto` takes.
    """
    rows = []
    for path in sorted(p.parent for p in POLICIES.glob("*/policy.zip")):
        source = import_source(str(path))
        policy, env, recipe = source.policy, source.env, source.recipe
        assert isinstance(policy, Policy)
        assert env is not None
        assert recipe is not None
        calibration = read_observations(path / "calibration.npz", policy.contract)
        table = {
            "random_return": recipe.gate.random_return,
            "failure": recipe.gate.failure,
            "episodes": PAIRED_EPISODES,
        }
        if recipe.gate.failure_return is not None:
            table["failure_return"] = recipe.gate.failure_return
        limits = limits_from_table(table, path.name)
        chosen, _ = choose_rung(Choice(policy, calibration, Field(env), limits))
        actors = _players(policy, calibration, {f"auto (rung {chosen.rung})": chosen})
        rows += _paired_rows(path.name, env, actors, PAIRED_EPISODES, limits, MOST_LOST)
    return rows


def bench_atari(folder: Path) -> list[Row]:
    """An Atari policy that 8 bits of output do not serve: 300 paired sticky games, as above, and
    the rung it is shipped on.
    """
    source = import_source(ATARI_POLICY)
    policy, limits = source.policy, recipe_limits(source.recipe, source.env)
    assert isinstance(policy, Policy)
    assert source.env is not None
    calibration, _ = observations_of(source, None)
    actors = _players(
        policy,
        calibration,
        {f"rung {ATARI_RUNG}": quantize_on_rung(policy, calibration, ATARI_RUNG)},
    )
    return _paired_rows(ATARI_POLICY, source.env, actors, ATARI_EPISODES, limits, limits.margin)


def _players(
    policy: Policy, calibration: Calibration, ours: Mapping[str, QuantPolicy]
) -> dict[str, Actor]:
    """Return the source, rung 0, both standard converters and ours, by name and in this order."""
    tflite = peers.tflite_outputs(policy, peers.tflite_converter(policy, calibration.obs))
    onnx = peers.onnx_outputs(policy, peers.quantize_static(policy, calibration.obs))
    plain = quantize_on_rung(policy, calibration, 0)
    return {
        "source": source_actor(policy),
        "rung 0": artifact_actor(plain, emit_tflite(plain)),
        "TFLiteConverter": partial(_act, policy, tflite),
        "quantize_static": partial(_act, policy, onnx),
        **{
            name: artifact_actor(quantized, emit_tflite(quantized))
            for name, quantized in ours.items()
        },
    }


def _paired_rows(
    policy: str,
    env: EnvSpec,
    actors: Mapping[str, Actor],
    episodes: int,
    limits: Limits,
    most_lost: float,
) -> list[Row]:
    """Return a row for each player of the same episodes.

    Args:
        actors: the source first, ours last.
        most_lost: share of the source's return that ours may lose.
    """
    seeds = range(PARITY_SEED, PARITY_SEED + episodes)
    played = {name: run_episodes(env, actor, seeds) for name, actor in actors.items()}
    first, *_, ours = played
    mean_source = float(played[first].returns.mean())
    failure = failure_of(limits, mean_source)
    failed_source = failures_of(played[first], failure)
    assert failed_source is not None
    rows = []
    for name, found in played.items():
        failed = failures_of(found, failure)
        assert failed is not None
        lost = (mean_source - float(found.returns.mean())) / abs(mean_source)
        rise = float(failed.mean() - failed_source.mean())
        text = (
            f"return {found.returns.mean():.2f}, lost {100 * lost:+.2f} %, failures "
            f"{100 * failed.mean():.2f} % ({100 * rise:+.2f})"
        )
        goal = f"<= {100 * most_lost:.0f} % lost, <= +1 point" if name == ours else ""
        rows.append(
            Row(
                f"{policy}: {name}",
                text,
                goal,
                (lost <= most_lost and rise <= 0.01) if goal else None,
            )
        )
    return rows


def bench_throughput(folder: Path) -> list[Row]:
    """100,000 Atari frames through the int8 Nature CNN on two threads, and whether batches change
    anything.
    """
    policy_zip, frames = _nature(folder)
    policy = read_policy(policy_zip)
    assert isinstance(policy, Policy)
    calibration = read_observations(frames, policy.contract)
    quantized = quantize_on_rung(policy, calibration, DEFAULT_RUNG)
    model = emit_tflite(quantized)
    thousand = atari_frames(1000, seed=3)
    many = np.broadcast_to(thousand, (THROUGHPUT_FRAMES // 1000, *thousand.shape)).reshape(
        -1, *thousand.shape[1:]
    )
    runtimes: list[Runtime] = [LitertRuntime(model), LitertRuntime(model)]
    evaluate(runtimes, quantized, thousand)
    began = time.perf_counter()
    outputs = evaluate(runtimes, quantized, many)
    wall_s = time.perf_counter() - began
    single = np.concatenate(
        [evaluate(runtimes[:1], quantized, thousand[i : i + 1]) for i in range(200)]
    )
    same = bool((outputs[:200] == single).all())
    return [
        Row(
            "100,000 frames through the int8 Nature CNN, 2 threads",
            f"{wall_s:.1f} s",
            "<= 15 s",
            wall_s <= 15,
        ),
        Row("  outputs equal to batch 1", "yes" if same else "no", "yes", same),
    ]


SECTIONS: dict[str, Callable[[Path], list[Row]]] = {
    "export": bench_export,
    "accuracy": bench_accuracy,
    "fidelity": bench_fidelity,
    "returns": bench_returns,
    "workers": bench_workers,
    "atari": bench_atari,
    "throughput": bench_throughput,
    "commands": bench_commands,
    "desk": bench_desk,
    "play": bench_play,
    "firmware": bench_firmware,
    "riscv": bench_riscv,
    "tiny": bench_tiny,
    "pi": bench_pi,
    "sizes": bench_sizes,
    "growth": bench_growth,
    "precision": bench_precision,
    "qat": bench_qat,
    "actorq": bench_actorq,
    "actorq-ray": bench_actorq_ray,
    "before": bench_before,
    "repeats": bench_repeats,
}


def main(arguments: Sequence[str]) -> int:
    """Measure the sections, print their rows and write them where asked; 1 where a goal is
    missed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure what quarl promises."
    )
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], help="all of them unless named"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE.md",
        help="write the tables into this page too; other sections of it stay",
    )
    options = parser.parse_args(arguments)
    measured: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="quarl-bench-") as folder:
        for name in options.sections or SECTIONS:
            measured[name] = SECTIONS[name](Path(folder))
            for row in measured[name]:
                print(f"{MARKS[row.holds]} {row.what:<58} {row.found:<58} {row.goal}", flush=True)
    machine = (
        f"{cpu_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )
    print(f"measured on {machine}")
    if options.write is not None:
        titles = {name: _title(bench) for name, bench in SECTIONS.items()}
        write_page(options.write, titles, measured, machine)
    return 1 if any(row.holds is False for rows in measured.values() for row in rows) else 0


def _title(bench: Callable[[Path], list[Row]]) -> str:
    return " ".join((bench.__doc__ or bench.__name__).split())


def _act(policy: Policy, outputs: peers.Outputs, obs: NDArray[Any]) -> NDArray[Any]:
    return policy.contract.action.decode(outputs(obs))


def _nature(folder: Path) -> tuple[Path, Path]:
    policy_zip, frames = folder / "nature.zip", folder / "frames.npz"
    if not policy_zip.exists():
        write_nature_zip(policy_zip)
        np.savez(frames, obs=atari_frames(300, seed=1))
    return policy_zip, frames


def _agreement_and_sqnr(wanted: NDArray[Any], found: NDArray[Any]) -> tuple[float, float]:
    centred = [
        values - values.mean(axis=1, keepdims=True)
        for values in (wanted.astype(np.float64), found.astype(np.float64))
    ]
    noise = np.square(centred[0] - centred[1]).sum()
    return float((wanted.argmax(axis=1) == found.argmax(axis=1)).mean()), float(
        10 * np.log10(np.square(centred[0]).sum() / noise)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
