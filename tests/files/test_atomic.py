"""One way to write a file: the old bytes or the new, and nothing foreign is touched."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.files.atomic import scratch_prefix, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        write_whole(tmp_path / "verdict.json", data)
        assert (tmp_path / "verdict.json").read_bytes() == data
    assert names(tmp_path) == ["verdict.json"]


def test_a_link_that_lies_in_wait_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    for name in (".verdict.json.part", f"{scratch_prefix('verdict.json')}00000000", "verdict.json"):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "verdict.json", b"new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "verdict.json").is_symlink()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "verdict.json", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "verdict.json").stat().st_mode) == mode


@pytest.mark.parametrize("name", ["n" * 250, "n" * 255, "a\nb", " ", "-rf", "ü"])
def test_any_name_the_system_takes_is_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"new")
    assert names(tmp_path) == [name]


def test_a_name_too_long_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for path in (tmp_path / ("n" * 400), tmp_path / "out", Path("/proc/verdict.json")):
        with pytest.raises(InputError, match="cannot be written"):
            write_whole(path, b"new")
    assert names(tmp_path) == ["out"]


def test_a_full_disk_keeps_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    write_whole(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            write_whole(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["verdict.json"]


def _write_often(path: Path, content: bytes, times: int) -> None:
    for _ in range(times):
        write_whole(path, content)


@pytest.mark.long
def test_two_writers_never_show_half_of_a_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "verdict.json", [b"a" * 10_000, b"b" * 20_000]
    write_whole(path, contents[0])
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write_often, args=(path, content, 150)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["verdict.json"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    child = os.fork()
    if child == 0:
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)  # before the rename
        write_whole(path, b"never")
        os._exit(0)
    os.waitpid(child, 0)
    assert len(names(tmp_path)) == 1
    write_whole(path, b"new")
    assert names(tmp_path) == ["verdict.json"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path, link: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    target = tmp_path / "there" if link else pipe
    if link:
        target.symlink_to(os.devnull)
    with pytest.raises(InputError, match=r"cannot be written .*a device or a pipe"):
        write_whole(target, b"new")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert target.is_symlink() == link
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"pipe", target.name})
