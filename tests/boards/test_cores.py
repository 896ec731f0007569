"""A core is one file: what it must say, and a made-up one added to a scratch copy."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import quarl
from quarl.boards import cores
from quarl.boards.core import Core, LinuxCore
from quarl.boards.cores import CORES, LINUX_CORES
from quarl.resources import default_cache_dir, firmware_dir, targets_dir
from quarl.tools import run
from tests.conftest import need

FILES = sorted(Path(cores.__file__).parent.glob("[!_]*.py"))
ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
import numpy as np
from pathlib import Path
import quarl
from quarl.boards.microcontroller import find_board
from quarl.firmware.source_tree import write_source_tree
from quarl.profiles.emulated import profile_emulated
from quarl.resources import targets_dir
from tests.support.workloads import workload_for
from tests.support.samples import observations, sample

policy, quantized = sample("squashed", 3)
obs = observations(policy, np.random.default_rng(0), 4)
board = find_board("made_up", targets_dir())
files = write_source_tree(quantized, board, obs).files
profile = profile_emulated(workload_for(quantized, obs, board), board, Path(sys.argv[1]))
print(json.dumps({
    "package": quarl.__file__, "cpu": profile.cpu, "compared": profile.compared,
    "differing": profile.differing, "script": files["harness/board.ld"].decode(),
    "assumptions": profile.cycle_assumptions,
}))
"""


def test_every_file_of_the_folder_is_a_core_with_a_name_of_its_own() -> None:
    assert len(CORES) + len(LINUX_CORES) == len(FILES)
    stems = {name.replace("-", "_") for name in (*CORES, *LINUX_CORES)}
    assert stems == {path.stem for path in FILES}


@pytest.mark.parametrize("core", CORES.values(), ids=lambda core: core.name)
def test_a_core_is_whole(core: Core) -> None:
    least, usual, most = core.cycles.refill
    assert 0 <= least <= usual <= most
    assert core.limit.mac_per_cycle > 0
    assert core.limit.bytes_per_cycle > 0
    assert core.limit.manual
    assert core.emulation.stands_in in ("", *CORES)
    for fpu, variant in core.variants.items():
        assert variant.zig[1].endswith("eabi" if fpu == "none" else "eabihf")
        soft = "-mfloat-abi=soft" if core.architecture == "arm" else "-mabi=ilp32"
        assert (soft in variant.gcc) == (fpu == "none")


@pytest.mark.parametrize("core", LINUX_CORES.values(), ids=lambda core: core.name)
def test_a_linux_core_is_whole(core: LinuxCore) -> None:
    assert core.zig[0] == "-target"
    assert core.zig[2].startswith("-mcpu=")


def test_a_made_up_core_is_one_new_file_and_is_exported_for(tmp_path: Path) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    package = tmp_path / "quarl"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(quarl.__file__).parent, package, ignore=ignore)
    shutil.copytree(targets_dir(), package / "targets", ignore=ignore)
    shutil.copytree(firmware_dir(), package / "firmware_harness", ignore=ignore)

    model = (package / "boards" / "cores" / "cortex_m33.py").read_text()
    made_up = model.replace('name="cortex-m33"', 'name="made-up-m99"')
    (package / "boards" / "cores" / "made_up_m99.py").write_text(made_up)
    board = (targets_dir() / "nucleo_u575zi" / "board.toml").read_text()
    board = board.replace('"nucleo_u575zi"', '"made_up"').replace('"cortex-m33"', '"made-up-m99"')
    (package / "targets" / "made_up").mkdir()
    (package / "targets" / "made_up" / "board.toml").write_text(board)

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = run(
        [sys.executable, script, default_cache_dir()],
        timeout=300,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["package"] == str(package / "__init__.py")
    assert found["cpu"] == "made-up-m99"
    assert (found["compared"], found["differing"]) == (4, 0)
    assert "0x08000000" in found["script"]
    assert "borrowed for this core" in found["assumptions"]
