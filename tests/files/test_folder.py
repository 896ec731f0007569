"""A folder is written whole or not at all, whenever the writer is killed."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.files import folder as folders
from quarl.files.folder import recover, replace_folder

OLD = {"a": b"old", "in/b": b"old too", "stamp": b"old"}
NEW = {"a": b"new", "in/deep/c": b"new too", "stamp": b"new"}


def owned(folder: Path) -> list[str]:
    """A folder with a stamp may go, unless it holds a stranger."""
    found = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    known = {*OLD, *NEW}
    if found and ("stamp" not in found or not known.issuperset(found)):
        raise InputError("a stranger")
    return sorted(found, key=lambda name: name == "stamp")


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_exchange(one: Path, other: Path) -> bool:
    return False


@pytest.fixture(params=["renameat2", "two renames"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":
        monkeypatch.setattr(folders, "_exchange_at_once", no_exchange)
    return str(request.param)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    replace_folder(tmp_path / "out", OLD, owned)
    return tmp_path / "out"


def test_a_folder_is_written_and_replaced(target: Path, system: str) -> None:
    assert content(target) == OLD
    replace_folder(target, NEW, owned)
    assert content(target) == NEW
    assert names(target.parent) == ["out"]
    assert names(target) == ["a", "in", "stamp"]


def test_an_empty_folder_is_filled(tmp_path: Path, system: str) -> None:
    (tmp_path / "out").mkdir()
    replace_folder(tmp_path / "out", NEW, owned)
    assert content(tmp_path / "out") == NEW


def test_a_stranger_that_comes_at_the_last_moment_keeps_the_old_folder(
    target: Path, system: str
) -> None:
    (target / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="a stranger"):
        replace_folder(target, NEW, owned)
    assert content(target) == {**OLD, "thesis.txt": b"mine"}
    assert names(target.parent) == ["out"]


def test_a_full_disk_keeps_the_old_folder(
    target: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    def full(path: Path, data: bytes) -> None:
        if path.name == "c":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(folders, "new_file", full)
    with pytest.raises(OSError, match="No space"):
        replace_folder(target, NEW, owned)
    assert content(target) == OLD
    assert names(target.parent) == ["out"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o700)])
def test_permissions_are_those_of_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        replace_folder(tmp_path / "out", NEW, owned)
    finally:
        os.umask(before)
    for path in (tmp_path / "out", tmp_path / "out" / "in"):
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("name", ["n" * 250, "n" * 255, "a\nb", "-rf", "ü"])
def test_any_name_the_system_takes_is_written(tmp_path: Path, name: str) -> None:
    replace_folder(tmp_path / name, NEW, owned)
    assert names(tmp_path) == [name]


CALLS = ("mkdir", "open", "write", "fsync", "rename", "unlink", "rmdir")


def killed_at(call: int, act: Callable[[], None]) -> bool:
    """Do it in a child that is killed before its `call`-th system call that changes the disk;
    return whether it got that far.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = call

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return wrapper

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    folders._exchange_at_once = counted(folders._exchange_at_once)  # type: ignore[assignment]
    act()
    os._exit(0)


@pytest.mark.long
def test_a_kill_at_any_point_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, system: str
) -> None:
    target, seen = tmp_path / "out", []
    for call in range(1, 1000):
        replace_folder(target, OLD, owned)
        if not killed_at(call, lambda: replace_folder(target, NEW, owned)):
            break
        assert system != "renameat2" or content(target) in (OLD, NEW)
        recover(target, owned)
        seen.append(content(target))
        assert seen[-1] in (OLD, NEW)
        assert names(tmp_path) == ["out"]
    assert len(seen) > 20
    assert OLD in seen
    assert NEW in seen


def test_what_a_living_writer_builds_is_not_taken_for_a_leftover(target: Path) -> None:
    scratch, lock = folders._scratch_folder(target)
    recover(target, owned)
    assert scratch.exists()
    os.close(lock)
    recover(target, owned)
    assert not scratch.exists()


def test_a_folder_of_somebody_else_with_such_a_name_is_kept(target: Path) -> None:
    mine = target.with_name(f"{folders.scratch_prefix('out')}12345678")
    (mine / "new").mkdir(parents=True)
    (mine / "new" / "thesis.txt").write_text("mine")
    recover(target, owned)
    replace_folder(target, NEW, owned)
    assert (mine / "new" / "thesis.txt").read_text() == "mine"
