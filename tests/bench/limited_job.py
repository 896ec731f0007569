"""Times a .tflite whose weights stay in the file: LiteRT's built-in kernels read them where the
file is mapped into memory.

python -m tests.bench.limited_job MODEL.tflite CONTROL_GROUP

CONTROL_GROUP is empty, or a folder whose memory limit is to hold.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

CALLS = 12


def main() -> None:
    model, group = sys.argv[1:]
    if group:
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    with Path(model).open(
        "rb"
    ) as file:  # what the cache already holds is on another group's account
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # type: ignore[import-untyped]

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_path=model, num_threads=1, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    interpreter.set_tensor(source["index"], np.zeros(source["shape"], source["dtype"]))
    interpreter.invoke()
    before = bytes_from_disk()
    samples = []
    for _ in range(CALLS):
        began = time.perf_counter()
        interpreter.invoke()
        samples.append((time.perf_counter() - began) * 1e6)
    read = bytes_from_disk() - before
    print(
        json.dumps(
            {
                "median_us": median(samples),
                "samples_us": samples,
                "bytes_from_disk_per_call": read / CALLS,
            }
        )
    )


def bytes_from_disk() -> int:
    """Return what this process has made the kernel read from disk so far."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes:"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
