"""The process in which one model is measured alone: what runs on the other side of
`quarl.profiles.host`.

The runtime named on its command line is imported at once, before anything is asked. Then it reads
one JSON object per line from standard input and answers each on standard output:
    {"ask": "load", "runtime": "litert", "model": PATH, "inputs": PATH.npy, "warm_up_s": 0.1}
        -> first call, load time, memory before and after, calls per sample
    {"ask": "measure", "seconds": 0.1, "samples": 500}   -> samples_us, peak memory so far
Standard error is left to the runtimes.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from quarl.errors import QuarlError
from quarl.runtimes.host import open_runtime, preload, runtime_version
from quarl.tools import limit_this_process

SHORT_CALL_US = 20.0  # below it the clock's own cost shows, and calls are timed in blocks
BLOCK_US = 50.0
MEMORY_BYTES = 1 << 30  # of address space, beside what the runtime itself takes
MEMORY_FACTOR = 16  # times the size of the model: runtimes pack weights again


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints must not look like an answer
    for name in sys.argv[1:]:
        preload(name)
    worker: Worker | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["ask"] == "load":
                worker, answer = load(request)
            else:
                assert worker is not None
                answer = worker.measure(request["seconds"], request["samples"])
        except (QuarlError, OSError, ValueError, MemoryError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """One loaded model, called with one observation after another."""

    def __init__(
        self, call: Callable[[Any], Any], inputs: list[Any], calls_per_sample: int
    ) -> None:
        self._call, self._inputs, self._calls_per_sample = call, cycle(inputs), calls_per_sample

    def measure(self, seconds: float, count: int) -> dict[str, Any]:
        """Return samples until the time or the count is reached; each is the mean of one block of
        calls, in order.
        """
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while len(samples) < count and time.perf_counter() < end:
            samples.append(
                _time_block(self._call, [next(self._inputs) for _ in range(self._calls_per_sample)])
            )
        return {"samples_us": [round(s, 3) for s in samples], "peak_bytes": memory_bytes("VmHWM")}


def load(request: dict[str, Any]) -> tuple[Worker, dict[str, Any]]:
    """Return the worker for a model, and what loading it took."""
    inputs = np.load(request["inputs"], allow_pickle=False)
    singles = [np.ascontiguousarray(inputs[i : i + 1]) for i in range(len(inputs))]
    preload(request["runtime"])
    model = Path(request["model"]).read_bytes()
    limit_memory(len(model))
    before = memory_bytes("VmRSS")
    start = time.perf_counter()
    runtime = open_runtime(request["runtime"], model)
    load_us = (time.perf_counter() - start) * 1e6
    first_call_us = _time_block(runtime.infer, singles[:1])
    after = memory_bytes("VmRSS")
    calls, end = [], time.perf_counter() + request["warm_up_s"]
    for x in cycle(singles):
        calls.append(_time_block(runtime.infer, [x]))
        if time.perf_counter() > end:
            break
    typical = float(np.median(calls[len(calls) // 2 :]))
    block = int(np.ceil(BLOCK_US / typical)) if typical < SHORT_CALL_US else 1
    return Worker(runtime.infer, singles, block), {
        "runtime_version": runtime_version(request["runtime"]),
        "load_us": round(load_us, 3),
        "first_call_us": round(first_call_us, 3),
        "warm_up_calls": len(calls),
        "calls_per_sample": block,
        "runtime_bytes": before,
        "model_bytes": max(after - before, 0),
    }


def limit_memory(model_bytes: int) -> None:
    """Bound the memory of this process, which has its runtime and is about to load a model."""
    limit_this_process(
        memory_bytes=memory_bytes("VmSize") + MEMORY_BYTES + MEMORY_FACTOR * model_bytes
    )


def memory_bytes(field: str) -> int:
    """Return a field of this process's memory: "VmRSS" (now), "VmHWM" (the most so far), "VmSize"
    (of addresses).
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:
        return _windows_bytes(field)
    peak = resource.getrusage(
        resource.RUSAGE_SELF
    ).ru_maxrss  # all that a system without /proc tells
    return peak if sys.platform == "darwin" else peak * 1024


def _windows_bytes(field: str) -> int:
    """Return the same from Windows: the working set, now or at its most."""
    psapi: Any = getattr(ctypes, "windll").psapi  # noqa: B009, other systems have no such name
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009
    counters = _Counters()
    counters.cb = ctypes.sizeof(counters)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    if not psapi.GetProcessMemoryInfo(process, ctypes.byref(counters), counters.cb):
        raise OSError("Windows does not tell the memory of this process")
    return int(counters.WorkingSetSize if field == "VmRSS" else counters.PeakWorkingSetSize)


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS, as Microsoft documents GetProcessMemoryInfo."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("WorkingSetSize", ctypes.c_size_t),
        ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
        ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
        ("PagefileUsage", ctypes.c_size_t),
        ("PeakPagefileUsage", ctypes.c_size_t),
    )


def _time_block(call: Callable[[Any], Any], inputs: list[Any]) -> float:
    """Return the mean time of a call in microseconds, from inputs in to outputs out."""
    start = time.perf_counter_ns()
    for x in inputs:
        call(x)
    return (time.perf_counter_ns() - start) / 1e3 / len(inputs)
