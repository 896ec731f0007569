"""Judging a policy while it learns: the same seeds for the learner's floats and the actors' int8.

In: two blocks of one learner step. Out: a point of the curve; the best int8 policy so far is kept
in the run's folder with the floats it was made of. Every judged int8 policy is also compared with
the NumPy reference, on observations it met.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import Block, check_block, check_digest, label_of
from quarl.actorq.players import Player, Runtime, open_player
from quarl.actorq.reference_check import compare
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.open import read_file
from quarl.files.text import shortened
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.episodes import Watch, run_episodes
from quarl.stats.seeds import CHECKPOINT_SEED

MOST_CURVE_BYTES = 16 << 20
CURVE_FILE, BEST = "curve.csv", "best"
INT8_FILE, FLOAT_FILE, POINT_FILE = "int8.block", "fp32.block", "point.json"
COMPARED = 512  # observations of each judged policy that the reference repeats


@dataclass(frozen=True, slots=True)
class Moment:
    """When a policy was published."""

    learner_step: int
    env_steps: int
    wall_s: float  # since the run began, earlier parts of a resumed run included
    cpu_s: float  # of the learner's process
    actors_cpu_s: float  # of all actors' processes


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the curve: deterministic play of one policy in both forms."""

    learner_step: int
    env_steps: int
    wall_s: float
    cpu_s: float
    actors_cpu_s: float
    int8_mean: float
    int8_std: float
    float_mean: float
    float_std: float
    episodes: int
    compared: int  # outputs of the int8 policy
    differing: int  # of them from the reference
    digest: str  # of the int8 policy


class Judge:
    """Judges the policies of one run, and keeps the best."""

    def __init__(
        self, run: Path, env: EnvSpec, contract: Contract, episodes: int, runtime: Runtime
    ) -> None:
        self._run, self._env, self._contract = run, env, contract
        self._seeds = range(CHECKPOINT_SEED, CHECKPOINT_SEED + episodes)
        self._runtime: Runtime = runtime
        self.points = read_curve(run)

    def judge(self, int8: Block, floats: Block, moment: Moment) -> Point:
        """Return the point of this policy; it is written to the curve, and kept if none was better.

        Raises:
            DeviceError: a block is not what its learner sealed.
        """
        for block in (int8, floats):
            check_block(block)
            check_digest(block)
        met: list[NDArray[Any]] = []
        made = self._returns(open_player(self._runtime, int8), met)
        exact = self._returns(open_player(self._runtime, floats), None)
        compared, differing = compare(int8, np.concatenate(met)[:COMPARED], self._runtime)
        point = Point(
            **asdict(moment),
            int8_mean=float(made.mean()),
            int8_std=float(made.std()),
            float_mean=float(exact.mean()),
            float_std=float(exact.std()),
            episodes=len(self._seeds),
            compared=compared,
            differing=differing,
            digest=label_of(int8).digest,
        )
        best = max((p.int8_mean for p in self.points), default=-np.inf)
        self.points = (*self.points, point)
        _append(self._run / CURVE_FILE, point)
        if point.int8_mean >= best:
            self._keep(int8, floats, point)
        return point

    def _returns(self, player: Player, met: list[NDArray[Any]] | None) -> NDArray[np.float64]:
        decode = self._contract.action.decode

        def observe(episodes: object, steps: NDArray[np.int64], obs: NDArray[Any]) -> None:
            if met is not None and int(steps[0]) % 7 == 0:
                met.append(obs.astype(np.float32))

        episodes = run_episodes(
            self._env,
            lambda obs: decode(player(obs)),
            self._seeds,
            lanes=len(self._seeds),
            watch=Watch(observe),
        )
        return episodes.returns

    def _keep(self, int8: Block, floats: Block, point: Point) -> None:
        folder = self._run / BEST
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / INT8_FILE, int8.tobytes())
        write_whole(folder / FLOAT_FILE, floats.tobytes())
        write_whole(folder / POINT_FILE, json.dumps(asdict(point)).encode())


def read_curve(run: Path) -> tuple[Point, ...]:
    """Return the points of a run's curve; none where there is no curve.

    Raises:
        InputError: the file is not a curve.
    """
    path = run / CURVE_FILE
    if not path.is_file():
        return ()
    kinds = {f.name: {"int": int, "float": float, "str": str}[str(f.type)] for f in fields(Point)}
    text = read_file(path, MOST_CURVE_BYTES).decode("utf-8", "replace")
    try:
        return tuple(
            Point(**{name: kinds[name](value) for name, value in row.items()})
            for row in csv.DictReader(text.splitlines())
        )
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path}: is not the curve of a run of quarl actorq ({shortened(str(error))}): start "
            "the run again"
        ) from error


def _append(path: Path, point: Point) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow([f.name for f in fields(Point)])
        writer.writerow(asdict(point).values())
