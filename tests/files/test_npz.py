"""NumPy archives as data: the same bytes every time, nothing unpickled, nothing believed before it
is checked.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quarl.errors import InputError, QuarlError, UntrustedFileError
from quarl.files.npz import npz_bytes, parse_npy, read_npz
from tests.support.bombs import Bomb, zip_bytes

plain = st.sampled_from(["f4", "f8", "i4", "i8", "i2", "i1", "u1", "?", ">f4", ">i8"])
arrays = plain.flatmap(
    lambda d: hnp.arrays(
        np.dtype(d), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)


def npy(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), **options)
    return out.getvalue()


def header(text: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    encoded = text.encode("latin1")
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(encoded))
    return b"\x93NUMPY" + version + length + encoded + data


def written(folder: Path, data: bytes) -> Path:
    path = folder / "arrays.npz"
    path.write_bytes(data)
    return path


@pytest.mark.long
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text("abc.0_/", min_size=1, max_size=6), arrays, min_size=1, max_size=4),
    st.booleans(),
)
def test_arrays_come_back_bit_for_bit(
    tmp_path: Path, values: dict[str, Any], compress: bool
) -> None:
    back = read_npz(written(tmp_path, npz_bytes(values, compress=compress)))
    assert back.keys() == values.keys()
    for name, value in values.items():
        assert back[name].dtype == value.dtype
        assert back[name].shape == value.shape
        assert back[name].tobytes() == value.tobytes()


def test_the_same_arrays_give_the_same_bytes_in_any_order() -> None:
    a, b = np.arange(5), np.ones((2, 2), np.float32)
    assert npz_bytes({"a": a, "b": b}) == npz_bytes({"b": np.asfortranarray(b), "a": a})


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(np.arange(6.0).reshape(2, 3)), epsilon=1e-8)
    back = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(back["x"], np.arange(6.0).reshape(2, 3))
    assert back["epsilon"].shape == ()


def test_pickled_arrays_are_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "run"
    objects = npy(np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(UntrustedFileError, match=r"x\.npy: holds Python objects"):
        read_npz(written(tmp_path, zip_bytes({"x.npy": objects})))
    disguised = npy(np.zeros(1))[:-8] + pickle.dumps(Bomb(marker))
    with pytest.raises(InputError, match="claims"):
        read_npz(written(tmp_path, zip_bytes({"x.npy": disguised})))
    assert not marker.exists()


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([b"x"]),
        np.array([1j]),
        np.zeros(2, "V3"),
        np.zeros(1, "f4,i4"),
        np.zeros(1, "M8[s]"),
    ],
)
def test_only_plain_numbers_are_read(array: Any) -> None:
    with pytest.raises(InputError, match=r"holds .* plain numbers"):
        parse_npy(npy(array), "here")


@pytest.mark.parametrize(
    "shape",
    [
        "(1000000000000,)",
        "(1000000, 1000000, 1000000)",
        "(3,)",
        "()",
        "(-2, -1)",
        "(-1,)",
        "(2, True)",
        "(1e3,)",
        "3",
        "(10**30,)",
    ],
)
def test_a_header_that_claims_what_is_not_there_is_refused_before_memory_is_taken(
    shape: str,
) -> None:
    with pytest.raises(InputError, match="here"):
        parse_npy(
            header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n", bytes(16)),
            "here",
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04",
        header("", version=b"\x09\x09"),
        header(""),
        header("{"),
        header("[" * 5000),
        header("("),
        header("'\n"),
        header("{'descr': '<f8'}"),
        header("{'descr': ('<f8',), 'fortran_order': False, 'shape': (2,)}", bytes(16)),
        header("{'descr': {}, 'fortran_order': False, 'shape': (2,)}", bytes(16)),
        header("{'descr': 7, 'fortran_order': False, 'shape': (2,)}", bytes(16)),
        header("{'descr': '<f99999999999', 'fortran_order': False, 'shape': (2,)}", bytes(16)),
        header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,)}", bytes(16)),
        header("{'descr': '<f8', 'fortran_order': 0, 'shape': (2,)}", bytes(16)),
        header("\xff" * 20, version=b"\x03\x00"),
        header(
            "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}" + " " * 20000,
            bytes(16),
            b"\x02\x00",
        ),
    ],
)
def test_bytes_that_are_no_array_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="here"):
        parse_npy(data, "here")


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_array_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    whole = bytearray(npy(np.arange(6, dtype=np.int16).reshape(2, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(
            st.sampled_from(b"0123456789'\"(){}[],:<>|fiOVUMmcb \x00\x01\x02\xff\n\\")
        )
    cut = data.draw(st.integers(0, len(whole)))
    with warnings.catch_warnings(), contextlib.suppress(QuarlError):
        warnings.simplefilter("ignore")
        parse_npy(bytes(whole[:cut] if data.draw(st.booleans()) else whole), "here")


@pytest.mark.parametrize(
    "members", [{"policy.onnx": b"x"}, {"x.npy": npy(np.zeros(1)), "notes.txt": b"x"}, {}]
)
def test_other_archives_are_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match=r"an \.npz holds \.npy arrays"):
        read_npz(written(tmp_path, zip_bytes(members)))


@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "text", "cut", "flipped"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    whole = npz_bytes({"x": np.arange(1000)}, compress=False)
    path = tmp_path / "arrays.npz"
    match damage:
        case "folder":
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("obs, action\n1, 2\n")
        case "cut":
            path.write_bytes(whole[:-200])
        case "flipped":
            path.write_bytes(whole[:4000] + bytes([whole[4000] ^ 1]) + whole[4001:])
    with pytest.raises(InputError):
        read_npz(path)


def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UntrustedFileError, match="more than 200 times"):
        read_npz(
            written(tmp_path, zip_bytes({"x.npy": npy(np.zeros(4_000_000))}, zipfile.ZIP_DEFLATED))
        )
