"""Files of strangers: only regular ones are opened, within a bound, and no link inside a folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from quarl.errors import InputError, UntrustedFileError
from quarl.files.open import open_member, read_file, read_member, source_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b" / "firmware").mkdir(parents=True)
    (tmp_path / "b" / "firmware" / "main.c").write_bytes(b"int main;")
    (tmp_path / "secret").write_bytes(b"mine")
    return tmp_path / "b"


def test_a_member_is_read(folder: Path) -> None:
    assert read_member(folder, "firmware/main.c") == b"int main;"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "", ".", "firmware/../../secret", "a\0b"]
)
def test_a_name_that_leads_outside_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"outside|folder"):
        read_member(folder, name)


def test_a_link_in_the_place_of_a_member_is_refused(folder: Path) -> None:
    (folder / "contract.json").symlink_to(folder.parent / "secret")
    with pytest.raises(UntrustedFileError, match="links are not followed"):
        read_member(folder, "contract.json")


def test_a_link_in_the_place_of_a_folder_is_refused(folder: Path) -> None:
    (folder / "moved").symlink_to(folder / "firmware", target_is_directory=True)
    with pytest.raises(UntrustedFileError, match="links are not followed"):
        read_member(folder, "moved/main.c")


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "policy.npz")
    for read in (
        lambda: read_member(folder, "policy.npz"),
        lambda: read_file(folder / "policy.npz"),
    ):
        with pytest.raises(UntrustedFileError, match="is a pipe"):
            read()


def test_a_device_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zeros.npz").symlink_to("/dev/zero")
    with pytest.raises(UntrustedFileError, match="is a device"):
        read_file(tmp_path / "zeros.npz")


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(InputError, match="cannot be read"):
            read_file(tmp_path / "s")


def test_a_file_whose_size_is_a_lie_is_read_no_further_than_the_bound() -> None:
    with pytest.raises(UntrustedFileError, match="at most 10 are read"):
        read_file(Path("/proc/self/status"), 10)  # claims 0 bytes


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InputError, match="/proc/self/mem: cannot be read"):
        read_file(Path("/proc/self/mem"))


def test_a_name_too_long_for_the_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_file(tmp_path / ("n" * 400))


def test_a_member_beyond_its_bound_is_refused_before_it_is_read(folder: Path) -> None:
    with pytest.raises(UntrustedFileError, match="9 bytes, at most 8"):
        open_member(folder, "firmware/main.c", 8)


def test_no_descriptor_is_left_open(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("firmware/main.c", "pipe", "nothing", "firmware", "x/y/z"):
        try:
            read_member(folder, name)
        except InputError:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_digest_of_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UntrustedFileError):
        source_digest(folder / "pipe")
