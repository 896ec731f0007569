"""The agent: the one file that runs on a Raspberry Pi. Standard library only, beside the runtime it
measures; Python 3.9 and later.

In: one JSON request on standard input. Out: one JSON document on standard output, and nothing else
there.
    {"ask": "look", ...}      what this machine is: core, system, runtimes, health
    {"ask": "run", ...}       loads one model, answers every input, then times it; one model per
                              process, so memory is its own
    {"ask": "install", ...}   unpacks wheels that lie beside it into an environment of their own,
                              whole or not at all
The files it needs lie beside it, and their SHA-256 is checked before they are used. It starts
nothing but `vcgencmd`.
Fields: toolchain/docs/raspberry-pi.md. It runs unchanged on this host, under qemu-user and over
    SSH.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORMAT = 1
SHORT_CALL_NS = 20_000  # below it the clock's own cost shows, and calls are timed in blocks
BLOCK_NS = 100_000
MARK = 0x514C << 32  # offset of the lseek that ql_region_counter.c takes for a mark
BEGIN, END, BEGIN_INVOKE, END_INVOKE, EMPTY_BEGIN, EMPTY_END = 1, 2, 3, 4, 5, 6
EMPTY_PAIRS = 8
CHUNK_BYTES = 1 << 16
PACKAGES = {
    "litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "tflite_runtime": "tflite-runtime",
}
VCGENCMD_TIMEOUT_S = 2.0


class AgentError(Exception):
    """Something the user can mend; `kind` is what the host makes of it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main() -> None:
    """Answer one request."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints must not look like an answer
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    folder = Path(__file__).resolve().parent
    os.environ["TMPDIR"] = str(folder)  # what a runtime writes there goes when the folder goes
    try:
        request = json.load(sys.stdin)
        use_site(request.get("site"))
        answer = {"look": look, "run": run, "install": install}[request["ask"]](request, folder)
    except AgentError as error:
        answer = {"error": str(error), "kind": error.kind}
    except OSError as error:
        answer = {
            "error": f"{error.filename or folder}: {error.strerror or error}",
            "kind": "device",
        }
    try:
        print(json.dumps({"format": FORMAT, **answer}), file=answers, flush=True)
    except BrokenPipeError:  # the host went away: leave nothing behind
        if request.get("temporary"):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


# ---- what this machine is


def look(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what this machine is and which runtimes it has; nothing is imported."""
    free = shutil.disk_usage(Path.home()).free
    return {
        **machine(Path("/")),
        "runtimes": runtime_versions(),
        "free_bytes": free,
        "health": health(Path("/")),
    }


