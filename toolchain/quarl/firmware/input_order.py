"""The order of a dense layer's inputs in which sums of four int8 products fit int16.

In: weights. Out: for the rows that share an order, which window of 64 inputs comes when, and where
each input of a window goes. firmware_harness/include/ql_kernels_neon.h draws what is done with it;
toolchain/docs/decisions/0013-four-products.md says why.

A search that swaps inputs, the best swap first, and never takes one back soon. It is the same for
the same weights on every machine: all its numbers are integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 64  # inputs that are reordered among themselves
EIGHT = 8  # inputs of a step, in which two quads interleave: 0 2 4 6 and 1 3 5 7
QUAD = 4  # inputs whose products are added in int16
# of the magnitudes of a quad's weights: 255 * 128 < 2^15, whatever the inputs are
MOST = 255
SHARED_ROWS = (512, 256, 128, 64)  # rows that may share an order; the kernel's chunk is the first
SWAPS = 60  # that are tried for a window
# sums of a quad that do not fit at first, of all rows together: with more no order was ever found
MOST_MISFITS = 4
# instructions: what four products save of an input and 64 rows, what an order costs of an input
SAVED, SPENT = 2.0, 0.85
KEPT = 12  # swaps for which one that was made stays


@dataclass(frozen=True, slots=True, eq=False)
class InputOrder:
    """The order of the inputs for some rows, of windows whose quads all fit first."""

    windows: NDArray[np.int16]  # which window of the input
    places: NDArray[np.int8]  # [windows, 64], in it; what stands beyond a shorter window is 0
    fitting: int  # inputs of the windows whose quads all fit, padded to eights

    def columns(self, inputs: int) -> NDArray[np.int64]:
        """Return which input stands at each place of the padded row; `inputs` or more: none."""
        lengths = [_padded_length(inputs, int(window)) for window in self.windows]
        return np.concatenate(
            [
                WINDOW * int(window) + row[:length].astype(np.int64)
                for window, row, length in zip(self.windows, self.places, lengths, strict=True)
            ]
        )


def input_orders(weights: NDArray[np.int8]) -> tuple[int, list[InputOrder]] | None:
    """Return how many rows share an order, and the orders of int8 weights [out, in]; None where it
    would gain nothing.

    The more rows share one the less is reordered on the device; the fewer the more windows fit.
    """
    magnitudes = np.abs(weights.astype(np.int32))
    best: tuple[int, list[InputOrder]] | None = None
    most = 0.0
    for rows in SHARED_ROWS:
        if rows > SHARED_ROWS[-1] and rows >= 2 * len(weights):
            continue
        starts = range(0, len(weights), rows)
        orders = [_order_of(magnitudes[at : at + rows]) for at in starts]
        gain = sum(
            SAVED * order.fitting * min(rows, len(weights) - at) / 64 - SPENT * weights.shape[1]
            for at, order in zip(starts, orders, strict=True)
        )
        if gain > most:
            best, most = (rows, orders), gain
        if all(order.fitting == _padded(weights.shape[1]) for order in orders):
            break
    return best


def _order_of(magnitudes: NDArray[np.int32]) -> InputOrder:
    """Return the order for rows that share it; magnitudes [rows, in]."""
    inputs = magnitudes.shape[1]
    found = [(number, *_arranged(window)) for number, window in enumerate(_windows(magnitudes))]
    found.sort(key=lambda one: (not one[2], one[0]))
    return InputOrder(
        np.array([number for number, _, _ in found], np.int16),
        np.stack([places for _, places, _ in found]),
        sum(_padded_length(inputs, number) for number, _, fits in found if fits),
    )


def _windows(magnitudes: NDArray[np.int32]) -> Iterator[NDArray[np.int32]]:
    """Yield windows [rows, 64 or fewer, padded with zeros to eights]."""
    for at in range(0, magnitudes.shape[1], WINDOW):
        part = magnitudes[:, at : at + WINDOW]
        yield np.pad(part, ((0, 0), (0, _padded(part.shape[1]) - part.shape[1])))


def _arranged(window: NDArray[np.int32]) -> tuple[NDArray[np.int8], bool]:
    """Return int8 [64], where each input lies, and whether all quads fit."""
    count = window.shape[1]
    # neighbours lie in different quads already: quad q holds q, q + quads, q + 2 * quads, ...
    quads = np.arange(count).reshape(QUAD, -1).T.copy()
    fits = _swap_until_fitting(window, quads)
    if not fits:
        quads = np.arange(count).reshape(-1, QUAD, 2).transpose(0, 2, 1).reshape(-1, QUAD)
    places = np.zeros(WINDOW, np.int8)
    places[:count] = quads.reshape(-1, 2, QUAD).transpose(0, 2, 1).ravel()
    return places, fits


def _swap_until_fitting(window: NDArray[np.int32], quads: NDArray[np.int64]) -> bool:
    """Swap inputs between quads [quads, 4] until the sums of all fit; return whether they do."""
    at_first = _excess(window[:, quads].sum(axis=2))
    hopeless = window.sum(axis=1).max() > MOST * len(quads)
    if hopeless or np.count_nonzero(at_first) > MOST_MISFITS * len(quads):
        return False
    excess = at_first.sum(axis=0)
    made: dict[tuple[int, int], int] = {}  # (quad, input) -> until which swap it must not return
    others = len(quads) - 1
    for turn in range(SWAPS):
        if not excess.any():
            return True
        if not others:
            return False
        own = int(excess.argmax())
        rest = np.array([quad for quad in range(len(quads)) if quad != own])
        change = _changes(window, quads, own, rest) - (excess[own] + excess[rest])[None, :, None]
        for (quad, number), until in made.items():
            if until > turn:
                _forbid(change, quads, (own, rest), (quad, number))
        place, other, theirs = np.unravel_index(int(change.argmin()), change.shape)
        quad = int(rest[other])
        first, second = int(quads[own, place]), int(quads[quad, theirs])
        made[own, first] = made[quad, second] = turn + KEPT
        quads[own, place], quads[quad, theirs] = second, first
        for changed in (own, quad):
            excess[changed] = _excess(window[:, quads[changed]].sum(axis=1)).sum()
    return not excess.any()


def _changes(
    window: NDArray[np.int32], quads: NDArray[np.int64], own: int, rest: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return [4, rest, 4]: the excess of both quads after each swap of an input of `own`."""
    sums = window[:, quads].sum(axis=2)
    mine = window[:, quads[own]]  # [rows, 4]
    theirs = window[:, quads[rest]]  # [rows, rest, 4]
    gained = theirs[:, None] - mine[:, :, None, None]
    after_own = _excess(sums[:, own, None, None, None] + gained)
    after_other = _excess(sums[:, rest][:, None, :, None] - gained)
    change: NDArray[np.int64] = (after_own + after_other).sum(axis=0, dtype=np.int64)
    return change


def _forbid(
    change: NDArray[np.int64],
    quads: NDArray[np.int64],
    pair: tuple[int, NDArray[np.int64]],
    move: tuple[int, int],
) -> None:
    """Make swaps that bring an input back to a quad the last choice."""
    (own, rest), (quad, number) = pair, move
    if quad == own:
        change[:, quads[rest] == number] += 1 << 40
    elif number in quads[own]:
        change[quads[own] == number, rest == quad] += 1 << 40


def _excess(sums: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.maximum(sums - MOST, 0)


def _padded(length: int) -> int:
    return -(-length // EIGHT) * EIGHT


def _padded_length(inputs: int, window: int) -> int:
    return _padded(min(WINDOW, inputs - WINDOW * window))
