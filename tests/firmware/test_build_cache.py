"""An image in the cache that is not what was built is built again, never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarl.boards.microcontroller import find_board
from quarl.firmware import build
from quarl.resources import targets_dir

ELF = b"\x7fELF" + bytes(64)


def test_a_damaged_image_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []

    def compiled(*arguments: object) -> bytes:
        built.append(arguments)
        return ELF

    monkeypatch.setattr(build, "_compile", compiled)
    monkeypatch.setattr(build, "compiler_version", lambda *asked: "zig 0")
    board = find_board("nrf52840_dk", targets_dir())
    for content in (None, b"", ELF[:-1], b"\x7fELF" + bytes(63) + b"\1"):
        entries = list(tmp_path.rglob("firmware.elf"))
        if content is not None:
            entries[0].write_bytes(content)
        assert build.build_image({"a.c": b"int a;"}, board, tmp_path) == ELF
        assert build.build_image({"a.c": b"int a;"}, board, tmp_path) == ELF
    assert len(built) == 4
