"""The process that reads HDF5 files keeps within the user's own limits, and blames the file only
for what the file did.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from quarl.errors import DeviceError, InputError
from quarl.importers import hdf5
from quarl.importers.hdf5 import open_hdf5
from quarl.tools import own_module

READ = (
    "from pathlib import Path; import sys; from quarl.importers.hdf5 import open_hdf5;"
    "print(open_hdf5(Path(sys.argv[1]), 'w').array('layers/a', (3,)).sum())"
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/a"] = np.ones(3, np.float32)
    return tmp_path / "w.h5"


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "hard"),
    [(resource.RLIMIT_AS, 1_500 << 20), (resource.RLIMIT_CPU, 4), (resource.RLIMIT_CORE, 0)],
)
def test_a_hard_limit_of_the_user_is_kept_and_the_file_is_read(
    weights: Path, kind: int, hard: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ, weights],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(kind, (hard, hard)),
    )  # fmt: skip
    assert done.stdout == "3.0\n", done.stderr


def test_a_process_that_cannot_start_does_not_blame_the_file(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "own_module", lambda name: own_module("quarl.no_such_module"))
    with pytest.raises(DeviceError, match="the process that reads HDF5 files failed"):
        open_hdf5(weights, "w.h5")


@pytest.mark.long
def test_a_damaged_file_is_blamed(weights: Path) -> None:
    for content in (b"", b"\x89HDF\r\n\x1a\n" + bytes(100), weights.read_bytes()[:-500]):
        with pytest.raises(InputError, match=r"w\.h5: not a complete HDF5 file"):
            open_hdf5(content, "w.h5")


def test_a_machine_that_is_too_busy_is_not_taken_for_a_damaged_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hdf5, "TIMEOUT_S", 1e-3)
    with pytest.raises(InputError, match=r"w\.h5: was not read within 0\.001 s: this machine is"):
        hdf5.open_hdf5(b"\x89HDF\r\n\x1a\n", "w.h5")
