"""What is fuzzed: every reader of bytes that come from outside. Each takes any bytes and may only
succeed or raise one of quarl's own errors. What was read goes on as far as a user would take it.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from quarl import pipeline
from quarl.boards.find import decode_board
from quarl.boards.linux import parse_linux_board
from quarl.boards.microcontroller import parse_board
from quarl.bundle.policy_file import policy_bytes, quant_policy_bytes, read_any_policy
from quarl.bundle.release import open_bundle
from quarl.emitters import emit_onnx, emit_tflite
from quarl.errors import DeviceError, InputError, QuarlError
from quarl.evidence.gather import stored_evidence
from quarl.files.toml import parse_toml
from quarl.firmware.lower import lower
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs
from quarl.importers import ImportOptions, read_policy
from quarl.importers.options import MissingActionError
from quarl.links.frames import FrameScanner, pack_frame, payload_of, take_frame
from quarl.profiles.measure import read_measurements
from quarl.quantize.calibration import Calibration, read_observations
from quarl.quantize.ladder import quantize_on_rung
from quarl.reports.contents import _quantization
from quarl.sources.contract_file import with_contract_file
from quarl.sources.normalizer_file import read_normalizer
from quarl.sources.recipe import parse_recipe
from quarl.sources.weights import read_stored
from quarl.study.plan import read_study
from quarl.verdict.attestation.envelope import IN_TOTO, Envelope, envelope_from
from quarl.verdict.attestation.sign import _files_of
from quarl.verdict.baseline import read_baseline
from quarl.verdict.formats import OUTPUTS
from quarl.verdict.formats.verdict_json import read_checks
from quarl.verdict.limits import read_gate_file
from quarl.verdict.stored import verdict_on
from tests.fuzz import around, seeds
from tests.fuzz.mutate import Mutator, changed_json, changed_text, damaged
from tests.fuzz.mutate_formats import (
    changed_database,
    changed_document_npy,
    changed_frames,
    changed_hdf5,
    changed_npy,
    changed_pickle,
    changed_safetensors,
    folder_changer,
    zip_changer,
)
from tests.fuzz.mutate_objects import changed_flatbuffer, proto_changer
from tests.verdict.test_history_edited import show_all

CORPUS = Path(__file__).parent / "corpus"
MOST_PAYLOAD = 200
IMAGES = tuple(Observation(shape, "uint8", "hwc") for shape in ((8, 8, 3), (9, 13, 3)))
DEEP_SHARE = (
    20  # one imported policy in so many becomes a bundle's files, which takes ten times as long
)
JUDGED_SHARE, SHOWN_SHARE = 6, 13  # one bundle in so many is judged, one in so many shown
MOST_VALUES = 4_000_000  # of a policy that is taken further; larger ones are only imported


@dataclass(frozen=True, slots=True)
class Target:
    """One reader.

    Attributes:
        read: takes any bytes, and a folder it may write to.
        spawns: parts of command lines that it may start.
    """

    read: Callable[[bytes, Path], object]
    seeds: Callable[[], tuple[bytes, ...]]
    mutate: Mutator
    spawns: tuple[str, ...] = ()

    def input(self, name: str, seed: int, number: int) -> bytes:
        """Return input number `number` of a campaign: always the same bytes."""
        rng = random.Random(f"{name}/{seed}/{number}")
        good = rng.choice(self.seeds())
        try:
            return self.mutate(good, rng)
        except Exception:  # a second change met what the first had made of the file
            return damaged(good, rng)


def use(policy: Policy | QuantPolicy, is_deep: bool = True) -> None:
    """Take a policy further: run it, and where it goes deep quantise it, emit it and pack it."""
    rng = np.random.default_rng(0)
    observation = policy.contract.observation
    if np.prod(observation.shape, dtype=object) * 64 > MOST_VALUES:
        return
    if observation.is_image:
        obs: Any = rng.integers(0, 256, (64, *observation.shape), np.uint8)
    else:
        obs = rng.normal(0, 1, (64, *observation.shape)).astype(observation.dtype)
    if isinstance(policy, Policy):
        if policy.parameter_count > MOST_VALUES:
            return
        with np.errstate(all="ignore"):
            policy.outputs(obs[:4])
            policy_bytes(policy)
            if not is_deep:
                return
            policy = quantize_on_rung(policy, Calibration(obs, np.zeros(0, np.int32)), 0)
    integer_outputs(policy, obs)
    lower(policy, "dsp")
    for emit in (emit_tflite, emit_onnx, quant_policy_bytes):
        emit(policy)


def imported(suffix: str, data: bytes, folder: Path) -> None:
    """Import a policy file; where the file cannot say its action, both kinds are tried."""
    path = folder / f"policy{suffix}"
    path.write_bytes(data)
    import_path(path, one_in(DEEP_SHARE, data))


def one_in(share: int, data: bytes) -> bool:
    """Return True for one input in `share`, always for the same ones."""
    return zlib.crc32(data) % share == 0


def import_path(path: Path, is_deep: bool) -> None:
    """Import a file or a folder as one who answers what quarl asks, and use what is found."""
    try:
        return use(_answered(path, None), is_deep)
    except InputError as error:
        if "--observation image:" not in str(error):
            raise
    for image in IMAGES:
        with suppress(InputError):
            return use(_answered(path, image), is_deep)
    raise InputError("none of the images is the one of this file")


def _answered(path: Path, observation: Observation | None) -> Policy | QuantPolicy:
    options = ImportOptions(observation=observation, no_normalizer=path.suffix == ".zip")
    try:
        return _with_output(path, options)
    except InputError as error:
        if "--activation" not in str(error) and not isinstance(error, MissingActionError):
            raise
    options = replace(options, activation="tanh")
    try:
        return read_policy(path, options)
    except MissingActionError as error:
        low, high = (-1.0,) * error.count, (1.0,) * error.count
        is_box = error.count % 2 or error.count > 1_000
        kind = Action("box", error.count, low, high) if is_box else Action("discrete", error.count)
        return _with_output(path, replace(options, action_space=kind))


def _with_output(path: Path, options: ImportOptions) -> Policy | QuantPolicy:
    """Import a file; the output that quarl asks to be named is named."""
    try:
        return read_policy(path, options)
    except InputError as error:
        asked = re.search(r"say --output ([\w:/.]+)$", str(error))
        if asked is None:
            raise
        return read_policy(path, replace(options, output=asked[1]))


def imported_folder(data: bytes, folder: Path) -> None:
    """Import a folder: a SavedModel, a checkpoint of RLlib."""
    seeds.unpack(data, folder / "saved")
    import_path(folder / "saved", one_in(DEEP_SHARE, data))


def npz(data: bytes, folder: Path) -> object:
    """Observations, a normaliser, a policy: each file is read as all three."""
    path = folder / "file.npz"
    path.write_bytes(data)
    contract = Contract(Observation((4,), "float32", "vector"), Action("discrete", 2))
    with suppress(QuarlError):
        return read_observations(path, contract)
    with suppress(QuarlError):
        return read_normalizer(path)
    return use(read_any_policy(path))


def toml(data: bytes, folder: Path) -> int:
    """Every kind of TOML file that quarl reads; how many of its readers took it."""
    where = "file.toml"
    for name in (where, "weights.toml"):
        (folder / name).write_bytes(data)
    text, taken = data.decode("utf-8", "replace"), 0
    for read in (
        lambda: parse_recipe(text, where),
        lambda: read_gate_file(text, where),
        lambda: parse_board(parse_toml(data, where), where, None),
        lambda: parse_linux_board(parse_toml(data, where), where, None),
        lambda: read_stored(folder),
        lambda: read_study(folder / where),
        lambda: with_contract_file(ImportOptions(), folder / where),
    ):
        with suppress(QuarlError):
            read()
            taken += 1
    return taken


def bundle(data: bytes, folder: Path) -> None:
    """A folder of a stranger: all that lies in it is read, and now and then judged or shown."""
    seeds.unpack(data, folder / "b")
    release = open_bundle(folder / "b")
    if one_in(SHOWN_SHARE, data):
        pipeline.report(release)
    if one_in(JUDGED_SHARE, data):
        verdict = pipeline.gate(release)
        for write in OUTPUTS.values():
            write(verdict)
    for read in (
        lambda: release.changed_files,
        lambda: read_measurements(release),
        lambda: stored_evidence(release),
        lambda: verdict_on(release),
        lambda: _quantization(release),
    ):
        with suppress(QuarlError):
            read()


def documents(data: bytes, folder: Path) -> None:
    """JSON documents that are no part of a bundle."""
    path = folder / "file.json"
    path.write_bytes(data)
    for read in (
        lambda: read_baseline(path),
        lambda: read_checks(data.decode("utf-8", "replace")),
        lambda: decode_board(data, "file.json"),
        lambda: Contract.from_json(data.decode("utf-8", "replace")),
        lambda: _files_of(envelope_from(data, "file.json"), "file.json"),
        lambda: _files_of(Envelope(data, IN_TOTO, ()), "file.json"),
    ):
        with suppress(QuarlError):
            read()


def history(data: bytes, folder: Path) -> None:
    """A database of runs, shown in every way."""
    path = folder / "history.sqlite3"
    path.write_bytes(data)
    show_all(path)


def frames(data: bytes, folder: Path) -> None:
    """What a device may send, whole and byte by byte: the same frames are found, each packs to
    bytes that came.
    """
    with suppress(DeviceError):
        frame, rest = take_frame(data)
        assert data.endswith(rest)
        if frame is not None:
            assert pack_frame(frame) in data
            with suppress(DeviceError):
                payload_of(frame, "R")
    whole, bytewise = FrameScanner(MOST_PAYLOAD), FrameScanner(MOST_PAYLOAD)
    found = whole.feed(data)
    assert found == [frame for i in range(len(data)) for frame in bytewise.feed(data[i : i + 1])]
    for frame in (*found, *whole.give_up()):
        assert pack_frame(frame) in data
        assert len(frame.payload) <= MOST_PAYLOAD


@cache
def _saved_model() -> Any:
    from tensorflow.core.protobuf import saved_model_pb2  # type: ignore[import-untyped]

    return saved_model_pb2.SavedModel


def _onnx_model() -> Any:
    import onnx

    return onnx.ModelProto()


_torch = zip_changer({"data.pkl": changed_pickle})
_members = {
    ".json": changed_json,
    "document.npy": changed_document_npy,
    ".npy": changed_npy,
    ".tflite": changed_flatbuffer,
    ".onnx": proto_changer(_onnx_model),
    ".npz": zip_changer({"document.npy": changed_document_npy, ".npy": changed_npy}),
}
TARGETS: dict[str, Target] = {
    "sb3": Target(
        partial(imported, ".zip"),
        seeds.sb3,
        zip_changer({"data": changed_json, ".pth": _torch, ".txt": damaged}),
    ),
    "cleanrl": Target(partial(imported, ".pt"), seeds.cleanrl, _torch),
    "safetensors": Target(
        partial(imported, ".safetensors"), seeds.safetensors, changed_safetensors
    ),
    "torchscript": Target(
        partial(imported, ".pt"),
        seeds.torchscript,
        zip_changer({".pkl": changed_pickle, ".py": changed_text, ".json": changed_json}),
    ),
    "pt2": Target(
        partial(imported, ".pt2"), seeds.pt2, zip_changer({".json": changed_json, ".pt": _torch})
    ),
    "onnx": Target(partial(imported, ".onnx"), seeds.onnx, proto_changer(_onnx_model)),
    "tflite": Target(partial(imported, ".tflite"), seeds.tflite, changed_flatbuffer),
    "keras": Target(
        partial(imported, ".keras"),
        seeds.keras,
        zip_changer({".json": changed_json, ".h5": changed_hdf5}),
        ("hdf5_worker",),
    ),
    "hdf5": Target(partial(imported, ".h5"), seeds.hdf5, changed_hdf5, ("hdf5_worker",)),
    "chainer": Target(partial(imported, ".npz"), seeds.chainer, _members[".npz"]),
    "rl_tools": Target(
        partial(imported, ".h5"), around.rl_tools_seeds, changed_hdf5, ("hdf5_worker",)
    ),
    "rllib": Target(imported_folder, around.rllib_seeds, around.changed_rllib),
    "savedmodel": Target(
        imported_folder,
        seeds.savedmodel,
        folder_changer({"saved_model.pb": proto_changer(lambda: _saved_model()())}),
    ),
    "npz": Target(npz, seeds.npz, _members[".npz"]),
    "toml": Target(toml, seeds.toml, changed_text),
    "bundle": Target(bundle, seeds.bundle, folder_changer(_members), ("runtimes.apart",)),
    "documents": Target(documents, seeds.documents, changed_json),
    "history": Target(history, seeds.history, changed_database),
    "frames": Target(frames, seeds.frames, changed_frames),
    **{name: Target(*parts) for name, parts in around.AROUND.items()},
}
"""By name, in the order in which they are reported."""
