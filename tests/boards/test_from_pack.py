"""A board file out of a CMSIS pack: what the pack states arrives with its source, the rest is
unknown, and a stranger's pack cannot do harm.
"""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quarl.boards.from_pack import board_from_pack, board_text, chip_in, read_description
from quarl.boards.microcontroller import parse_board
from quarl.cli.app import app
from quarl.errors import InputError, UnsupportedError, UntrustedFileError

PDSC = """<?xml version="1.0" encoding="UTF-8"?>
<package schemaVersion="1.7.2">
  <vendor>Acme</vendor>
  <name>AC32_DFP</name>
  <releases><release version="2.1.0"/><release version="2.0.0"/></releases>
  <devices>
    <family Dfamily="AC32" Dvendor="Acme:1">
      <processor Dcore="Cortex-M4" Dfpu="SP_FPU" Dendian="Little-endian"/>
      <subFamily DsubFamily="AC32F4">
        <processor Dclock="84000000"/>
        <memory name="IRAM1" access="rw" start="0x20000000" size="0x18000" default="1"/>
        <memory name="IRAM2" access="rw" start="0x10000000" size="0x80000"/>
        <device Dname="AC32F401">
          <memory name="IROM1" access="rx" start="0x08000000" size="0x40000" default="1"/>
          <variant Dvariant="AC32F401X"/>
        </device>
        <device Dname="AC32F411">
          <processor Dclock="100000000"/>
          <memory id="IROM1" start="0x08000000" size="0x80000" startup="1" default="1"/>
        </device>
        <device Dname="AC32F4R"><processor Dfpu="NO_FPU"/></device>
      </subFamily>
    </family>
    <family Dfamily="AC8"><device Dname="AC8"><processor Dcore="ARM7"/></device></family>
    <family Dfamily="ACM0"><device Dname="ACM0">
      <processor Dcore="Cortex-M0+" Dfpu="0"/>
      <memory name="ROM" access="rx" start="0" size="0x10000"/>
      <memory name="RAM" access="rwx" start="0x20000000" size="0x1000"/>
    </device></family>
  </devices>
</package>
"""


def parsed(device: str) -> dict[str, object]:
    return tomllib.loads(board_text("mine", chip_in(PDSC.encode(), device)))


def test_a_device_inherits_from_the_groups_around_it() -> None:
    board = parsed("AC32F411")
    assert (board["cpu"], board["fpu"], board["clock_hz"]) == ("cortex-m4", "single", 100_000_000)
    assert board["flash"] == {"origin": 0x0800_0000, "bytes": 0x80000}
    assert board["ram"] == {"origin": 0x2000_0000, "bytes": 0x18000}
    assert board["flash_wait_states"] == "unknown"
    assert parsed("AC32F401X")["clock_hz"] == 84_000_000


def test_every_number_carries_the_pack_it_is_from() -> None:
    text = board_text("mine", chip_in(PDSC.encode(), "AC32F411"))
    for key in ("clock_hz", "flash =", "ram"):
        line = next(line for line in text.splitlines() if line.startswith(key))
        assert line.partition("#")[2].strip().startswith("Acme AC32_DFP 2.1.0, AC32F411: ")


def test_a_clock_the_pack_does_not_state_is_left_to_the_user() -> None:
    text = board_text("mine", chip_in(PDSC.encode(), "ACM0"))
    assert "clock_hz = 1  # unknown" in text
    assert tomllib.loads(text)["cpu"] == "cortex-m0plus"
    parse_board(tomllib.loads(text), "here", "mine")


def test_what_cannot_become_a_board_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match=r"no device 'AC32F41' \(did you mean AC32F411"):
        chip_in(PDSC.encode(), "AC32F41")
    with pytest.raises(
        UnsupportedError, match="states the core 'ARM7', quarl knows bumblebee, cortex"
    ):
        chip_in(PDSC.encode(), "AC8")
    with pytest.raises(InputError, match="states no flash"):
        chip_in(PDSC.encode(), "AC32F4R")


def test_a_stranger_s_description_is_read_within_bounds(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE package [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + PDSC.partition("?>")[2]
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(UntrustedFileError, match="defines entities"):
            chip_in(bomb.encode(encoding), "AC32F411")
    deep = "<package>" + "<devices>" * 100_000
    with pytest.raises(UntrustedFileError, match="64 levels deep"):
        chip_in(deep.encode(), "AC32F411")
    for text, words in (("<package>", "is not XML"), ("<html/>", "is not a package description")):
        with pytest.raises(InputError, match=words):
            chip_in(text.encode(), "AC32F411")
    broken = tmp_path / "broken.pack"
    broken.write_bytes(b"not a zip")
    with pytest.raises(InputError, match="not a complete zip"):
        read_description(broken)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('start="0x08000000"', 'start="flash"', "the address or size 'flash'"),
        ('size="0x80000"', f'size="{"9" * 5_000}"', "the address or size '9999"),
        ('size="0x80000"', 'size="-1"', "the address or size '-1'"),
        ("UTF-8", "no-such-code", "is not XML"),
    ],
)
def test_numbers_and_codes_that_are_none_are_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        chip_in(PDSC.replace(old, new).encode(), "AC32F411")


def test_what_a_pack_calls_itself_adds_no_line_to_the_board() -> None:
    named = PDSC.replace("2.1.0", "1&#10;clock_hz = 7&#10;# &#x85;x").replace("Acme<", "A&#13;me<")
    text = board_text("mine", chip_in(named.encode(), "AC32F411"))
    assert tomllib.loads(text)["clock_hz"] == 100_000_000
    assert text.isascii()
    assert "\x1b" not in text
    longest = PDSC.replace('Dclock="100000000"', f'Dclock="{"9" * 5_000}"')
    assert chip_in(longest.encode(), "AC32F411").clock_hz is None


def packed(folder: Path) -> Path:
    path = folder / "Acme.AC32_DFP.2.1.0.pack"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Acme.AC32_DFP.pdsc", PDSC)
        archive.writestr("readme.txt", "")
    return path


def test_a_pack_and_its_description_give_the_same_board(tmp_path: Path) -> None:
    description = tmp_path / "Acme.AC32_DFP.pdsc"
    description.write_text(PDSC)
    text = board_from_pack("mine", "AC32F411", packed(tmp_path))
    assert text == board_from_pack("mine", "AC32F411", description)


def test_the_verb_writes_a_board_that_quarl_boards_then_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["board", "new", "mine", "--from-pack", "AC32F411", "--pack", str(packed(tmp_path))]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    assert "boards/mine.toml" in ended.stdout
    assert "mine" in CliRunner().invoke(app, ["boards"]).stdout
    again = CliRunner().invoke(app, words)
    assert "is there already" in str(again.exception)
