"""Ray for the time of a run: started here, or joined where an address is given.

In: None or an address. Out: a connection that ends with the `with` block. What Ray says when it
cannot do a thing becomes one message.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quarl.errors import DeviceError, InputError, ToolMissingError

LOCAL, AUTO = "local", "auto"
JOIN_TIMEOUT_S = 10
ATTEMPTS = 3


def require_ray() -> Any:
    """Return the module.

    Raises:
        ToolMissingError: it is not installed; names the extra.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ToolMissingError(
            "ray is not installed: pip install 'quarl[ray]' brings it"
        ) from error
    return ray


@contextmanager
def cluster(address: str, processors: int) -> Iterator[str]:
    """Start Ray on this machine, or join the cluster at an address; give the id of this node.

    Args:
        processors: that the run's processes need, all together.
    Raises:
        ToolMissingError: Ray is not installed.
        InputError: the address does not answer, or the cluster is too small.
    """
    ray = require_ray()
    if ray.is_initialized():  # a test or a notebook has connected before
        _check_size(ray, processors)
        yield str(ray.get_runtime_context().get_node_id())
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        count = max(processors, os.cpu_count() or 1)
        _start(ray, {"num_cpus": count, "include_dashboard": False, **quiet})
    else:
        _check_address(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _unanswered(address, str(error)) from error
    try:
        _check_size(ray, processors)
        yield str(ray.get_runtime_context().get_node_id())
    finally:
        ray.shutdown()


def _start(ray: Any, options: dict[str, Any]) -> None:
    """Start Ray here; on a busy machine its 30 s may not be enough for the first time."""
    for attempt in range(ATTEMPTS):
        try:
            ray.init(address="local", **options)
            return
        except Exception as error:  # Ray raises bare ones
            ray.shutdown()
            if attempt == ATTEMPTS - 1:
                reason = str(error).partition("\n")[0]
                raise DeviceError(f"Ray did not start, tried {ATTEMPTS} times: {reason}") from error


def _check_address(address: str) -> None:
    """Check that something listens there: Ray itself would try for minutes.

    Raises:
        InputError: nothing does, or it is not HOST:PORT.
    """
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(
            f"--ray {address}: must be {LOCAL}, {AUTO} (the cluster this machine is part of) or "
            "HOST:PORT of its head, as `ray start --head` prints it"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), JOIN_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise _unanswered(address, str(error)) from error


def _unanswered(address: str, reason: str) -> InputError:
    return InputError(
        f"--ray {address}: no Ray cluster answers there ({reason.partition(chr(10))[0]}). Start "
        "one with `ray start --head`, or omit --ray"
    )


def _check_size(ray: Any, processors: int) -> None:
    found = int(ray.cluster_resources().get("CPU", 0))
    if found < processors:
        raise InputError(
            f"the Ray cluster has {found} processors, the run needs {processors} (one for the "
            "learner, one for each actor): use fewer actors, or add nodes"
        )


def message_of(error: BaseException) -> DeviceError | InputError:
    """Return what a failure of a process means for the user."""
    ray = require_ray()
    cause = getattr(error, "cause", None)
    if isinstance(cause, InputError | DeviceError):
        return cause
    if isinstance(error, InputError | DeviceError):
        return error
    storage = (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError)
    if isinstance(error, storage) or isinstance(cause, storage):
        return DeviceError(
            "the object store of Ray is full: use fewer or narrower policies, a larger "
            "pull period, or more memory in /dev/shm"
        )
    if isinstance(error, ray.exceptions.RayActorError):
        return DeviceError(
            "a process of the run died more often than the recipe allows; it may have been "
            "killed, or "
            f"out of memory ({type(error).__name__}). --resume goes on from the checkpoint"
        )
    reason = str(cause or error).strip().partition("\n")[0]
    return DeviceError(f"a process of the run failed: {type(cause or error).__name__}: {reason}")
