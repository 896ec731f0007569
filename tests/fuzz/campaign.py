"""Runs a target on many inputs, each in a process that may die: counts what was read, refused, or
went wrong.

In: names, numbers of inputs or seconds. Out: `Count`s; every bad input lies in a folder.

A worker is forked for a stretch of inputs. Before each it writes the input's number where the
parent sees it, so a crash or a hang is known by its input, and the next worker goes on behind it.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from quarl.errors import QuarlError
from quarl.runtimes.worker import memory_bytes
from tests.fuzz.guard import watched
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.warm import warm_processes

STRETCH = 2_000  # inputs for which one worker lives
HANG_CPU_S = 10
HANG_WALL_S = 60  # a busy machine is not a hang
MEMORY_BYTES = 1 << 30
ADDRESS_BYTES = 24 << 30  # TensorFlow alone maps some
FIELDS = "number", "read", "refused", "defects", "large", "executions"
_SHARED = struct.Struct("<6q")


@dataclass(slots=True)
class Count:
    """What became of the inputs of one reader."""

    reader: str
    seed: int
    inputs: int = 0
    read: int = 0
    refused: int = 0
    defects: int = 0  # exceptions that are not quarl's own
    crashes: int = 0  # ended by a signal
    hangs: int = 0  # over 10 s of processor time, or 60 s
    large: int = 0  # over 1 GiB more than at the start
    executions: int = 0  # started a program, connected, wrote elsewhere, loaded code by name
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.defects or self.crashes or self.hangs or self.large or self.executions)


def outcome(target: Target, data: bytes, folder: Path) -> tuple[str, str]:
    """Return ("read" | "refused" | "defect" | "execution", what) for one input, in this process."""
    with watched(folder, target.spawns) as forbidden:
        try:
            target.read(data, folder)
            what = "read", ""
        except QuarlError as error:
            what = "refused", str(error)
        except Exception as error:
            what = "defect", _place(error)
        except BaseException as error:
            what = "defect", f"leaves by {type(error).__name__}"
    return ("execution", forbidden[0]) if forbidden else what


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/quarl/" in f.filename]
    at = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {Path(at.filename).name}:{at.lineno} {error!s:.100}"


def run_campaign(
    name: str,
    inputs: int,
    *,
    seed: int = 0,
    first: int = 0,
    seconds: float = float("inf"),
    found: Path | None = None,
    progress: Callable[[Count], None] = lambda count: None,
) -> Count:
    """Return what became of `inputs` mutated files, or of as many as `seconds` allow.

    Args:
        first: number of the first input; a campaign goes on where another ended.
        found: folder for inputs that went wrong.
    """
    target = TARGETS[name]
    target.seeds()  # made once, before the workers are forked
    count, start, at = Count(name, seed), time.monotonic(), first
    while at < first + inputs and time.monotonic() - start < seconds:
        last = min(at + STRETCH, first + inputs)
        at = _stretch(count, (at, last), start + seconds, found)
        count.inputs, count.seconds = at - first, round(time.monotonic() - start, 1)
        progress(count)
    return count


def _stretch(count: Count, numbers: tuple[int, int], end: float, found: Path | None) -> int:
    """Run inputs in a forked worker; return the number to go on with."""
    shared = mmap.mmap(-1, _SHARED.size)
    shared[:] = _SHARED.pack(numbers[0], 0, 0, 0, 0, 0)
    kinds, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(kinds)
        with suppress(BaseException), warm_processes():
            _work(count, numbers, end, found, shared, says)
        os._exit(0 if _SHARED.unpack(shared)[0] < 0 else 3)
    os.close(says)
    with os.fdopen(kinds, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            count.kinds[line.strip()] = count.kinds.get(line.strip(), 0) + 1
    _, status = os.waitpid(child, 0)
    at, *counted = _SHARED.unpack(shared)
    for name, value in zip(FIELDS[1:], counted, strict=True):
        setattr(count, name, getattr(count, name) + value)
    if at < 0:
        return int(-at)
    code = os.waitstatus_to_exitcode(status)
    is_hang = -code in (signal.SIGPROF, signal.SIGALRM)
    count.hangs += is_hang
    count.crashes += not is_hang
    what = f"ended with {code}"
    count.kinds[what] = count.kinds.get(what, 0) + 1
    _keep(found, count, int(at), what)
    return int(at) + 1


def _work(
    count: Count,
    numbers: tuple[int, int],
    end: float,
    found: Path | None,
    shared: mmap.mmap,
    says: int,
) -> None:
    target = TARGETS[count.reader]
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()  # the parent says what happened
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    memory = Path("/dev/shm")  # files of an input live for milliseconds
    root = Path(tempfile.mkdtemp(prefix="quarl-fuzz-", dir=memory if memory.is_dir() else None))
    tempfile.tempdir = str(root)
    values = dict.fromkeys(FIELDS, 0)
    Path("/proc/self/clear_refs").write_text("5")  # the most so far was the parent's
    allowed = memory_bytes("VmRSS") + MEMORY_BYTES
    try:
        for number in range(*numbers):
            if time.monotonic() > end:
                numbers = (numbers[0], number)
                break
            values["number"] = number
            shared[:] = _SHARED.pack(*(values[name] for name in FIELDS))
            what, why = _one(target, target.input(count.reader, count.seed, number), root)
            name = {"defect": "defects", "execution": "executions"}.get(what, what)
            values[name] += 1
            if memory_bytes("VmHWM") > allowed:
                values["large"] += 1
                what, why = "large", "over 1 GiB"
                numbers = (numbers[0], number + 1)
            if what not in ("read", "refused"):
                _keep(found, count, number, why)
                os.write(says, f"{why.splitlines()[0] if why else what}\n".encode())
            if what == "large":  # the most so far stays: another worker goes on
                break
    finally:
        shutil.rmtree(root, ignore_errors=True)
    values["number"] = -numbers[1]
    shared[:] = _SHARED.pack(*(values[name] for name in FIELDS))


def _one(target: Target, data: bytes, root: Path) -> tuple[str, str]:
    folder = root / "input"
    folder.mkdir()
    signal.setitimer(signal.ITIMER_PROF, HANG_CPU_S)
    signal.setitimer(signal.ITIMER_REAL, HANG_WALL_S)
    try:
        return outcome(target, data, folder)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        shutil.rmtree(folder, ignore_errors=True)


def _keep(found: Path | None, count: Count, number: int, why: str) -> None:
    if found is None:
        return
    folder = found / count.reader
    folder.mkdir(parents=True, exist_ok=True)
    data = TARGETS[count.reader].input(count.reader, count.seed, number)
    (folder / f"{count.seed}-{number}").write_bytes(data)
    with (folder / "reasons.txt").open("a", encoding="utf-8") as file:
        file.write(f"{count.seed}-{number}: {why}\n")


def append_counts(path: Path, count: Count) -> None:
    """Write a line of JSON with the counts."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(count)) + "\n")


def fresh_seed() -> int:
    """Return a seed that was not used before, for campaigns that look for new things."""
    return random.SystemRandom().randrange(1 << 32)


def say(count: Count) -> None:
    """Print a line on how far a campaign is."""
    bad = {key: value for key, value in count.kinds.items() if value}
    rate = count.inputs / max(count.seconds, 0.1)
    print(
        f"{count.reader}: {count.inputs:,} inputs, {count.read:,} read, {count.refused:,} refused, "
        f"{count.defects} defects, {count.crashes} crashes, {count.hangs} hangs, {count.large} "
        f"over 1 GiB, {count.executions} executions, {rate:.0f}/s {bad or ''}",
        file=sys.stderr,
        flush=True,
    )
