"""Changes files of a known format: what is written again is a file of the format, with one field
that says something else. In: a good file. Out: the bytes of a bad one.
"""

from __future__ import annotations

import io
import json
import pickletools
import random
import sqlite3
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.fuzz.mutate import (
    NUMBERS,
    TEXTS,
    WORDS,
    Mutator,
    changed_json,
    damaged,
    other_text,
)
from tests.support.bombs import zip_bytes

DTYPES = (
    "<f4", ">f4", "<f8", "<f2", "<i1", "|u1", "<i4", "<i8", "|b1", "<c8", "<U4", "|S3", "|O",
    "<M8[s]",
    "[('a', '<f4')]", "|V4",
)  # fmt: skip


def zip_changer(members: Mapping[str, Mutator]) -> Mutator:
    """Return a mutator of zips, given how members are changed by the end of their names."""

    def change(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.1:
            return damaged(data, rng)
        return zip_of(_other_files(data, members, rng), rng)

    return change


def folder_changer(members: Mapping[str, Mutator]) -> Mutator:
    """Return a mutator of folders, which are held as zips: the zip itself stays whole."""

    def change(data: bytes, rng: random.Random) -> bytes:
        return zip_bytes(dict(_other_files(data, members, rng)))

    return change


def _other_files(
    data: bytes, members: Mapping[str, Mutator], rng: random.Random
) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [(name, archive.read(name)) for name in archive.namelist()]
    known = [at for at, (name, _) in enumerate(files) if name.endswith(tuple(members))]
    for _ in range(rng.choice((1, 1, 1, 2))):
        # bytes of no known form are mostly checked by a sum: their readers see the others more
        at = rng.choice(known) if known and rng.random() < 0.6 else rng.randrange(len(files))
        at = min(at, len(files) - 1)
        name, content = files[at]
        match rng.randrange(20):
            case 0:
                del files[at]
                files = files or [("empty", b"")]
            case 1:
                files[at] = (_file_name(name, rng), content)
            case 2:
                files.append((name, rng.choice(files)[1]))
            case 3:
                files[at] = (name, rng.choice(files)[1])
            case _:
                how = [m for end, m in members.items() if name.endswith(end)]
                files[at] = (name, _changed(rng.choice((*how, *how, *how, damaged)), content, rng))
    return files


def _changed(mutator: Mutator, content: bytes, rng: random.Random) -> bytes:
    try:
        return mutator(content, rng)
    except Exception:  # a second change met what the first had made of the file
        return damaged(content, rng)


def _file_name(name: str, rng: random.Random) -> str:
    return other_text(name, rng).encode("utf-8", "replace").decode().replace("\0", "") or "x"


def zip_of(files: list[tuple[str, bytes]], rng: random.Random) -> bytes:
    """Return a zip of files in any form of storing; names may come twice or be no text."""
    out = io.BytesIO()
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", kind) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that comes twice
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.compress_type = kind
            archive.writestr(info, content)
    data = bytearray(out.getvalue())
    if rng.random() < 0.1:  # a field of the directory or of a local header
        magic = rng.choice((b"PK\1\2", b"PK\3\4", b"PK\5\6"))
        at = data.find(magic)
        if at >= 0:
            place = at + rng.randrange(4, 46) & ~1
            data[place : place + 2] = struct.pack("<H", rng.choice(WORDS) & 0xFFFF)
    return bytes(data)


def changed_npy(data: bytes, rng: random.Random) -> bytes:
    """Return another array: its header, its numbers, or both."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:  # it was changed before
        return damaged(data, rng)
    match rng.randrange(5):
        case 0:
            return damaged(data, rng)
        case 1:
            return npy_bytes(array.tobytes(), str(array.dtype.str), _other_shape(array.shape, rng))
        case 2:
            return npy_bytes(array.tobytes(), rng.choice(DTYPES), array.shape)
        case 3 if array.size and array.dtype.kind in "fiu":
            flat = array.copy().reshape(-1)
            with np.errstate(all="ignore"):
                for _ in range(rng.choice((1, 1, 5, flat.size))):
                    flat[rng.randrange(flat.size)] = as_number(rng, array.dtype)
            return npy_bytes(flat.tobytes(), array.dtype.str, array.shape)
        case _:
            cut = array[: rng.randint(0, len(array))] if array.ndim else array.reshape(1)
            if rng.random() < 0.3:
                cut = np.repeat(cut, rng.choice((2, 50)), axis=0)
            return npy_bytes(cut.tobytes(), array.dtype.str, cut.shape)


def as_number(rng: random.Random, dtype: np.dtype[Any]) -> Any:
    """Return a number of the type, mostly one at an edge of it."""
    if dtype.kind == "f":
        return np.float64(rng.choice([n for n in NUMBERS if abs(n) < 1e308 or n != n]))
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return rng.choice((low, high, 0, 1, rng.randint(int(low), int(high))))


def _other_shape(shape: tuple[int, ...], rng: random.Random) -> tuple[Any, ...]:
    lengths: list[Any] = list(shape) or [1]
    match rng.randrange(5):
        case 0:
            lengths = lengths[::-1]
        case 1:
            lengths = [int(np.prod(shape))]
        case 2:
            lengths.append(1)
        case 3:
            lengths = []
        case _:
            lengths[rng.randrange(len(lengths))] = rng.choice(
                (0, -1, 1, 1 << 31, 1 << 62, 1 << 70, True, "x", 2.0)
            )
    return tuple(lengths)


def npy_bytes(raw: bytes, descr: str, shape: tuple[Any, ...]) -> bytes:
    """Return an `.npy` whose header says anything."""
    written = descr if descr.startswith("[") else repr(descr)
    text = f"{{'descr': {written}, 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + raw


def changed_document_npy(data: bytes, rng: random.Random) -> bytes:
    """Return the array of bytes that holds a JSON document, with another document in it."""
    document = changed_json(np.load(io.BytesIO(data), allow_pickle=False).tobytes(), rng)
    return npy_bytes(document, "|u1", (len(document),))


def changed_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Return another file of tensors: its header, its numbers, or how long it says they are."""
    if rng.random() < 0.2:
        return damaged(data, rng)
    length = int.from_bytes(data[:8], "little")
    header = changed_json(data[8 : 8 + length], rng)
    said = len(header) if rng.random() < 0.9 else rng.choice((*WORDS, 1 << 63))
    return said.to_bytes(8, "little") + header + data[8 + length :]


def changed_pickle(data: bytes, rng: random.Random) -> bytes:
    """Return another program for the unpickler: opcodes moved, doubled, removed, arguments changed,
    and now and then a call of something that must never be called.
    """
    if rng.random() < 0.15:
        return damaged(data, rng)
    starts = [at for _, _, at in pickletools.genops(data) if at is not None]
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(parts))
        match rng.randrange(7):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, rng.choice(parts))
            case 2:
                parts[at] = rng.choice(parts)
            case 3:
                call = rng.choice((b"cos\nsystem\n", b"cbuiltins\neval\n", b"csubprocess\nPopen\n"))
                parts.insert(at, call + rng.choice((b"", b"(X\4\0\0\0trueR", b"(U\4trueR", b")R")))
            case 4:
                number = rng.choice(WORDS)
                parts.insert(at, b"J" + struct.pack("<I", number))
            case _:
                parts[at] = damaged(parts[at], rng) if len(parts[at]) > 1 else rng.randbytes(1)
        parts = parts or [b"."]
    return b"".join(parts)


