"""A block from elsewhere is checked before C reads it."""

from __future__ import annotations

import numpy as np
import pytest

from quarl.actorq.block import (
    HEADER,
    PRECISIONS,
    NetShape,
    check_block,
    check_digest,
    header_of,
    layers_of,
    new_block,
    seal,
)
from quarl.actorq.kernel import load_kernel
from quarl.actorq.players import KernelPlayer
from quarl.errors import DeviceError, InputError
from tests.conftest import need

SHAPE = NetShape((5, 70, 3), "tanh", True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_new_block_is_aligned_and_passes(precision: str) -> None:
    block = new_block(SHAPE, precision)  # type: ignore[arg-type]
    assert block.ctypes.data % 64 == 0
    check_block(block)


@pytest.mark.parametrize("length", [0, 40, HEADER.itemsize, 300, -1])
def test_a_block_cut_short_is_refused(length: int) -> None:
    with pytest.raises(DeviceError):
        check_block(new_block(SHAPE, "int8")[:length])


def test_a_changed_byte_breaks_the_digest() -> None:
    block = new_block(SHAPE, "int8")
    seal(block, 1, 1)
    check_digest(block)
    block[-200] ^= 1
    with pytest.raises(DeviceError, match="digest"):
        check_digest(block)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("in_len", 6),
        ("out_len", 0),
        ("out_padded", 64),
        ("in_padded", 4),
        ("kind", 3),
        ("weights", -64),
        ("weights", 2**40),
        ("bias", 3),
        ("table", 2**33),
    ],
)
def test_a_layer_that_reaches_outside_is_refused(field: str, value: int) -> None:
    block = new_block(SHAPE, "int8")
    layers_of(block)[0][field] = value
    with pytest.raises(DeviceError):
        check_block(block)


def test_no_change_of_header_and_layers_can_crash_the_kernel() -> None:
    """Whatever passes the check is run: a wrong check would end this process."""
    need("ziglang")
    load_kernel()
    rng = np.random.default_rng(0)
    whole = new_block(SHAPE, "int8")
    end = HEADER.itemsize + layers_of(whole).nbytes
    obs = np.zeros((1, 5), np.float32)
    player = KernelPlayer(whole)
    passed = 0
    for _ in range(3000):
        block = whole.copy()
        places = rng.integers(0, end, rng.integers(1, 3))
        block[places] = rng.integers(0, 256, len(places))
        try:
            player.load(block)
        except (DeviceError, InputError):
            continue
        player(obs)
        passed += 1
    assert passed > 0
    assert int(header_of(whole)["bytes"][0]) == whole.nbytes


@pytest.mark.parametrize("lengths", [(4,), (0, 3), (4, 9000, 2)])
def test_lengths_that_do_not_fit_are_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="a network of lengths"):
        NetShape(lengths, "relu", False)
