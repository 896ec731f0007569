"""The bundle: whole or not at all, and it knows when it was changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.bundle.manifest import MANIFEST, Manifest, Origin, manifest_from
from quarl.bundle.release import Release, open_bundle
from quarl.bundle.writing import check_target, write_bundle
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.files import folder as folders
from quarl.files.atomic import scratch_prefix, write_whole
from quarl.files.digests import digests
from quarl.files.open import read_member
from quarl.graph.env_spec import EnvSpec

INJECTED = 'a"\n#error injected\n#define X "'
FILES = {"contract.json": b"{}\n", "model.tflite": b"\x00\x01\x02"}


def manifest(files: dict[str, bytes], name: str = "mine") -> Manifest:
    return Manifest(
        name=name,
        origin=Origin("policy.zip", "0" * 64, "PPO", "stable-baselines3", None),
        contract_sha256="1" * 64,
        rung=3,
        ladder=(),
        calibration=None,
        env=EnvSpec("CartPole-v1", {"sutton_barto_reward": False}),
        limits=Limits(),
        board=None,
        tools={"quarl": "0"},
        files=digests(files),
    )


def write(folder: Path, files: dict[str, bytes], name: str = "mine") -> Path:
    write_bundle(folder, {**files, MANIFEST: manifest(files, name).to_json()})
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Release:
    out = tmp_path_factory.mktemp("exported") / "cartpole"
    source = pipeline.import_source("cartpole_ppo")
    return pipeline.export(source, out, ExportRequest(rung=0, limits=Limits(random_return=20.0)))


@pytest.fixture
def copy(exported: Release, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "copy"))


def test_a_manifest_comes_back_as_it_was_written() -> None:
    written = manifest(FILES)
    assert manifest_from(written.to_json(), "manifest.json") == written


def test_a_release_that_is_opened_equals_the_one_that_was_exported(exported: Release) -> None:
    opened = open_bundle(exported.folder)
    assert opened.manifest == exported.manifest
    assert opened.manifest_sha256 == exported.manifest_sha256
    assert opened.contract == exported.contract
    assert opened.files == exported.files
    assert opened.changed_files == exported.changed_files == ()
    for name in ("obs", "outputs", "actions"):
        np.testing.assert_array_equal(
            getattr(opened.example, name), getattr(exported.example, name)
        )


def test_each_file_is_read_once_and_hashed_once(
    exported: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counted(folder: Path, name: str) -> bytes:
        reads.append(name)
        return read_member(folder, name)

    monkeypatch.setattr("quarl.bundle.release.read_member", counted)
    open_bundle(exported.folder)
    assert sorted(reads) == sorted([MANIFEST, *exported.manifest.files])


@pytest.mark.long
def test_a_file_that_changes_after_the_bundle_was_opened_does_not_matter(copy: Path) -> None:
    opened = open_bundle(copy)
    (copy / "model.tflite").write_bytes(b"other")
    (copy / "policy.npz").unlink()
    assert opened.file("model.tflite") != b"other"
    assert pipeline.parity(opened).backends[0].differing == 0


def test_changed_and_missing_files_are_named(copy: Path) -> None:
    (copy / "model.tflite").write_bytes(b"\x00\x01\x03")
    (copy / "model.onnx").unlink()
    opened = open_bundle(copy)
    assert [line.split(":")[0] for line in opened.changed_files] == ["model.onnx", "model.tflite"]
    with pytest.raises(InputError, match=r"model\.onnx: is missing"):
        opened.file("model.onnx")


@pytest.mark.parametrize("name", ["contract.json", "policy.npz", "example.npz"])
def test_a_bundle_without_what_every_stage_needs_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"{name}: is missing"):
        open_bundle(copy)


def test_a_bundle_of_the_older_format_is_refused_with_the_way_out(copy: Path) -> None:
    document = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**document, "format": 1}))
    with pytest.raises(InputError, match="format 1; this quarl reads format 2: export"):
        open_bundle(copy)


def test_the_manifest_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, FILES) for name in "ab")
    assert (first / MANIFEST).read_bytes() == (second / MANIFEST).read_bytes()


def test_an_older_bundle_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", FILES)
    for name in ("verdict.json", "firmware.nrf52840_dk.json"):
        write_whole(folder / name, b"{}")
    write(folder, {"contract.json": b"{}\n"})
    assert {p.name for p in folder.iterdir()} == {"contract.json", MANIFEST}
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
        with pytest.raises(InputError, match="--out"):
            check_target(app)
        with pytest.raises(InputError, match="--out"):
            write(app, FILES)
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
    folder = write(tmp_path / "out", FILES)
    stranger = add(folder)
    with pytest.raises(InputError, match=f"--out .*{stranger}"):
        write(folder, FILES)
    assert (folder / stranger).exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_stage_left_in_a_bundle_does_not_hinder(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", FILES)
    (folder / f"{scratch_prefix('verdict.json')}0000abcd").write_text("{")
    write(folder, FILES)
    assert {p.name for p in folder.iterdir()} == {*FILES, MANIFEST}


def test_a_link_to_a_folder_is_resolved_and_one_to_nothing_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    write(tmp_path / "out", FILES)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / MANIFEST).is_file()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is a link to .*nowhere"):
        write(tmp_path / "dangling", FILES)
    assert not (tmp_path / "nowhere").exists()


def test_a_name_of_400_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        check_target(tmp_path / ("n" * 400))


def test_a_bundle_whose_writer_was_killed_between_two_renames_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "out", FILES)

    def killed(scratch: Path, target: Path) -> None:
        target.rename(scratch / "old")
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "exchange", killed)
    monkeypatch.setattr(folders, "_recover_from", lambda *rest: None)
    with pytest.raises(KeyboardInterrupt):
        write(folder, FILES, "newer")
    assert not folder.exists()
    monkeypatch.undo()
    with pytest.raises(InputError, match="is missing"):  # it is found; this one is no whole bundle
        open_bundle(folder)
    found = manifest_from((folder / MANIFEST).read_bytes(), "")
    assert found.name == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_in_a_bundle_is_not_followed(copy: Path, tmp_path: Path) -> None:
    path = copy / "model.tflite"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="links are not followed"):
        open_bundle(copy)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", FILES)
    assert (tmp_path / "out" / MANIFEST).is_file()


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
        open_bundle(tmp_path)


def test_a_manifest_may_not_list_files_outside_the_bundle(tmp_path: Path) -> None:
    outside = replace(manifest(FILES), files={"../secret": "0" * 64})
    (tmp_path / MANIFEST).write_bytes(outside.to_json())
    with pytest.raises(InputError, match="outside"):
        open_bundle(tmp_path)


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
        with pytest.raises(InputError, match="is not a manifest"):
            open_bundle(tmp_path)