def machine(root: Path) -> dict[str, Any]:
    """Return the names and sizes of the machine whose files lie under `root`."""
    fields: dict[str, str] = {}
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    memory = table(root / "proc/meminfo").get("MemTotal", 0) * 1024
    return {
        "machine": platform.machine(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "model": (text(root / "proc/device-tree/model") or fields.get("Model") or "").rstrip("\0")
        or None,
        "cpu_part": fields.get("CPU part"),
        "cpu_features": sorted((fields.get("Features") or "").split()),
        "cores": os.cpu_count() or 1,
        "last_core": max(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "system": platform.system() + " " + platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
    }


def runtime_versions() -> dict[str, str]:
    """Return the versions of numpy and of each runtime that is installed, by distribution."""
    found = {}
    for name in ("numpy", *PACKAGES.values()):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def health(root: Path, ask_vcgencmd: Callable[[str], str | None] | None = None) -> dict[str, Any]:
    """Return what may spoil a measurement, as it is now; None where the machine does not tell.

    throttled: the bits of `vcgencmd get_throttled`. clock_hz: the real clock (`measure_clock arm`),
        requested_clock_hz what the
    governor asked for, which under throttling is higher. swapped_pages: in and out since boot, of
    the whole machine.
    """
    ask = ask_vcgencmd or vcgencmd
    clock = number(
        (ask("measure_clock arm") or "").partition("=")[2]
    )  # first: a governor lowers it as soon as there is no work
    frequencies = root / "sys/devices/system/cpu/cpu0/cpufreq"
    zone, swap = (
        number(text(root / "sys/class/thermal/thermal_zone0/temp")),
        table(root / "proc/vmstat"),
    )
    load = (text(root / "proc/loadavg") or "").split()
    swapped = [swap[key] for key in ("pswpin", "pswpout") if key in swap]
    return {
        "throttled": number((ask("get_throttled") or "").partition("=")[2], 16),
        "clock_hz": clock,
        "requested_clock_hz": thousand(number(text(frequencies / "scaling_cur_freq"))),
        "highest_clock_hz": thousand(number(text(frequencies / "scaling_max_freq"))),
        "governor": text(frequencies / "scaling_governor"),
        "temperature_c": None if zone is None else zone / 1000,
        "swapped_pages": sum(swapped) if swapped else None,
        "load": float(load[0]) if load else None,
    }


def vcgencmd(question: str) -> str | None:
    """Return the firmware's answer, None where there is no such program or it may not be asked."""
    try:
        done = subprocess.run(
            ["vcgencmd", *question.split()],
            capture_output=True,
            timeout=VCGENCMD_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("ascii", "replace").strip()


# ---- one model


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a model's outputs for every input, what loading it took, and, where asked for, times
    or marks.
    """
    core = pin()
    model = checked(folder / request["model"], request["model_sha256"])
    raw = checked(folder / request["inputs"], request["inputs_sha256"]).read_bytes()
    numpy, open_model, version = load_runtime(request["runtime"])
    inputs = numpy.frombuffer(raw, request["dtype"]).reshape([-1, *request["shape"]])
    singles = [numpy.ascontiguousarray(inputs[i : i + 1]) for i in range(len(inputs))]
    before_load, started = memory(), time.perf_counter_ns()
    loaded = open_model(model)
    load_ns = time.perf_counter_ns() - started
    started = time.perf_counter_ns()
    first = infer(loaded, singles[0])
    first_call_ns = time.perf_counter_ns() - started
    after_load = memory()
    outputs = numpy.concatenate(
        [first, *(infer(loaded, x) for x in singles[1 : request["answer"]])]
    )[: request["answer"]]
    answer = {
        "runtime_version": version,
        "numpy_version": numpy.__version__,
        "outputs": base64.b64encode(outputs.tobytes()).decode("ascii"),
        "outputs_dtype": str(outputs.dtype),
        "outputs_shape": list(outputs.shape),
        "core": core,
        "load_us": load_ns / 1e3,
        "first_call_us": first_call_ns / 1e3,
        "memory": {"before_load": before_load, "after_load": after_load},
    }
    decide = (
        None
        if request["decision"] is None
        else decision(numpy, loaded, request["decision"], folder)
    )
    if decide is not None:
        answer["differing_inputs"] = int(
            (decide.inputs(numpy) != inputs).any(axis=tuple(range(1, inputs.ndim))).sum()
        )
    gc.collect()
    gc.disable()
    if request["marked"]:
        mark_calls(loaded, singles[: request["marked"]])
    if request["seconds"]:
        answer.update(timed(request, loaded, singles, decide))
    gc.enable()
    answer["memory"]["peak"] = memory()["highest_bytes"]
    return answer


def timed(request: dict[str, Any], loaded: Any, singles: list[Any], decide: Any) -> dict[str, Any]:
    """Return raw samples of single inferences, or of blocks of them where one is too short for the
    clock, and of whole decisions.
    """
    calls: list[int] = []
    samples: list[int] = []
    decisions: list[int] = []
    end = time.monotonic() + request["warm_up_s"]
    while time.monotonic() < end or len(calls) < 2:
        calls.append(block_ns(loaded, singles[len(calls) % len(singles)], 1))
    typical = sorted(calls[len(calls) // 2 :])[len(calls) // 4]
    per_sample = 1 if typical >= SHORT_CALL_NS else -(-BLOCK_NS // max(typical, 1))
    before, faults = health(Path("/")), major_faults()
    end = time.monotonic() + request["seconds"]
    while len(samples) < request["samples"] and time.monotonic() < end:
        samples.append(block_ns(loaded, singles[len(samples) % len(singles)], per_sample))
    end = time.monotonic() + request["seconds"]
    while decide is not None and len(decisions) < request["samples"] and time.monotonic() < end:
        decisions.append(decide.timed_ns(len(decisions)))
    return {
        "warm_up_calls": len(calls),
        "calls_per_sample": per_sample,
        "samples_us": [round(ns / per_sample / 1e3, 3) for ns in samples],
        "decisions_us": [round(ns / 1e3, 3) for ns in decisions],
        "major_faults": major_faults() - faults,
        "before": before,
        "after": health(Path("/")),
    }


def major_faults() -> int:
    """Return how many pages this process has waited for."""
    import resource  # the host reads this file too, and may have no such module

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def block_ns(loaded: Any, x: Any, count: int) -> int:
    """Return the time of `count` inferences of one input, from input in to output out."""
    put, invoke, get, clock = loaded.put, loaded.invoke, loaded.get, time.perf_counter_ns
    start = clock()
    for _ in range(count):
        put(x)
        invoke()
        get()
    return clock() - start


def infer(loaded: Any, x: Any) -> Any:
    """Return the output of one inference, a copy of its own."""
    loaded.put(x)
    loaded.invoke()
    return loaded.get().copy()


def mark_calls(loaded: Any, singles: list[Any]) -> None:
    """Set marks around each inference, around its `invoke` alone, and around nothing, so that the
    marks' own cost can be taken off.
    """
    nowhere = os.open(os.devnull, os.O_RDONLY)
    put, invoke, get, seek, current = loaded.put, loaded.invoke, loaded.get, os.lseek, os.SEEK_SET
    for _ in range(EMPTY_PAIRS):
        seek(nowhere, MARK | EMPTY_BEGIN, current)
        seek(nowhere, MARK | EMPTY_END, current)
    for x in singles:
        seek(nowhere, MARK | BEGIN, current)
        put(x)
        seek(nowhere, MARK | BEGIN_INVOKE, current)
        invoke()
        seek(nowhere, MARK | END_INVOKE, current)
        get()
        seek(nowhere, MARK | END, current)
    os.close(nowhere)


def load_runtime(name: str) -> tuple[Any, Callable[[Path], Any], str]:
    """Return NumPy, a function that loads a model file, and the runtime's version."""
    try:
        import numpy

        if name == "onnxruntime":
            import onnxruntime  # type: ignore[import-untyped]

            return (
                numpy,
                lambda path: OnnxModel(onnxruntime, path),
                importlib.metadata.version(PACKAGES[name]),
            )
        if name == "litert":
            from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
        else:
            from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found]
        return (
            numpy,
            lambda path: TfliteModel(Interpreter, path),
            importlib.metadata.version(PACKAGES[name]),
        )
    except ImportError as error:
        raise AgentError("missing", f"{PACKAGES[name]} cannot be imported ({error})") from error


class TfliteModel:
    """A `.tflite` in LiteRT or its predecessor, default delegates, one thread."""

    def __init__(self, interpreter: Any, path: Path) -> None:
        try:
            model = interpreter(model_path=str(path), num_threads=1)
            model.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise AgentError("device", f"the runtime cannot load the model: {error}") from error
        self._model, self._source = model, model.get_input_details()[0]["index"]
        self._target = model.get_output_details()[0]["index"]
        self.invoke = model.invoke

    def put(self, x: Any) -> None:
        """Take one input [1, ...]."""
        self._model.set_tensor(self._source, x)

    def get(self) -> Any:
        """Return the output [1, count]."""
        return self._model.get_tensor(self._target)


class OnnxModel:
    """An `.onnx` in ONNX Runtime on the CPU, one thread."""

    def __init__(self, onnxruntime: Any, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the package raises its own classes, one per status code
            raise AgentError("device", f"ONNX Runtime cannot load the model: {error}") from error
        self._source, self._targets = (
            self._session.get_inputs()[0].name,
            [self._session.get_outputs()[0].name],
        )
        self._x: Any = None
        self._y: Any = None

    def put(self, x: Any) -> None:
        """Take one input [1, ...]."""
        self._x = x

    def invoke(self) -> None:
        """Run the session."""
        self._y = self._session.run(self._targets, {self._source: self._x})[0]

    def get(self) -> Any:
        """Return the output [1, count]."""
        return self._y


# ---- a whole decision: quantise the observation, infer, act


def decision(numpy: Any, loaded: Any, request: dict[str, Any], folder: Path) -> Any:
    """Return what turns raw observations into actions, as a controller on this machine would."""
    raw = checked(folder / request["observations"], request["observations_sha256"]).read_bytes()
    return Decision(
        numpy,
        loaded,
        request,
        numpy.frombuffer(raw, request["dtype"]).reshape([-1, *request["shape"]]),
    )


class Decision:
    """Quantise, infer and act, in the order and the float32 arithmetic of the contract."""

    def __init__(self, numpy: Any, loaded: Any, request: dict[str, Any], observations: Any) -> None:
        self._numpy, self._loaded, self._observations = numpy, loaded, observations
        self._pixels, self._action = not request["inv_scale"], request["action"]
        self._inv_scale = numpy.array(request["inv_scale"], numpy.float32)
        self._zero_point = numpy.array(request["zero_point"], numpy.int32)
        self._least, self._most = (
            request["qmin"] - self._zero_point,
            request["qmax"] - self._zero_point,
        )
        self._type = numpy.dtype(request["input_dtype"])
        output = request["output"]
        self._output = (
            None if output is None else (numpy.float32(output["scale"]), output["zero_point"])
        )
        self._low = numpy.array(
            [-numpy.inf if b is None else b for b in self._action["low"]], numpy.float32
        )
        self._high = numpy.array(
            [numpy.inf if b is None else b for b in self._action["high"]], numpy.float32
        )

    def inputs(self, numpy: Any) -> Any:
        """Return the graph's integers for all observations, quantised here."""
        return numpy.concatenate(
            [self.quantise(self._observations[i : i + 1]) for i in range(len(self._observations))]
        )

    def quantise(self, x: Any) -> Any:
        """Return the graph's integers for one observation [1, ...]: half to even, NaN is the zero
        point, clamped.
        """
        numpy = self._numpy
        if self._pixels:
            return (x ^ numpy.uint8(0x80)).view(numpy.int8)
        with numpy.errstate(over="ignore", invalid="ignore"):
            product = numpy.rint(x * self._inv_scale)
        product[numpy.isnan(product)] = 0
        return (
            numpy.clip(product, self._least, self._most).astype(numpy.int32) + self._zero_point
        ).astype(self._type)

    def act(self, y: Any) -> Any:
        """Return the action for one output [1, count]."""
        if self._action["kind"] == "discrete":
            return int(y.argmax()) + int(self._action["start"])
        if self._action["kind"] == "multi_discrete":
            ends = itertools.accumulate(self._action["counts"])
            parts = self._numpy.split(y[0], list(ends)[:-1])
            return [int(part.argmax()) for part in parts]
        numpy = self._numpy
        values = (
            y
            if self._output is None
            else (y.astype(numpy.float32) - numpy.float32(self._output[1])) * self._output[0]
        )
        if self._action["transform"] == "unscale":
            values = self._low + (values + numpy.float32(1)) * (
                (self._high - self._low) * numpy.float32(0.5)
            )
        return numpy.clip(values, self._low, self._high)

    def timed_ns(self, turn: int) -> int:
        """Return the time from one raw observation to its action."""
        x, loaded = self._observations[turn % len(self._observations)][None], self._loaded
        start = time.perf_counter_ns()
        loaded.put(self.quantise(x))
        loaded.invoke()
        self.act(loaded.get())
        return time.perf_counter_ns() - start


# ---- wheels


def install(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Unpack the wheels beside this file into a virtual environment at `request["target"]`, whole
    or not at all.
    """
    target = Path(request["target"]).expanduser()
    scratch = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        import venv

        target.parent.mkdir(parents=True, exist_ok=True)
        venv.EnvBuilder(with_pip=False, symlinks=True).create(scratch)
        packages = packages_folder(scratch)
        for wheel in request["wheels"]:
            with zipfile.ZipFile(checked(folder / wheel["file"], wheel["sha256"])) as archive:
                archive.extractall(packages)  # zipfile keeps names inside the folder
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    use_site(request["target"])
    return {"target": str(target), "runtimes": runtime_versions()}


def use_site(environment: str | None) -> None:
    """Put the packages of a virtual environment of ours before all others, if it is there."""
    if environment is not None:
        packages = packages_folder(Path(environment).expanduser())
        if packages.is_dir():
            sys.path.insert(0, str(packages))


def packages_folder(environment: Path) -> Path:
    """Return where this Python looks for packages in a virtual environment; a folder without one
    holds them itself.
    """
    if (environment / "pyvenv.cfg").is_file():
        return (
            environment
            / "lib"
            / f"python{sys.version_info[0]}.{sys.version_info[1]}"
            / "site-packages"
        )
    return environment


# ---- small readers


def pin() -> int | None:
    """Keep this process on the last core it may use, and return its number."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    return max(cores)


def checked(path: Path, sha256: str) -> Path:
    """Return the path of a file whose content is what was sent."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for part in iter(
            lambda: file.read(CHUNK_BYTES), b""
        ):  # a whole model at once would count as memory at its peak
            digest.update(part)
    found = digest.hexdigest()
    if found != sha256:
        raise AgentError(
            "device", f"{path.name} arrived damaged: SHA-256 {found[:16]}..., sent {sha256[:16]}..."
        )
    return path


def memory() -> dict[str, int | None]:
    """Return this process's memory: resident, its proportional share, swapped out, and the most
    ever resident.
    """
    status, rollup = table(Path("/proc/self/status")), table(Path("/proc/self/smaps_rollup"))
    return {
        "resident_bytes": status.get("VmRSS", 0) * 1024,
        "proportional_bytes": rollup["Pss"] * 1024 if "Pss" in rollup else None,
        "swapped_bytes": status.get("VmSwap", 0) * 1024,
        "highest_bytes": status.get("VmHWM", 0) * 1024,
    }


def table(path: Path) -> dict[str, int]:
    """Return the whole numbers of a file of `name: number` or `name number` lines."""
    found = {}
    for line in (text(path) or "").splitlines():
        parts = line.replace(":", " ").split()
        if len(parts) >= 2 and parts[1].isdigit():
            found[parts[0]] = int(parts[1])
    return found


def text(path: Path) -> str | None:
    """Return what a small file says, None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def number(words: str | None, base: int = 10) -> int | None:
    """Return the whole number the words are, None where they are none."""
    try:
        return int(words or "", base)
    except ValueError:
        return None


def thousand(kilo: int | None) -> int | None:
    """Return a thousand times the number."""
    return None if kilo is None else kilo * 1000


if __name__ == "__main__":
    main()
