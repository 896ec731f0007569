"""C that people read: clang-format's layout and 100 columns, written by hand or by quarl."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from quarl.boards.core import Kernels
from quarl.boards.microcontroller import find_board
from quarl.firmware.example import with_example
from quarl.firmware.lower import lower
from quarl.firmware.names import MOST_CHARACTERS, Names
from quarl.firmware.render_header import render_served
from quarl.firmware.source_tree import write_source_tree
from quarl.firmware.sources import program_sources
from quarl.resources import firmware_dir, targets_dir
from quarl.tools import run
from tests.conftest import need
from tests.support.samples import SAMPLES, observations, sample

STYLE = Path(__file__).parents[2] / ".clang-format"
COLUMNS = 100
LONGEST = Names("a" * MOST_CHARACTERS)


def violations(paths: list[Path]) -> str:
    """Return what clang-format would change, and every line that is too long."""
    need("clang_format")
    tool = Path(sys.executable).parent / "clang-format"
    done = run([tool, f"--style=file:{STYLE}", "--dry-run", "-Werror", *paths], timeout=120)
    long = [
        f"{path.name}:{number}: {len(line)} columns"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > COLUMNS
    ]
    return "\n".join([done.stderr.decode(), *long]).strip()


@pytest.mark.long
def test_the_runtime_is_formatted() -> None:
    paths = [p for p in firmware_dir().rglob("*") if p.suffix in (".c", ".h", ".cpp")]
    paths = [path for path in paths if path.parent.name != "host"]  # runs on no device
    assert violations(sorted(paths)) == ""


@pytest.mark.long
@pytest.mark.parametrize("names", [Names(), LONGEST], ids=["ql_policy", "longest"])
def test_generated_code_is_formatted(names: Names, tmp_path: Path) -> None:
    paths = [tmp_path / "served.h"]
    paths[0].write_text(render_served(names))
    for index, name in enumerate(SAMPLES):
        policy, quantized = sample(name, (0, 3, 4, 5)[index % 4])
        kernels = get_args(Kernels)[index % 5]
        obs = observations(policy, np.random.default_rng(3), 2)
        program = replace(lower(quantized, kernels), names=names)
        files = program_sources(with_example(program, obs))
        for file, content in files.items():
            if file.startswith(names.prefix):
                paths.append(tmp_path / f"{name}_{file}")
                paths[-1].write_bytes(content)
    assert violations(paths) == ""


def test_a_whole_export_keeps_to_its_columns() -> None:
    policy, quantized = sample("stacked_frames", 3)
    board = find_board("nucleo_l4r5zi", targets_dir())
    obs = observations(policy, np.random.default_rng(3), 2)
    for name, content in write_source_tree(quantized, board, obs).files.items():
        assert max(map(len, content.decode().splitlines())) <= COLUMNS, name
