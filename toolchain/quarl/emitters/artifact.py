"""Opens an artifact of a bundle in its runtime: here where quarl wrote it, apart where not.

In: a bundle's integers, a runtime's name, the artifact's bytes. Out: a `Runtime`. Bytes that are
not those which this quarl writes of the integers are a stranger's: they run in a process with
bounded memory and time (`quarl.runtimes.apart`).
"""

from __future__ import annotations

from functools import lru_cache

from quarl.emitters import EMITTERS
from quarl.errors import QuarlError
from quarl.graph.quant_policy import QuantPolicy
from quarl.runtimes.apart import RuntimeApart
from quarl.runtimes.host import FILE_FORMAT, Runtime, open_runtime


def open_artifact(policy: QuantPolicy, name: str, model: bytes) -> Runtime:
    """Return the model loaded by the runtime of that name.

    Raises:
        InputError: the runtime refuses a model that is not quarl's, or does not survive it.
        DeviceError: the runtime refuses a model that is.
    """
    if _written(policy, FILE_FORMAT[name]) == model:
        return open_runtime(name, model)
    return RuntimeApart(name, model)


@lru_cache(maxsize=4)
def _written(policy: QuantPolicy, file_format: str) -> bytes | None:
    """Return what this quarl writes of the integers, None where it would not write them."""
    try:
        return EMITTERS[file_format](policy)
    except QuarlError:
        return None
