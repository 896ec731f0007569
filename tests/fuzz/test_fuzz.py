"""Bytes from outside never raise anything but quarl's own errors, run nothing and stay within time
and memory: what was once found, and mutated good files. `make fuzz` looks for more.
"""

from __future__ import annotations

import io
import os
import random
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import need
from tests.fuzz.campaign import Count, outcome, run_campaign
from tests.fuzz.mutate import changed_tree, damaged
from tests.fuzz.targets import CORPUS, TARGETS

KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
FEW = dict.fromkeys(TARGETS, 25) | {
    "hdf5": 2,
    "rl_tools": 2,
    "keras": 2,
    "bundle": 8,
    "frames": 300,
}
"""Inputs of each reader in the quick tests: a few seconds together."""
MANY = dict.fromkeys(TARGETS, 10_000) | {"hdf5": 1_000, "rl_tools": 1_000}
"""In `make test-all`. An `.h5` starts a process of its own."""
SLOW_SEEDS = {
    "savedmodel": "tensorflow", "torchscript": "torch", "pt2": "torch", "lerobot": "pyarrow"
}  # fmt: skip
"""Files that only their framework writes."""
SEED = 20


def check(name: str, data: bytes, folder: Path) -> None:
    what, why = outcome(TARGETS[name], data, folder)
    assert what in ("read", "refused"), f"{what}: {why}"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_kept_is_read_or_refused(tmp_path: Path, path: Path) -> None:
    if path.parent.name == "savedmodel":  # TensorFlow reads it too
        need("tensorflow")
    check(path.parent.name, path.read_bytes(), tmp_path)


def test_the_corpus_is_small_and_of_known_readers() -> None:
    assert {path.parent.name for path in KEPT} <= set(TARGETS)
    assert sum(path.stat().st_size for path in KEPT) < 200_000


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in TARGETS if name not in SLOW_SEEDS])
def test_good_files_are_read(tmp_path: Path, name: str) -> None:
    for number, seed in enumerate(dict.fromkeys(TARGETS[name].seeds())):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert outcome(TARGETS[name], seed, folder) == ("read", "")


@pytest.mark.long
@pytest.mark.parametrize("name", ["bundle", "onnx", "tflite"])
def test_the_ways_that_few_inputs_go_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for share in ("SHOWN_SHARE", "JUDGED_SHARE", "DEEP_SHARE"):
        monkeypatch.setattr(f"tests.fuzz.targets.{share}", 1)
    assert outcome(TARGETS[name], TARGETS[name].seeds()[0], tmp_path) == ("read", "")


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in SLOW_SEEDS])
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    for number in range(FEW[name]):
        folder = tmp_path / str(number)
        folder.mkdir()
        check(name, TARGETS[name].input(name, SEED, number), folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TARGETS))
def test_ten_thousand_mutated_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    if name in SLOW_SEEDS:
        need(SLOW_SEEDS[name])
    count = run_campaign(name, MANY[name], seed=SEED, found=tmp_path)
    assert count.inputs == MANY[name]
    assert count.is_clean, count


@given(st.binary(max_size=400))
def test_any_bytes_as_a_stream_of_frames(content: bytes) -> None:
    TARGETS["frames"].read(content, Path())


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in SLOW_SEEDS])
def test_an_input_is_known_by_its_number(name: str) -> None:
    target = TARGETS[name]
    first = [target.input(name, SEED, number) for number in range(3)]
    assert first == [target.input(name, SEED, number) for number in range(3)]
    assert len(set(first)) > 1


def test_no_clock_is_in_a_folder_of_files() -> None:
    with zipfile.ZipFile(io.BytesIO(TARGETS["rllib"].seeds()[0])) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


@pytest.mark.parametrize("name", ["cleanrl", "toml", "frames"])
def test_most_mutated_files_differ_from_the_good_one(name: str) -> None:
    target = TARGETS[name]
    made = [target.input(name, SEED, number) for number in range(40)]
    assert sum(data not in target.seeds() for data in made) > 30


@pytest.mark.parametrize("seed", TARGETS["toml"].seeds(), ids=lambda seed: repr(seed[:30]))
def test_a_reader_takes_each_toml_file_before_it_is_changed(tmp_path: Path, seed: bytes) -> None:
    assert TARGETS["toml"].read(seed, tmp_path) == 1


def test_one_input_leaves_nothing_in_the_next() -> None:
    tree = {"a": [1, {"b": [2]}], "c": {"d": 3}}

    def made(seed: int) -> str:
        return repr(changed_tree(tree, random.Random(seed)))

    first = [made(seed) for seed in range(2_000)]
    assert [made(seed) for seed in range(2_000)] == first


def test_damage_changes_bytes() -> None:
    rng = random.Random(1)
    assert sum(damaged(b"0123456789" * 9, rng) != b"0123456789" * 9 for _ in range(50)) > 45


# The campaign itself: what it must see, shown on readers that misbehave.


def misbehaving(monkeypatch: pytest.MonkeyPatch, body: str) -> Count:
    bodies = {
        "raises": lambda: [][1],
        "leaves": lambda: exit(0),
        "dies": lambda: os.kill(os.getpid(), 11),
        "computes": lambda: any(iter(int, 1)),
        "sleeps": lambda: time.sleep(100),
        "fills": lambda: bytearray(1_200_000_000)[::4096],
        "writes": lambda: (Path.home() / ".quarl-fuzz-test").open("w"),
        "starts": lambda: os.system("true"),
    }
    target = TARGETS["frames"]
    seen: list[bytes] = []

    def read(data: bytes, folder: Path) -> None:
        seen.append(data)
        if len(seen) == 2:
            bodies[body]()

    monkeypatch.setitem(TARGETS, "frames", replace(target, read=read))
    if body in ("computes", "sleeps"):
        monkeypatch.setattr("tests.fuzz.campaign.HANG_CPU_S", 0.3)
        monkeypatch.setattr("tests.fuzz.campaign.HANG_WALL_S", 2)
    try:
        return run_campaign("frames", 5, seed=1)
    finally:
        (Path.home() / ".quarl-fuzz-test").unlink(missing_ok=True)


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("raises", "defects"), ("leaves", "defects"), ("dies", "crashes"), ("computes", "hangs"),
        ("sleeps", "hangs"), ("fills", "large"), ("writes", "executions"), ("starts", "executions"),
    ],
)  # fmt: skip
def test_a_campaign_counts_what_goes_wrong_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, body: str, field: str
) -> None:
    count = misbehaving(monkeypatch, body)
    assert count.inputs == 5
    assert getattr(count, field) >= 1
    assert not count.is_clean
