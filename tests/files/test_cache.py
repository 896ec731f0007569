"""What was built once is used only while it is what was kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.files.cache import keep, kept_bytes, kept_file

DATA = b"\x7fELF" + bytes(100)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    path = tmp_path / "firmware" / "key" / "firmware.elf"
    keep(path, DATA)
    return path


def test_what_was_kept_is_found(entry: Path) -> None:
    assert kept_bytes(entry) == DATA
    assert kept_file(entry) == entry


def _flip(path: Path) -> None:
    path.write_bytes(DATA[:50] + b"\1" + DATA[51:])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(DATA[:-1]),
        lambda path: path.unlink(),
        lambda path: path.with_name("firmware.elf.sha256").unlink(),
        lambda path: path.with_name("firmware.elf.sha256").write_text("0" * 64),
        _flip,
        _folder,
        _fifo,
    ],
    ids=["empty", "cut", "gone", "no digest", "other digest", "flipped", "folder", "pipe"],
)
def test_what_was_damaged_is_built_again(entry: Path, damage: Callable[[Path], object]) -> None:
    damage(entry)
    assert kept_bytes(entry) is None
    assert kept_file(entry) is None
    keep(entry, DATA)
    assert kept_bytes(entry) == DATA


def test_a_program_may_be_run(tmp_path: Path) -> None:
    keep(tmp_path / "program", DATA, executable=True)
    assert stat.S_IMODE((tmp_path / "program").stat().st_mode) & 0o100


def test_a_cache_that_cannot_be_written_says_so() -> None:
    with pytest.raises(InputError):
        keep(Path("/proc/cache/entry"), DATA)
