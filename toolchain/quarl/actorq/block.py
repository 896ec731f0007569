"""The policy as it travels: one flat block of bytes that a learner fills and actors read in place.

In: the lengths of the layers and a precision. Out: a block, NumPy views of its parts, and the
checks that make a block from elsewhere safe to hand to C. Layout and meaning of every field:
firmware_harness/host/ql_actor.h. A block of int8 holds all of a `QuantPolicy` but its contract.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import DeviceError, InputError

Precision: TypeAlias = Literal["int8", "fp16", "fp32"]
Function: TypeAlias = Literal["relu", "tanh"]
Block: TypeAlias = NDArray[np.uint8]

PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")  # by their number in the header
MAGIC, FORMAT = 0x41514C51, 1
OUTPUTS, WIDEST, ALIGNMENT = 64, 8192, 64
REAL, CLAMP, TANH = 0, 1, 2

HEADER = np.dtype(
    [(name, "<u4") for name in ("magic", "format", "precision", "layer_count")]
    + [(name, "<i4") for name in ("obs_len", "out_len")]
    + [(name, "<i8") for name in ("version", "learner_step", "bytes", "inv_scale", "zero_point")]
    + [("digest", "u1", 32)]
)
LAYER = np.dtype(
    [(name, "<i4") for name in ("in_len", "in_padded", "out_len", "out_padded", "kind")]
    + [(name, "<i4") for name in ("zero_point", "qmin", "qmax")]
    + [("out_scale", "<f4"), ("out_zero_point", "<i4"), ("sum_scale", "<f4"), ("reserved", "<i4")]
    + [(name, "<i8") for name in ("weights", "bias", "multiplier", "step", "table")]
)
DIGESTED_FROM = HEADER.itemsize  # the digest stands at the end of the header


@dataclass(frozen=True, slots=True)
class NetShape:
    """A chain of dense layers: lengths[0] observations, hidden layers, lengths[-1] outputs."""

    lengths: tuple[int, ...]
    hidden: Function
    squashed: bool  # whether the outputs pass tanh, as continuous actions do

    def __post_init__(self) -> None:
        if len(self.lengths) < 2 or not all(1 <= length <= WIDEST for length in self.lengths):
            raise InputError(
                f"a network of lengths {self.lengths}: at least one layer, each length from 1 "
                f"to {WIDEST}"
            )

    @property
    def kinds(self) -> tuple[int, ...]:
        """What each layer does with its sums."""
        hidden = CLAMP if self.hidden == "relu" else TANH
        return (*(hidden,) * (len(self.lengths) - 2), TANH if self.squashed else REAL)


def new_block(shape: NetShape, precision: Precision) -> Block:
    """Return a block of zeros, aligned to 64 bytes, with header and layers filled in."""
    at = _up(HEADER.itemsize + LAYER.itemsize * len(shape.kinds), ALIGNMENT)

    def take(count: int) -> int:
        nonlocal at
        here, at = at, _up(at + count, ALIGNMENT)
        return here

    is_int8 = precision == "int8"
    scales = (take(4 * shape.lengths[0]), take(4 * shape.lengths[0])) if is_int8 else (0, 0)
    rows = np.zeros(len(shape.kinds), LAYER)
    for index, (width, count) in enumerate(pairwise(shape.lengths)):
        inputs, outputs = _up(width, 4), _up(count, OUTPUTS)
        weights = take(inputs * outputs * {"int8": 1, "fp16": 2, "fp32": 4}[precision])
        places = (take(4 * outputs), take(4 * outputs), take(256)) if is_int8 else (0, 0, 0)
        numbers = (width, inputs, count, outputs, shape.kinds[index], -128, -128, 127, 1, 0, 1, 0)
        rows[index] = (*numbers, weights, take(4 * outputs), *places)
    raw = np.zeros(at + ALIGNMENT, np.uint8)
    block = raw[-raw.ctypes.data % ALIGNMENT :][:at]
    kind = (MAGIC, FORMAT, PRECISIONS.index(precision), len(rows))
    ends = (shape.lengths[0], shape.lengths[-1])
    header_of(block)[0] = (*kind, *ends, 0, 0, at, *scales, np.zeros(32, np.uint8))
    layers_of(block)[:] = rows
    return block


def header_of(block: Block) -> NDArray[Any]:
    """Return a view [1] of the header."""
    return block[: HEADER.itemsize].view(HEADER)


def layers_of(block: Block) -> NDArray[Any]:
    """Return a view [layers] of the layers."""
    count = int(header_of(block)["layer_count"][0])
    return block[HEADER.itemsize :][: LAYER.itemsize * count].view(LAYER)


def part(block: Block, at: int, dtype: Any, count: int) -> NDArray[Any]:
    """Return a view [count] of an array of the block."""
    return block[at : at + count * np.dtype(dtype).itemsize].view(dtype)


def seal(block: Block, version: int, learner_step: int) -> str:
    """Write version, learner step and digest into the header; return the digest."""
    header = header_of(block)
    header["version"], header["learner_step"] = version, learner_step
    digest = hashlib.sha256(block[DIGESTED_FROM:].data)
    header["digest"] = np.frombuffer(digest.digest(), np.uint8)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Label:
    """What a block says of itself."""

    precision: Precision
    version: int  # counts publications
    learner_step: int
    digest: str


def label_of(block: Block) -> Label:
    """Return what a checked block says of itself."""
    header = header_of(block)[0]
    return Label(
        PRECISIONS[int(header["precision"])],
        int(header["version"]),
        int(header["learner_step"]),
        header["digest"].tobytes().hex(),
    )


def check_block(block: Block) -> None:
    """Check what the C code trusts: sizes, kinds, and that every array lies inside the block.

    Raises:
        DeviceError: the bytes are not a policy, of another format, or cut short.
    """
    if block.nbytes < HEADER.itemsize:
        raise DeviceError(f"a policy of {block.nbytes} bytes is shorter than its header")
    magic, form, precision, count, *lengths = header_of(block)[0].tolist()
    obs_len, out_len, _, _, size, inv_scale, zero_point, _ = lengths
    if magic != MAGIC or form != FORMAT or precision >= len(PRECISIONS):
        raise DeviceError(
            f"not a policy of format {FORMAT} (magic {magic:#x}, format {form}, precision "
            f"{precision}): learner and actors must run the same quarl"
        )
    first = HEADER.itemsize + LAYER.itemsize * count
    if size != block.nbytes or count < 1 or first > size:
        raise DeviceError(f"a policy of {size} bytes came as {block.nbytes}: send it again")
    is_int8, width = PRECISIONS[precision] == "int8", obs_len
    spans = [(inv_scale, 4 * obs_len), (zero_point, 4 * obs_len)] if is_int8 else []
    for row in layers_of(block).tolist():
        in_len, in_padded, made, out_padded, kind = row[:5]
        weights, bias, multiplier, step, table = row[12:]
        fits = in_padded == _up(in_len, 4) and out_padded == _up(made, OUTPUTS)
        if (
            in_len != width
            or not fits
            or max(in_padded, out_padded) > WIDEST
            or min(in_len, made) < 1
        ):
            raise DeviceError(f"a layer {in_len} -> {made} does not follow {width} values")
        if kind not in (REAL, CLAMP, TANH):
            raise DeviceError(f"a layer of unknown kind {kind}")
        spans += [(weights, in_padded * out_padded * (1, 2, 4)[precision]), (bias, 4 * out_padded)]
        if is_int8:
            spans += [(multiplier, 4 * out_padded), (step, 4 * out_padded), (table, 256)]
        width = made
    if width != out_len or any(at < first or at % 4 or at + length > size for at, length in spans):
        raise DeviceError("a policy whose arrays lie outside of it: send it again")


def check_digest(block: Block) -> None:
    """Check that a block is what its learner sealed.

    Raises:
        DeviceError: it is not.
    """
    found, sealed = hashlib.sha256(block[DIGESTED_FROM:].data).hexdigest(), label_of(block).digest
    if found != sealed:
        raise DeviceError(f"a policy has digest {found[:12]}, its header says {sealed[:12]}")


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
