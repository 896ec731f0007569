"""The C types that tensors of a policy have, and what they are to NumPy."""

from __future__ import annotations

from typing import Literal

import numpy as np

CType = Literal["int8_t", "int16_t", "int32_t", "float"]
SIZES: dict[CType, int] = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}
DTYPES: dict[CType, type[np.generic]] = {
    "int8_t": np.int8,
    "int16_t": np.int16,
    "int32_t": np.int32,
    "float": np.float32,
}
LETTERS: dict[CType, str] = {"int8_t": "s8", "int16_t": "s16", "float": "f32"}


def ctype_of(dtype: type[np.generic]) -> CType:
    """Return the C type of an artifact's output type."""
    types: dict[type[np.generic], CType] = {
        np.int8: "int8_t",
        np.int16: "int16_t",
        np.float32: "float",
    }
    return types[dtype]
