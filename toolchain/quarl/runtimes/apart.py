"""A model of a stranger, run in a process of its own: what it does to the runtime stays there.

In: a runtime's name and a model's bytes. Out: a `Runtime` whose every answer was checked. The
process has bounded memory and time; a fault, an endless loop or an exception of the runtime becomes
one error that names the model.

Blocks: b"runtime\\0" and the model, then inputs as `.npy`. Answers: b"+" and an `.npy`, or b"-" and
words.
"""

from __future__ import annotations

import io
import os
import signal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import DeviceError, InputError
from quarl.runtimes.host import FILE_FORMAT, Runtime, open_runtime, preload
from quarl.runtimes.worker import limit_memory
from quarl.tools import ONE_THREAD, Blocks, own_module, read_block, write_block

TIMEOUT_S = 60  # of one call: loading a model, or CHUNK rows
CHUNK = 256  # rows that are sent at once
REMEDY = "it was changed, or is not what its runtime takes: export it again"


class RuntimeApart:
    """One model, loaded in a process that ends with this value. Not for use by two threads at
    once.

    Raises:
        InputError: the runtime refuses the model, or does not survive it.
    """

    def __init__(self, name: str, model: bytes, where: str | None = None) -> None:
        self._where = where or f"model.{FILE_FORMAT[name]}"
        argv = own_module("quarl.runtimes.apart")
        self._process = Blocks(argv, timeout=TIMEOUT_S, env=ONE_THREAD)
        self._ask(name.encode() + b"\0" + model)

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] for inputs [n, ...] of the model's own type.

        Raises:
            InputError: as the class; or the answer is not one row of integers for each input.
        """
        starts = range(0, max(1, len(inputs)), CHUNK)
        return np.concatenate([self.infer(inputs[at : at + CHUNK]) for at in starts])

    def infer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of one part; errors as `run`."""
        block = io.BytesIO()
        np.lib.format.write_array(block, np.ascontiguousarray(inputs), allow_pickle=False)
        answer = io.BytesIO(self._ask(block.getvalue()))
        outputs = np.lib.format.read_array(answer, allow_pickle=False)
        if outputs.ndim < 1 or len(outputs) != len(inputs) or outputs.dtype.kind not in "biuf":
            raise InputError(
                f"{self._where}: answers {len(inputs)} inputs with {outputs.dtype} "
                f"{outputs.shape}, one row for each is needed: {REMEDY}"
            )
        return outputs

    def _ask(self, block: bytes) -> bytes:
        try:
            answer = self._process.ask(block)
        except DeviceError as error:
            raise InputError(f"{self._where}: could not be run ({error}): {REMEDY}") from error
        if answer[:1] != b"+":
            words = answer[1:].decode("utf-8", "replace")
            raise InputError(f"{self._where}: {words}: {REMEDY}")
        return answer[1:]


def main() -> None:
    """Answer blocks until standard input ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a runtime prints must not look like an answer
    runtime: Runtime | None = None
    while True:
        try:
            block = read_block(0)
        except EOFError:
            return
        signal.alarm(TIMEOUT_S)  # also where nobody is left who would end this process
        try:
            if runtime is None:
                name, _, model = block.partition(b"\0")
                runtime, answer = _load(name.decode(), model), b""
            else:
                answer = _infer(runtime, block)
            said = b"+" + answer
        except Exception as error:  # whatever a runtime makes of a stranger's model
            is_own = isinstance(error, DeviceError)
            kind = "" if is_own else f"{type(error).__name__}: "
            said = b"-" + f"{kind}{error}".partition("\n")[0][:400].encode("utf-8", "replace")
        signal.alarm(0)
        write_block(answers, said)


def _load(name: str, model: bytes) -> Runtime:
    preload(name)
    limit_memory(len(model))
    return open_runtime(name, model)


def _infer(runtime: Runtime, block: bytes) -> bytes:
    inputs = np.lib.format.read_array(io.BytesIO(block), allow_pickle=False)
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(runtime.run(inputs)), allow_pickle=False)
    return out.getvalue()