def changed_database(data: bytes, rng: random.Random) -> bytes:
    """Return another SQLite file: cells of any kind in any column, tables changed, bytes."""
    if rng.random() < 0.3:
        return damaged(data, rng)
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.deserialize(data)
    values = (
        None, b"\xff\xfe", 1 << 62, -1, 0, 0.5, 1e308, float("inf"), *TEXTS[:10], b"x" * 50_000,
    )  # fmt: skip
    try:
        for _ in range(rng.choice((1, 1, 2, 4))):
            tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master")]
            table = rng.choice([name for name in tables if not name.startswith("sqlite")])
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            if not columns:
                continue
            column = rng.choice(columns)
            match rng.randrange(8):
                case 0:
                    database.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
                case 1:
                    database.execute(f"DELETE FROM {table} WHERE rowid % 2 = {rng.randrange(2)}")
                case 2:
                    database.execute(f"ALTER TABLE {table} ADD COLUMN more")
                case 3:
                    pragma = rng.choice(("application_id", "user_version", "encoding"))
                    database.execute(f"PRAGMA {pragma} = {rng.choice((0, 1, 2, 99, 'UTF16'))}")
                case _:
                    value = rng.choice(values)
                    text = isinstance(value, str)
                    safe = value.encode("utf-8", "replace").decode() if text else value
                    database.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (safe,))
        return database.serialize()
    except (sqlite3.Error, IndexError):
        return damaged(data, rng)
    finally:
        database.close()


