"""Each kind of board says for itself what it can do; nobody else asks for the kind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import quarl
from quarl.boards.find import board_roots, find_target, read_targets
from quarl.errors import InputError
from quarl.profiles.platforms import platform_of, target_of
from tests.support.samples import observations, sample

PACKAGE = Path(quarl.__file__).parent
ASKS = re.compile(r"isinstance\([^()]*Board\b|case (Linux)?Board\(\)")
MAY_ASK = {"profiles/platforms.py", "cli/show_boards.py"}


def test_the_kind_of_a_board_is_asked_in_one_place_and_where_they_are_listed() -> None:
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if ASKS.search(path.read_text(encoding="utf-8"))
    }
    assert asking == MAY_ASK


@pytest.mark.parametrize("name", read_targets(board_roots()))
def test_every_board_has_a_platform_that_writes_its_firmware(name: str) -> None:
    board = find_target(name, board_roots())
    platform = platform_of(board)
    assert platform.name == name
    assert platform.backends
    assert platform.unmeasured
    assert all(command.startswith("quarl ") for _, command in platform.ways)
    policy, quantized = sample("squashed", 3)
    tree = platform.write(quantized, observations(policy, np.random.default_rng(0), 2))
    assert any(path.startswith("policy/") for path in tree.files)
    budgets = platform.budgets(50.0)
    assert (platform.memory is None) == (budgets == {})


@pytest.mark.parametrize(
    ("name", "link", "flash", "words"),
    [
        ("nucleo_l4r5zi", "ssh:pi", None, "or serial:PORT"),
        ("ek_ra8m1", "serial:/dev/ttyACM0", None, r"ek_ra8m1 has no \[uart\]"),
        ("raspberrypi_4", "unicorn", None, "is reached by emulated"),
        ("raspberrypi_4", "local", "pyocd", "only a real board is flashed"),
        ("nucleo_l4r5zi", "serial:/dev/ttyACM0", "magic", "must be one of pyocd, openocd"),
    ],
)
def test_a_way_to_a_board_that_there_is_not_is_refused_before_any_work(
    name: str, link: str, flash: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        target_of(find_target(name, board_roots()), link, flash)
