from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from quarl.boards.cores import CORES
from quarl.boards.linux import read_linux_boards
from quarl.boards.microcontroller import find_board, parse_board, read_boards
from quarl.errors import InputError
from quarl.resources import targets_dir

FOLDERS = sorted(path.parent.name for path in targets_dir().glob("*/board.toml"))
BOARDS = read_boards(targets_dir())
GOOD: dict[str, Any] = tomllib.loads((targets_dir() / "nucleo_l4r5zi" / "board.toml").read_text())


def test_every_board_folder_is_read() -> None:
    assert sorted([*BOARDS, *read_linux_boards(targets_dir())]) == FOLDERS


def test_every_core_of_a_board_is_known() -> None:
    assert {board.cpu for board in BOARDS.values()} <= set(CORES)


CHOSEN = ("baud",)  # by us: a chip allows many
UNSOURCED = re.compile(r"from memory|assumed|not checked", re.IGNORECASE)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_number_of_a_board_carries_its_source_or_is_unknown(name: str) -> None:
    text = (targets_dir() / name / "board.toml").read_text()
    assert not UNSOURCED.search(text), "cite a source that was read, or say that it is unknown"
    for line in text.splitlines():
        without_texts = re.sub(r'"[^"]*"', "", line)
        value, _, comment = without_texts.partition("#")
        key, _, value = value.strip().partition("=")
        has_number = re.search(r"\d", value) or key.strip() == "pyocd"
        if has_number and key.strip() not in CHOSEN:
            assert len(comment.strip()) > 5, line


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_file_says_first_what_was_checked(name: str) -> None:
    text = (targets_dir() / name / "board.toml").read_text()
    assert "checked" in "".join(line for line in text.splitlines()[:2] if line.startswith("#"))


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if board.uart])
def test_a_boards_serial_port_and_probe_are_whole(name: str) -> None:
    board = BOARDS[name]
    assert board.uart is not None
    assert board.uart.core_clock_hz <= board.clock_hz
    regions = [(board.flash.origin, board.flash.bytes), (board.ram.origin, board.ram.bytes)]
    for address in (board.uart.base, *(step.address for step in board.uart.setup)):
        assert not any(origin <= address < origin + size for origin, size in regions), (
            "a register lies in memory"
        )
    if board.probe is not None:
        assert board.probe.pyocd
        assert board.probe.openocd[0].startswith("interface/")
        assert board.probe.openocd[-1].startswith("target/")


def test_a_serial_port_is_read_as_strictly_as_the_rest() -> None:
    uart = dict(GOOD["uart"])
    uart |= {
        "kind": "8250",
        "baud": 0,
        "parity": "none",
        "setup": [{"set": 2, "mask": 1, "value": 2}, {"put": 4}, {"wait": 4, "mask": 1}],
    }
    with pytest.raises(InputError) as error:
        parse_board(
            GOOD | {"uart": uart, "probe": {"pyocd": 5, "openocd": [1]}},
            "board.toml",
            "nucleo_l4r5zi",
        )
    for words in (
        "uart.kind: '8250'; allowed: \"cmsdk\",",
        "uart.baud: 0; allowed: a whole number from 1",
        "uart.parity: unknown key",
        "uart.setup[0].set: 2; allowed: a whole number from 0 to 4,294,967,295, a multiple of 4",
        "uart.setup[1].put: unknown key",
        "uart.setup[2].value: missing",
        "probe.pyocd: 5; allowed: text",
        "probe.openocd[0]: 1; allowed: text",
    ):
        assert words in str(error.value)


def test_all_problems_of_a_board_are_reported_at_once() -> None:
    table = {key: value for key, value in GOOD.items() if key != "title"}
    table |= {
        "clock_mhz": 5,
        "clock_hz": -1,
        "cpu": "cortex-m9",
        "flash": {"origin": "0", "bytes": 4, "size": 1},
    }
    with pytest.raises(InputError) as error:
        parse_board(table, "board.toml", "nucleo_l4r5zi")
    for words in (
        "6 problems",
        "title: missing; it is text that is not empty",
        "clock_mhz: unknown key (did you mean clock_hz?)",
        "clock_hz: -1; allowed: a whole number from 1",
        "cpu: 'cortex-m9'; allowed: ",
        "flash.origin",
        "flash.size",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, "the folder is called"),
        ({"cpu": "cortex-m0"}, "a cortex-m0 has: none"),
        ({"ram": {"origin": 0x0800_0010, "bytes": 8}}, "overlap"),
        ({"ram": {"origin": 0xFFFF_FFFF, "bytes": 8}}, "beyond 4 GiB"),
        ({"ram": 5}, "a table of origin, bytes"),
        ({"clock_hz": True}, "a whole number"),
        ({"flash_wait_states": "many"}, "a whole number"),
    ],
)
def test_a_board_that_contradicts_itself_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_board(GOOD | change, "board.toml", "nucleo_l4r5zi")


def test_a_misspelt_board_is_answered_with_the_closest_ones() -> None:
    with pytest.raises(InputError, match="did you mean nucleo_l4r5zi"):
        find_board("nucleo_l4r5", targets_dir())


def test_a_file_that_is_not_toml_names_itself(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "board.toml").write_text("name = ")
    with pytest.raises(InputError, match=r"broken.board\.toml"):
        read_boards(tmp_path)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"set": 4, "wait": 8, "mask": 1, "value": 1}, "uart.setup[0]: has set and wait"),
        ({"mask": 1, "value": 1}, "uart.setup[0]: has set and wait"),
        ({"set": 4, "mask": 1, "value": 2}, "value 0x2 does not lie under mask 0x1"),
    ],
)
def test_a_register_access_sets_or_waits_for_bits_under_its_mask(
    step: dict[str, int], words: str
) -> None:
    with pytest.raises(InputError) as error:
        parse_board(GOOD | {"uart": GOOD["uart"] | {"setup": [step]}}, "b", "nucleo_l4r5zi")
    assert words in str(error.value)
