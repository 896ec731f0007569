"""The bundle: whole or not at all, and it knows when it was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
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
from quarl.files import folder as folders
from quarl.files.atomic import scratch_prefix, write_whole

INJECTED = 'a"\n#error injected\n#define X "'
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


def test_a_foreign_folder_with_a_manifest_of_its_own_is_never_touched(tmp_path: Path) -> None:
    app = tmp_path / "webapp"
    (app / "src").mkdir(parents=True)
    (app / "src" / "app.js").write_text("mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    for document in (
        '{"name": "x"}',
        "[]",
        "not JSON",
        '{"files": {}}',
        f'{{"files": {{"src/app.js": "{digest}"}}}}',
        '{"format": 1, "origin": {"sha256": "0"}, "files": {"a": "0"}}',
    ):
        (app / MANIFEST).write_text(document)
        for write in (check_target, lambda folder: write_bundle(folder, manifest(FILES), FILES)):
            with pytest.raises(InputError, match="--out"):
                write(app)
    assert (app / "src" / "app.js").read_text() == "mine"


def _note(folder: Path) -> str:
    (folder / "notes.txt").write_text("mine")
    return "notes.txt"


def _changed(folder: Path) -> str:
    (folder / "model.tflite").write_bytes(b"tuned by hand")
    return "model.tflite"


def _linked(folder: Path) -> str:
    (folder / "verdict.json").symlink_to(folder / "contract.json")
    return "verdict.json"


def _inner_folder(folder: Path) -> str:
    (folder / "mine").mkdir()
    return "mine"


@pytest.mark.parametrize("add", [_note, _changed, _linked, _inner_folder])
def test_a_bundle_that_holds_anything_else_is_kept_and_the_first_stranger_is_named(
    tmp_path: Path, add: Callable[[Path], str]
) -> None:
    folder = write_bundle(tmp_path / "out", manifest(FILES), FILES).folder
    stranger = add(folder)
    with pytest.raises(InputError, match=f"--out .*{stranger}"):
        write_bundle(folder, manifest(FILES), FILES)
    assert (folder / stranger).exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_stage_left_in_a_bundle_does_not_hinder(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "out", manifest(FILES), FILES).folder
    (folder / f"{scratch_prefix('verdict.json')}0000abcd").write_text("{")
    write_bundle(folder, manifest(FILES), FILES)
    assert {p.name for p in folder.iterdir()} == {*FILES, MANIFEST}


def test_a_link_to_a_folder_is_resolved_and_one_to_nothing_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    write_bundle(tmp_path / "out", manifest(FILES), FILES)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / MANIFEST).is_file()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is a link to .*nowhere"):
        write_bundle(tmp_path / "dangling", manifest(FILES), FILES)
    assert not (tmp_path / "nowhere").exists()


def test_a_name_of_400_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        check_target(tmp_path / ("n" * 400))


def test_a_bundle_whose_writer_was_killed_between_two_renames_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "out", manifest(FILES), FILES).folder

    def killed(scratch: Path, target: Path) -> None:
        target.rename(scratch / "old")
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "exchange", killed)
    monkeypatch.setattr(folders, "_recover_from", lambda *rest: None)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(folder, replace(manifest(FILES), name="newer"), FILES)
    assert not folder.exists()
    monkeypatch.undo()
    assert read_bundle(folder).manifest.name == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_in_a_bundle_is_not_followed(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "out", manifest(FILES), FILES)
    (tmp_path / "elsewhere").write_bytes(FILES["model.tflite"])
    (bundle.folder / "model.tflite").unlink()
    (bundle.folder / "model.tflite").symlink_to(tmp_path / "elsewhere")
    for read in (bundle.changed_files, lambda: bundle.read("model.tflite")):
        with pytest.raises(InputError, match="links are not followed"):
            read()


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
    outside = replace(manifest(FILES), files={"../secret": "0" * 64})
    (tmp_path / MANIFEST).write_text(outside.to_json())
    with pytest.raises(InputError, match="outside"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    "digest", [INJECTED, "", "0" * 63, "G" * 64, "0" * 64 + "\n", 7, None, ["0"]]
)
def test_a_digest_that_is_none_is_refused_wherever_the_manifest_has_one(
    tmp_path: Path, digest: object
) -> None:
    document = json.loads(manifest(FILES).to_json())
    for spoil in (
        {"contract_sha256": digest},
        {"origin": {**document["origin"], "sha256": digest}},
        {"files": {"model.tflite": digest}},
    ):
        (tmp_path / MANIFEST).write_text(json.dumps({**document, **spoil}))
        with pytest.raises(InputError, match="must be 64 hexadecimal digits"):
            read_bundle(tmp_path)
