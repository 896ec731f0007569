"""Zips within bounds: claims are checked before memory is spent, and again while reading."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from quarl.errors import InputError, UntrustedFileError
from quarl.files import archives
from quarl.files.archives import Archive
from quarl.files.open import open_file, source_digest
from tests.support.bombs import zip_bytes


def test_members_come_back_as_they_went_in() -> None:
    with Archive(zip_bytes({"a": b"one", "b/c": b"two"}, zipfile.ZIP_DEFLATED)) as archive:
        assert archive.names == {"a", "b/c"}
        assert (archive.read("a"), archive.read("b/c")) == (b"one", b"two")


def test_a_missing_member_is_named() -> None:
    with (
        Archive(zip_bytes({"a": b""}), "policy.zip") as archive,
        pytest.raises(InputError, match=r"policy.zip: has no 'data' inside"),
    ):
        archive.read("data")


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zip_bytes({"policy.pth": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(UntrustedFileError, match=r"policy.pth unpacks .* more than 200 times"):
        Archive(bomb)


def test_small_members_may_compress_well() -> None:
    with Archive(zip_bytes({"a": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)) as archive:
        assert len(archive.read("a")) == 1 << 20


@pytest.mark.parametrize(
    ("claimed", "error"), [(1 << 29, UntrustedFileError), (20, InputError), (5, InputError)]
)
def test_a_directory_that_lies_about_sizes_is_refused(claimed: int, error: type[Exception]) -> None:
    data = bytearray(zip_bytes({"a": b"0123456789"}))
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, directory + 24, claimed)  # uncompressed size
    with pytest.raises(error), Archive(bytes(data)) as archive:
        archive.read("a")


def test_many_claimed_bytes_in_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(UntrustedFileError, match=r"claims 3 members of 1,200 bytes together"):
        Archive(zip_bytes({name: bytes(400) for name in "abc"}))


def test_a_member_over_the_readers_limit_is_refused() -> None:
    with (
        Archive(zip_bytes({"data": bytes(11)})) as archive,
        pytest.raises(UntrustedFileError, match="claims 11 bytes, at most 10"),
    ):
        archive.read("data", 10)


def test_two_members_of_one_name_are_refused() -> None:
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        pytest.raises(UntrustedFileError, match="two members have one name"),
    ):
        Archive(_twice())


def _twice() -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    return buffer.getvalue()


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(zip_bytes({"a": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(UntrustedFileError, match="encrypted"):
        Archive(bytes(data))


@pytest.mark.parametrize("kept", [0, 10, 100, -5])
def test_a_cut_off_zip_is_refused(kept: int) -> None:
    with pytest.raises(InputError, match="not a complete zip"):
        Archive(zip_bytes({"a": bytes(200)})[:kept], "policy.zip")


def test_damaged_bytes_are_found_by_their_checksum() -> None:
    data = bytearray(zip_bytes({"a": b"0123456789"}))
    data[data.index(b"0123456789")] ^= 1
    with Archive(bytes(data)) as archive, pytest.raises(InputError, match="a is damaged"):
        archive.read("a")


def test_a_missing_path_and_a_folder_have_their_own_messages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        open_file(tmp_path / "nothing.zip")
    with pytest.raises(InputError, match="is a folder"):
        open_file(tmp_path)


def test_a_file_too_large_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(UntrustedFileError, match="at most 1,073,741,824"):
        open_file(tmp_path / "large")


def test_the_digest_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    first = source_digest(tmp_path)
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    second = source_digest(tmp_path)
    (tmp_path / "a" / "y").write_bytes(b"2")
    assert len({first, second, source_digest(tmp_path)}) == 3
