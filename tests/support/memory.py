"""What a call takes of memory, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection

from quarl.errors import QuarlError
from quarl.runtimes.worker import memory_bytes


def _child(call: Callable[[], object], answers: Connection, most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    try:
        call()
        said = ""
    except QuarlError as error:
        said = str(error)
    except BaseException as error:
        said = f"a defect: {type(error).__name__}: {error}"
    answers.send((said, memory_bytes("VmHWM")))  # getrusage would count the parent's as well


def refusal(call: Callable[[], object], most_bytes: int = 6 << 30) -> tuple[str, int]:
    """Return the message with which quarl refused, empty where it did not, and the peak memory of
    the process in bytes. Anything but one of quarl's own errors begins with "a defect".
    """
    context = multiprocessing.get_context("spawn")
    answers, sends = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(call, sends, most_bytes))
    child.start()
    sends.close()
    try:
        said: tuple[str, int] = answers.recv()
    except EOFError:
        child.join()
        said = (f"a defect: the process ended with {child.exitcode}", 0)
    child.join()
    return said
