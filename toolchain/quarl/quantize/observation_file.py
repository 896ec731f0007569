"""Files of observations: `.npz` with `obs`, one array as `.npy`, or a table as `.csv`.

In: a path; the kind is told by its content. Out: observations [n, ...] and the episode each came
from, where the file says it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.npz import FRAMES_RATIO, parse_npy, read_npz
from quarl.files.open import open_file, read_file

NPY_MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK"
MOST_CSV_BYTES = 1 << 28
EPISODE = "episode"
KINDS = "an .npz with an array `obs`, an .npy, or a .csv with one row per observation"
Observed = tuple[NDArray[Any], NDArray[Any] | None]  # observations [n, ...], episodes [n]


def read_observation_file(path: Path, names: tuple[str, ...] = ()) -> Observed:
    """Return the observations in a file, and their episodes or None.

    A `.csv` may begin with a row of names. A column `episode` tells the episode; where the other
    names are those of the contract, they are put into its order.

    Args:
        names: of the contract's features.
    Raises:
        InputError: no such file, of another kind, or damaged.
        UntrustedFileError: it asks to be unpickled, or claims too much memory.
    """
    with open_file(path) as file:
        head = file.read(64)
    if head.startswith(ZIP_MAGIC):
        return _from_npz(path)
    if head.startswith(NPY_MAGIC):
        return parse_npy(read_file(path), str(path)), None
    if head and b"\0" not in head:
        return _from_csv(path, names)
    raise InputError(f"{path}: is no file of observations: give {KINDS}")


def _from_npz(path: Path) -> Observed:
    arrays = read_npz(path, max_ratio=FRAMES_RATIO)
    if "obs" not in arrays:
        raise InputError(f"{path}: holds {', '.join(sorted(arrays))}, needs an array `obs`")
    return arrays["obs"], arrays.get(EPISODE)


def _from_csv(path: Path, names: tuple[str, ...]) -> Observed:
    try:
        lines = read_file(path, MOST_CSV_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text: give {KINDS}") from error
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InputError(f"{path}: has no rows: give {KINDS}")
    split = ";" if ";" in rows[0][1] else "\t" if "\t" in rows[0][1] else ","
    header = [word.strip().strip('"') for word in rows[0][1].split(split)]
    if all(_is_number(word) for word in header):
        header = []
    body = rows[1:] if header else rows
    width = len(header) or len(rows[0][1].split(split))
    if len(body) * width > sum(len(line) for _, line in body):  # each takes a character at least
        raise InputError(
            f"{path}: {len(body):,} rows are too short for {width:,} numbers each: record the "
            "observations again"
        )
    table = np.empty((len(body), width))
    for place, (number, line) in enumerate(body):
        try:
            table[place] = [float(word) for word in line.split(split)]
        except ValueError as error:
            raise InputError(
                f"{path}: line {number} is not {width} numbers ({line[:60]!r}): record the "
                "observations again"
            ) from error
    episode = None
    if EPISODE in header:
        place = header.index(EPISODE)
        episode = table[:, place].astype(np.int64)
        table = np.delete(table, place, axis=1)
        header.remove(EPISODE)
    if header and sorted(header) == sorted(names) and len(set(names)) == len(names):
        table = table[:, [header.index(name) for name in names]]
    return table.astype(np.float32), episode


def _is_number(word: str) -> bool:
    return (
        re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", word.lower())
        is not None
    )