def changed_hdf5(data: bytes, rng: random.Random) -> bytes:
    """Return another HDF5 file: its description, its arrays, links and kinds of storage."""
    if rng.random() < 0.35:
        return damaged(data, rng)
    import h5py

    out = io.BytesIO(data)
    try:
        with h5py.File(out, "r+") as file:
            places: list[str] = []
            file.visit(places.append)
            for _ in range(rng.choice((1, 1, 2))):
                _change_hdf5(file, rng.choice(places), rng)
    except Exception:  # the library refuses what it is asked to write
        return damaged(data, rng)
    return out.getvalue()


def _change_hdf5(file: Any, place: str, rng: random.Random) -> None:
    import h5py

    node = file[place]
    names = [(at, name) for at in (file, node) for name in at.attrs]
    if names and rng.random() < 0.5:
        at, name = rng.choice(names)
        value = at.attrs[name]
        if isinstance(value, str | bytes) and rng.random() < 0.8:
            raw = value.encode() if isinstance(value, str) else value
            try:
                changed: bytes = changed_json(raw, rng)
            except json.JSONDecodeError:
                changed = damaged(raw, rng)
            at.attrs[name] = np.bytes_(changed) if len(changed) < 60_000 else b"x"
        else:
            at.attrs[name] = rng.choice((1, [1.5], "x", ["a", "b"], np.bytes_(b"\xff")))
        return
    del file[place]
    match rng.randrange(9):
        case 0:
            file[place] = h5py.SoftLink(rng.choice(("/", "/nowhere", place)))
        case 1:
            file[place] = h5py.ExternalLink("/etc/passwd", "/")
        case 2:
            file.create_dataset(place, (64, 64), "f4", compression="gzip")
        case 3:
            file.create_dataset(place, data=np.zeros((3, 4), rng.choice(("f8", "f2", "i4", "u1"))))
        case 4:
            file.create_dataset(
                place, (rng.choice((1 << 20, 1 << 40, 0)),), "f4", chunks=(1 << 10,)
            )
        case 5:
            file.create_dataset(place, data=np.full((4, 64), np.nan, "f4"))
        case 6:
            file.create_group(place)
        case 7:
            file[place] = file["/"]
        case _:
            pass


def changed_frames(data: bytes, rng: random.Random) -> bytes:
    """Return a stream of frames: some right, some with another field and the checksum that fits."""
    if rng.random() < 0.3:
        return damaged(data, rng)
    stream = b""
    for _ in range(rng.randint(1, 5)):
        payload = rng.randbytes(rng.choice((0, 1, 4, 40, 84, 199, 200, 201)))
        length = rng.choice((len(payload),) * 6 + (*WORDS[:6], 0xFFFF_FFFF, len(payload) + 1))
        version = rng.choice((2,) * 8 + (0, 1, 3, 255))
        kind = rng.choice((b"I", b"R", b"A", b"X", b"E", b"\0", b"\xff"))
        body = struct.pack("<2sBcII", b"QL", version, kind, length, rng.choice(WORDS)) + payload
        stream += body + struct.pack("<I", zlib.crc32(body))
        if rng.random() < 0.2:
            stream += rng.randbytes(rng.randint(1, 12))
    return stream if rng.random() < 0.7 else damaged(stream, rng)
