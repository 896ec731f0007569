"""An import is cheap: no framework is loaded, and a small policy takes little time and memory."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.support.sources import SAMPLES
from tests.support.sources.sample import Sample

MOST_S, MOST_BYTES = 2.0, 300 << 20
SCRIPT = """
import json, pickle, resource, sys
from pathlib import Path
from quarl.importers import read_policy
options = pickle.loads(Path(sys.argv[2]).read_bytes())
read_policy(Path(sys.argv[1]), options)
used = resource.getrusage(resource.RUSAGE_SELF)
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]  # in KiB
loaded = [name for name in ("torch", "tensorflow", "keras") if name in sys.modules]
print(json.dumps([used.ru_utime + used.ru_stime, int(peak) * 1024, loaded]))
"""
READ = [s for s in SAMPLES if not s.refusal and not s.source.startswith("SavedModel")]


def cost(sample: Sample, folder: Path) -> Any:
    path, options = sample.make(folder), folder / "options.pickle"
    options.write_bytes(pickle.dumps(sample.options))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path, options], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("sample", [pytest.param(s, id=s.name) for s in READ])
def test_an_import_takes_little_and_loads_no_framework(sample: Sample, tmp_path: Path) -> None:
    need("torch", "stable_baselines3", "tensorflow")
    seconds, memory, loaded = cost(sample, tmp_path)
    assert loaded == []
    assert seconds < MOST_S, "CPU time of the whole process"
    assert memory < MOST_BYTES


PROOF = """
import sys
from quarl.importers.proofs import ImportProof, prove_import
from quarl.pipeline import import_source
source = import_source("nav_ppo")
proof = prove_import(source.file, source.policy, True, None)
assert isinstance(proof, ImportProof), proof
print([name for name in ("torch._dynamo", "tensorflow", "tensorboard") if name in sys.modules])
"""


@pytest.mark.long
def test_a_proof_loads_no_compiler_of_its_framework() -> None:
    need("torch", "stable_baselines3")
    done = subprocess.run([sys.executable, "-c", PROOF], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
