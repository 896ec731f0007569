"""What is asked of an export: which integers, for which device, and where they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quarl.boards.linux import AnyBoard
from quarl.bundle.limits import Limits
from quarl.finetune.assignment import Assignment, Distilled, Tell
from quarl.firmware.names import DEFAULT_PREFIX
from quarl.quantize.widths import INT8, Widths
from quarl.workers import HERE, Workers


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """How a policy is exported.

    Attributes:
        rung: a rung of the ladder. None: the measured return chooses, or rung 3 where there is no
            environment to play in. The integers of an int8 file stand on none.
        widths: fewer bits of weights, activations or observations, at a price in accuracy.
        calibration: the observations the policy meets, an `.npz` or an array; None: the recipe's
            own, or played in the environment.
        limits: what the gate will ask; None: the recipe's, or the defaults.
        board: what the firmware is written for; None: no firmware.
        prefix: what the policy's functions, types, macros and files in C are called.
        packages: build systems that get a folder of their own.
        trained: integers that were trained, which then are the bundle's.
        finetune: how integers learn where the return chooses and no rung keeps it; its widths are
            these. None: they do not.
        runs: where a training is kept.
        workers: who plays the episodes.
        half: write the float policy with float16 parameters too, for hosts and Pis.
        cost: what the integers may cost a device, times the cheapest; None: as `Choice.factor`.
    """

    rung: int | None = None
    widths: Widths = INT8
    calibration: Path | NDArray[Any] | None = None
    limits: Limits | None = None
    board: AnyBoard | None = None
    prefix: str = DEFAULT_PREFIX
    packages: tuple[str, ...] = ()
    trained: Distilled | None = None
    finetune: Assignment | None = None
    runs: Path = Path("runs")
    workers: Workers = HERE
    half: bool = False
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class FinetuneRequest:
    """How integers are trained.

    Attributes:
        runs: where lessons and students are kept, for `resume`.
        tell: called now and then with where the training stands.
        export: how the integers become a bundle; its widths are the assignment's.
    """

    assignment: Assignment
    runs: Path
    resume: bool = False
    tell: Tell = lambda telling: None
    export: ExportRequest = ExportRequest()
