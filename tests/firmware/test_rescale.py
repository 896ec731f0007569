"""The C forms of the rescale rule beside NumPy, on accumulators solved to lie next to rounding
ties.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.graph.rescale import rescale
from quarl.resources import firmware_dir
from quarl.tools import run
from tests.conftest import need
from tests.support.host_build import FLAGS, TIMEOUT_S

COUNT = 300_000


class Range(ctypes.Structure):
    """ql_range"""

    _fields_ = [
        ("multiplier", ctypes.c_void_p),
        ("zero_point", ctypes.c_int32),
        ("qmin", ctypes.c_int32),
        ("qmax", ctypes.c_int32),
    ]


def adversarial(
    rng: np.random.Generator, bound: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return accumulators and multipliers whose products lie within a few units in the last place
    of k + 1/2, |acc| up to `bound`.
    """
    multiplier = np.exp2(rng.uniform(-26, 1, COUNT)).astype(np.float32)
    short = (np.round(multiplier * np.float32(2**20) / 2**10) * 2**-10).astype(np.float32)
    multiplier = np.where((rng.random(COUNT) < 0.3) & (short > 0), short, multiplier)
    multiplier = np.where(
        rng.random(COUNT) < 0.1, np.exp2(np.round(np.log2(multiplier))), multiplier
    ).astype(np.float32)
    target = rng.integers(-300, 300, COUNT) + 0.5
    near = np.round(target / multiplier.astype(np.float64)) + rng.integers(-2, 3, COUNT)
    far = rng.uniform(-bound, bound, COUNT)
    acc = np.clip(np.where(rng.random(COUNT) < 0.8, near, far), -bound, bound)
    limit = (2**22 - 1) / multiplier.astype(np.float64)
    return np.clip(acc, -limit, limit).astype(np.int32), multiplier


@pytest.fixture(scope="module", params=["magic", "integer"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    need("gcc")
    root = firmware_dir()
    names = ("ql_store_s8", "ql_store_s16", "ql_round_product", "ql_round_product_wide")
    out = tmp_path_factory.mktemp("rescale") / "rescale.so"
    define = ["-DQL_RESCALE_INTEGER=1"] if request.param == "integer" else []
    sources = [root / "kernels" / f"{name}.c" for name in names]
    done = run(
        ["gcc", *FLAGS, "-O2", *define, f"-I{root / 'include'}", "-shared", *sources, "-o", out],
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr.decode()
    return ctypes.CDLL(str(out))


@pytest.mark.parametrize(
    ("store", "dtype", "bound", "qmin", "qmax"),
    [
        ("ql_store_s8", np.int8, 2**31 - 1, -128, 127),
        ("ql_store_s8", np.int8, 2**31 - 1, -20, 99),
        ("ql_store_s16", np.int16, 2**24 - 1, -2048, 2047),
        ("ql_store_s16", np.int16, 2**24 - 1, -32768, 32767),
    ],
)
def test_every_form_rounds_like_the_reference(
    library: Any, store: str, dtype: Any, bound: int, qmin: int, qmax: int
) -> None:
    for zero_point in (qmin, -3, 5):
        acc, multiplier = adversarial(np.random.default_rng(zero_point & 0xFF), bound)
        product = acc.astype(np.float32) * multiplier
        assert (np.abs(np.abs(product - np.floor(product)) - 0.5) < 1e-3).mean() > 0.2
        out = np.zeros(COUNT, dtype)
        described = Range(multiplier.ctypes.data, zero_point, qmin, qmax)
        library[store](
            ctypes.byref(described),
            0,
            COUNT,
            acc.ctypes.data_as(ctypes.c_void_p),
            out.ctypes.data_as(ctypes.c_void_p),
        )
        np.testing.assert_array_equal(
            out, rescale(acc, multiplier, zero_point, qmin, qmax).astype(dtype)
        )
