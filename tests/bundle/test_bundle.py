"""The bundle: whole or not at all, and it knows when it was changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quarl.bundle.bundle import (
    MANIFEST,
    Manifest,
    Origin,
    check_target,
    digests,
    read_bundle,
    write_bundle,
)
from quarl.errors import InputError
from quarl.files.atomic import write_whole

FILES = {"contract.json": b"{}\n", "model.tflite": b"\x00\x01\x02"}


def manifest(files: dict[str, bytes]) -> Manifest:
    origin = Origin("policy.zip", "0" * 64, "PPO", "stable-baselines3", None)
    return Manifest(
        "mine",
        origin,
        "1" * 64,
        3,
        (),
        {"observations": 20},
        None,
        None,
        None,
        {"quarl": "0"},
        digests(files),
    )


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_bundle(tmp_path / "out", manifest(FILES), FILES)
    bundle = read_bundle(tmp_path / "out")
    assert bundle.manifest == manifest(FILES)
    assert bundle.read("model.tflite") == FILES["model.tflite"]
    assert bundle.changed_files() == ()


def test_the_manifest_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = (write_bundle(tmp_path / name, manifest(FILES), FILES) for name in "ab")
    assert (first.folder / MANIFEST).read_bytes() == (second.folder / MANIFEST).read_bytes()


def test_changed_and_missing_files_are_named(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "out", manifest(FILES), FILES)
    (bundle.folder / "model.tflite").write_bytes(b"\x00\x01\x03")
    (bundle.folder / "contract.json").unlink()
    assert [line.split(":")[0] for line in bundle.changed_files()] == [
        "contract.json",
        "model.tflite",
    ]


def test_an_older_bundle_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    old = write_bundle(tmp_path / "out", manifest(FILES), FILES)
    old.add("verdict.json", "{}")
    fewer = {"contract.json": b"{}\n"}
    write_bundle(tmp_path / "out", manifest(fewer), fewer)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"contract.json", MANIFEST}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("make", ["file", "foreign folder"])
def test_a_place_that_is_taken_is_refused(tmp_path: Path, make: str) -> None:
    if make == "file":
        (tmp_path / "out").write_text("mine")
    else:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="--out"):
        check_target(tmp_path / "out")


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_bundle(tmp_path / "out", manifest(FILES), FILES)
    assert read_bundle(tmp_path / "out").manifest.name == "mine"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "gate.xml").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "gate.xml", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["gate.xml"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "origin": {}}',
        '{"format": 1, "surprise": 1}',
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError, match="manifest"):
        read_bundle(tmp_path)


def test_a_manifest_may_not_list_files_outside_the_bundle(tmp_path: Path) -> None:
    outside = replace(manifest(FILES), files={"../secret": "0"})
    (tmp_path / MANIFEST).write_text(outside.to_json())
    with pytest.raises(InputError, match="outside"):
        read_bundle(tmp_path)
