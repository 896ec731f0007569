"""Flashing: the commands, and what is said where tool, probe or pack is missing. Real pyOCD, no
probe; a stand-in for OpenOCD.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from quarl.boards.microcontroller import Probe, find_board, read_boards
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.links import flash as flashing
from quarl.links.flash import find_program, flash, flash_command
from quarl.resources import targets_dir
from tests.conftest import need

L4 = find_board("nucleo_l4r5zi", targets_dir())
NRF = find_board("nrf52840_dk", targets_dir())


def test_pyocd_is_asked_to_flash_one_image_without_waiting_for_a_probe() -> None:
    command = flash_command("pyocd", ["pyocd"], L4, Path("/tmp/a b/firmware.elf"))
    assert command == [
        "pyocd",
        "flash",
        "--no-wait",
        "--target",
        "stm32l4r5zitx",
        "/tmp/a b/firmware.elf",
    ]


def test_openocd_is_asked_to_program_verify_and_reset_with_the_path_in_braces() -> None:
    command = flash_command("openocd", ["openocd"], L4, Path("/tmp/a b/firmware.elf"))
    assert command == [
        *("openocd", "-f", "interface/stlink.cfg", "-f", "target/stm32l4x.cfg"),
        *("-c", "program {/tmp/a b/firmware.elf} verify reset exit"),
    ]


def test_a_command_between_openocds_files_is_given_as_a_command() -> None:
    command = flash_command("openocd", ["openocd"], NRF, Path("firmware.elf"))
    assert command[1:7] == [
        "-f",
        "interface/jlink.cfg",
        "-c",
        "transport select swd",
        "-f",
        "target/nrf52.cfg",
    ]


@pytest.mark.parametrize("tool", ["pyocd", "openocd"])
@pytest.mark.parametrize("probe", [None, Probe("", ())])
def test_a_board_a_tool_does_not_know_is_refused(
    tool: flashing.FlashTool, probe: Probe | None
) -> None:
    with pytest.raises(InputError, match=rf"cannot be flashed by {tool}"):
        flash_command(tool, [tool], replace(L4, probe=probe), Path("firmware.elf"))


@pytest.mark.parametrize("tool", ["pyocd", "openocd"])
def test_a_missing_tool_names_what_gives_it(
    tool: flashing.FlashTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "pyocd", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolMissingError, match=r"pip install 'quarl\[probe\]'|apt-get install openocd"
    ) as error:
        flash(tool, L4, b"")
    assert error.value.exit_code == 3


def test_pyocd_without_a_probe_is_a_device_error() -> None:
    need("pyocd")
    with pytest.raises(
        DeviceError, match=r"nrf52840_dk: pyocd finds no debug probe: connect the board's USB port"
    ) as error:
        flash("pyocd", NRF, b"\x7fELF")
    assert error.value.exit_code == 4


def test_pyocd_knows_the_targets_that_are_said_to_be_built_in() -> None:
    need("pyocd")
    from pyocd.target import TARGET  # type: ignore[import-untyped]

    for name, board in read_boards(targets_dir()).items():
        text = (targets_dir() / name / "board.toml").read_text()
        if board.probe is not None and "built into pyOCD" in text:
            assert board.probe.pyocd in TARGET


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("Error: open failed", 1, "finds no debug probe"),
        ("Error: unable to find a matching CMSIS-DAP device", 1, "finds no debug probe"),
        ("Can't find target/stm32l4x.cfg", 1, "does not know this chip"),
        ("Error: checksum mismatch\n** Verify Failed **", 1, "stopped with code 1.*Verify Failed"),
    ],
)
def test_openocds_failures_are_told_apart(
    words: str, code: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, f"import sys\nsys.stderr.write({words!r})\nsys.exit({code})\n", monkeypatch)
    with pytest.raises(DeviceError, match=rf"(?s)nucleo_l4r5zi: openocd .*{expected}"):
        flash("openocd", L4, b"image")


def test_the_image_reaches_the_tool_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "written"
    stand_in(
        tmp_path,
        f"import sys\nopen({str(out)!r}, "
        f"'wb').write(open(sys.argv[-1].split('{{')[1].split('}}')[0], 'rb').read())\n",
        monkeypatch,
    )
    flash("openocd", L4, b"\x7fELF image")
    assert out.read_bytes() == b"\x7fELF image"


def stand_in(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called openocd first on the path."""
    path = folder / "openocd"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert find_program("openocd") == [str(path)]
