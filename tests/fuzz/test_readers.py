"""Whatever in quarl reads bytes that come from others has a target of the fuzzing: a new reader
without one fails here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from quarl.importers import IMPORTERS
from tests.fuzz.targets import TARGETS

PACKAGE = Path(__file__).parents[2] / "toolchain" / "quarl"
OPENS = {
    "open_file", "read_file", "open_member", "read_member", "read_toml", "parse_toml", "read_npz",
    "npz_arrays", "Archive", "table_at", "read_json", "decode", "parse_npy", "open_hdf5",
}  # fmt: skip
LOADS = {
    "json": {"load", "loads"}, "np": {"load", "fromfile"}, "torch": {"load"}, "pickle": {"loads"},
    "tomllib": {"loads"}, "csv": {"reader", "DictReader"}, "sqlite3": {"connect"},
    "ElementTree": {"fromstring"}, "parquet": {"read_table", "ParquetFile"},
}  # fmt: skip
IMPORTER_TARGETS = {name: name for name in TARGETS} | {"quarl": "npz"}
# rooms whose files are quarl's own, or made by a process or a device that quarl talks to
OWN_ROOMS = {
    "cli": "prints what was read elsewhere, and reads what the user types",
    "files": "the readers themselves, which every target goes through",
    "firmware": "sources and builds of quarl's own",
    "links": "answers of devices: the target frames, and tests/links",
    "pi": "the agent on the computer itself; tests/pi",
    "reports": "templates of quarl's own",
    "train": "checkpoints of a training in its user's own folder",
    "workers": "values that quarl's own processes send each other",
}
READ_BY = {
    "actorq/checkpoint.py": "tests/actorq/test_foreign_run.py: it needs torch",
    "actorq/energy.py": "counters of the kernel",
    "actorq/evaluating.py": "run",
    "actorq/folder.py": "run",
    "actorq/kernel.py": "the C source of quarl's own kernel, and what it was built into",
    "actorq/recipes.py": "toml",
    "actorq/record.py": "run",
    "actorq/release.py": "tests/actorq/test_foreign_run.py: it needs a run",
    "actorq/store.py": "tests/actorq/test_foreign_run.py: it needs a store",
    "api.py": "toml",
    "boards/find.py": "documents",
    "boards/from_pack.py": "chips",
    "boards/microcontroller.py": "toml",
    "bundle/example.py": "bundle",
    "bundle/manifest.py": "bundle",
    "bundle/policy_file.py": "npz",
    "bundle/release.py": "bundle",
    "bundle/writing.py": "bundle",
    "emitters/tflite_file.py": "tflite",
    "evidence/backends.py": "bundle",
    "evidence/evidence.py": "bundle",
    "finetune/notebook.py": "quarl's own notebook, and what it has just learned",
    "graph/contract.py": "documents",
    "importers/chainer.py": "chainer",
    "importers/detect.py": "sb3",
    "importers/hdf5.py": "hdf5",
    "importers/keras/file.py": "keras",
    "importers/onnx/file.py": "onnx",
    "importers/proofs/torch.py": "weights_only, in the process of a proof: tests/importers",
    "importers/rl_tools.py": "rl_tools",
    "importers/rllib.py": "rllib",
    "importers/safetensors.py": "safetensors",
    "importers/savedmodel/graph.py": "savedmodel",
    "importers/sb3/__init__.py": "sb3",
    "importers/sb3/data.py": "sb3",
    "importers/tflite/file.py": "tflite",
    "importers/torch/exported.py": "pt2",
    "importers/torch/script.py": "torchscript",
    "importers/torch/state.py": "cleanrl",
    "importers/torch/trainers.py": "tests/files/test_quick_texts.py: one pattern in a text",
    "profiles/host.py": "bundle",
    "profiles/device.py": "bundle",
    "profiles/emulated.py": "bundle",
    "profiles/pi/program.py": "what quarl's own process has said of a program it built",
    "profiles/pi/report.py": "bundle",
    "pytest_plugin.py": "toml",
    "quantize/error_report.py": "bundle",
    "quantize/observation_file.py": "observations",
    "rollouts/env_child.py": "answers",
    "runtimes/worker.py": "requests of quarl's own",
    "sources/beside.py": "beside",
    "sources/contract_file.py": "toml",
    "sources/data_sets.py": "lerobot",
    "sources/normalizer_file.py": "npz",
    "sources/pickled_statistics.py": "statistics",
    "sources/recipe.py": "toml",
    "sources/run_folder.py": "beside",
    "sources/weights.py": "toml",
    "study/peers.py": "what another quantiser has just written",
    "study/plan.py": "toml",
    "study/result.py": "run",
    "study/run_cell.py": "npz",
    "study/store.py": "run",
    "tools.py": "answers of quarl's own processes",
    "verdict/attestation/envelope.py": "documents",
    "verdict/attestation/keys.py": "tests/verdict/test_signatures.py",
    "verdict/attestation/sbom.py": "what a library has just written",
    "verdict/attestation/sign.py": "documents",
    "verdict/baseline.py": "documents",
    "verdict/formats/verdict_json.py": "documents",
    "verdict/history_file.py": "history",
    "verdict/limits.py": "toml",
    "verdict/stored.py": "bundle",
}


def reads(path: Path) -> bool:
    """Whether a module opens or parses anything."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("quarl."):
                if OPENS.intersection(alias.name for alias in names):
                    return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)) if (
                name in LOADS.get(module, ())
            ):
                return True
            case ast.Call(func=ast.Attribute(attr="read_text" | "read_bytes")):
                return True
    return False


READERS = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in OWN_ROOMS and reads(path)
)


@pytest.mark.parametrize("module", READERS)
def test_a_module_that_reads_has_a_target_or_a_reason(module: str) -> None:
    assert module in READ_BY, "write a target in tests/fuzz, and name it in READ_BY"
    named = READ_BY[module]
    assert named in TARGETS or " " in named or (PACKAGE.parents[1] / named).exists()


def test_the_list_names_no_module_that_reads_nothing() -> None:
    assert set(READ_BY) - set(READERS) == set()


@pytest.mark.parametrize("importer", IMPORTERS)
def test_an_importer_has_a_target(importer: str) -> None:
    assert IMPORTER_TARGETS[importer] in TARGETS
