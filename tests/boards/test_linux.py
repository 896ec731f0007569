"""Boards that run Linux are data like the others, and every number carries its source."""

from __future__ import annotations

from typing import Any

import pytest

from quarl.boards.core import CpuInfo
from quarl.boards.cores import LINUX_CORES
from quarl.boards.linux import LinuxBoard, find_target, parse_linux_board, read_linux_boards
from quarl.boards.microcontroller import Board, read_boards
from quarl.errors import InputError
from quarl.pi.root import cpuinfo, mirror_of
from quarl.pi.wheels import LOCKS, lock_file, platform_options
from quarl.resources import targets_dir
from tests.support.cores import PI_CORES

BOARDS = read_linux_boards(targets_dir())
GOOD: dict[str, Any] = {
    "kind": "linux",
    "name": "pi",
    "title": "A Pi",
    "cpu": "cortex-a72",
    "cores": 4,
    "clock_hz": 1_500_000_000,
    "ram_bytes": 2**30,
}


def info(core: str) -> CpuInfo:
    found = LINUX_CORES[core].cpuinfo
    assert found is not None
    return found


def test_every_board_is_of_one_kind() -> None:
    assert not set(BOARDS) & set(read_boards(targets_dir()))
    assert {board.cpu for board in BOARDS.values()} == set(PI_CORES)
    assert isinstance(find_target("raspberrypi_4", targets_dir()), LinuxBoard)
    assert isinstance(find_target("nucleo_l4r5zi", targets_dir()), Board)


def test_all_problems_are_told_at_once_and_the_closest_name_is_offered() -> None:
    assert parse_linux_board(GOOD, "board.toml", "pi").cpuinfo.part == "0xd08"
    with pytest.raises(
        InputError, match=r"(?s)cpu: 'cortex-m4'.*cores: 0;.*clock_mhz: unknown key"
    ):
        parse_linux_board(
            GOOD | {"cpu": "cortex-m4", "cores": 0, "clock_mhz": 5}, "board.toml", "pi"
        )
    with pytest.raises(InputError, match="the folder is called 'other'"):
        parse_linux_board(GOOD, "board.toml", "other")
    with pytest.raises(InputError, match="did you mean raspberrypi_4"):
        find_target("raspberry_4", targets_dir())


def test_a_core_says_who_it_is_as_the_kernel_would() -> None:
    text = cpuinfo(info("cortex-a76"))
    assert text.count("processor\t: ") == 4
    assert "CPU part\t: 0xd0b" in text
    assert "asimddp" in text
    assert "asimddp" not in cpuinfo(info("cortex-a53"))


def test_the_mirror_is_the_one_this_machine_uses() -> None:
    listed = (
        "bookworm-security main http://a/security/\nbookworm contrib http://b/\nbookworm "
        "main http://c/debian/\n"
    )
    assert mirror_of(listed) == "http://c/debian/"
    assert mirror_of("noble main http://d/ubuntu/\n") is None
    assert mirror_of("") is None


def test_the_wheels_of_a_pi_are_locked_in_the_versions_of_this_host() -> None:
    from importlib.metadata import version

    locked = lock_file("litert").read_text()
    for package in ("numpy", "ai-edge-litert", "onnxruntime"):
        assert f"{package}=={version(package)} " in locked
    assert all("--hash=sha256:" in lock_file(name).read_text() for name in LOCKS)


def test_pip_is_asked_for_wheels_that_the_pi_s_c_library_can_load() -> None:
    options = platform_options("3.13", (2, 28))
    assert "manylinux_2_28_aarch64" in options
    assert "manylinux_2_29_aarch64" not in options
    assert options[options.index("--python-version") + 1] == "3.13"
