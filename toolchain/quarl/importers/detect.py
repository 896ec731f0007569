"""Which framework wrote a file, recognised by its content, not its name."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import BinaryIO

from quarl.errors import InputError
from quarl.files.archives import Archive
from quarl.files.open import open_file
from quarl.importers.rllib_folder import module_folder

ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
TFLITE_MAGIC = b"TFL3"  # at offset 4
PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
RL_TOOLS, RL_TOOLS_BYTES = (b"actor", b"parameters", b"type"), 1 << 20
KERAS = (b"keras_version", b"model_config", b"layer_names", b"vars\0")
CHAINER = b"\0W\0"  # the weights of a link, in the list of names of its group
KNOWN = (
    "a Stable-Baselines3 .zip, a torch checkpoint or state dict, TorchScript, .pt2, .safetensors, "
    ".keras, .h5 of Keras, rl_tools or Chainer, .npz of Chainer, a SavedModel folder, .onnx or "
    ".tflite"
)


def detect_format(path: Path) -> str:
    """Return the name of the importer, one of `quarl.importers.IMPORTERS`.

    Raises:
        InputError: no such path, or no format quarl reads.
        UntrustedFileError: a zip whose directory claims more than the limits of `archives`.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "savedmodel"
        if module_folder(path) is not None:
            return "rllib"
        raise InputError(
            f"{path.name}: a folder without saved_model.pb is not a SavedModel, and without "
            f"module_state.pkl no checkpoint of RLlib: give {KNOWN}"
        )
    with open_file(path) as file:
        head = file.read(64)
    if not head:
        raise InputError(f"{path.name}: the file is empty: copy it again")
    if head.startswith(ZIP_MAGIC):
        return _zip_format(path)
    if head.startswith(HDF5_MAGIC):
        return _hdf5_format(path)
    if head[4:8] == TFLITE_MAGIC:
        return "tflite"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "safetensors"
    if head.startswith(PICKLE_MAGIC):
        raise InputError(
            f"{path.name}: a bare pickle (an old torch file or a pickled object) can run code "
            "when read, so quarl does not read it. "
            "Where you trust it, load it in its framework and save the state dict with "
            "torch.save(agent.state_dict(), FILE)"
        )
    if _is_onnx(path):
        return "onnx"
    raise InputError(
        f"{path.name}: not a policy file quarl knows (it starts with {head[:8].hex(' ')}): "
        f"give {KNOWN}"
    )


def _zip_format(path: Path) -> str:
    with Archive(path) as archive:
        names = archive.names
    if "policy.pth" in names and "data" in names:
        return "sb3"
    if "config.json" in names and "model.weights.h5" in names:
        return "keras"
    if "document.npy" in names:
        return "quarl"
    if all(name.endswith(".npy") for name in names) and any(
        name == "W.npy" or name.endswith("/W.npy") for name in names
    ):
        return "chainer"
    if any(name.endswith(("/archive_format", "/models/model.json")) for name in names):
        return "pt2"
    if any(name == "constants.pkl" or name.endswith("/constants.pkl") for name in names):
        return "torchscript"
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "cleanrl"
    listed = ", ".join(sorted(names)[:5])
    raise InputError(
        f"{path.name}: a zip that is not a policy file (it holds {listed or 'nothing'}): give "
        f"{KNOWN}"
    )


def _hdf5_format(path: Path) -> str:
    """Return whose HDF5 file it is, by the names that each gives its groups and arrays."""
    with open_file(path) as file:
        first = file.read(RL_TOOLS_BYTES)
        if all(word in first for word in RL_TOOLS) and b"model_config" not in first:
            return "rl_tools"
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            is_keras = any(content.find(word) >= 0 for word in KERAS)
            return "chainer" if not is_keras and content.find(CHAINER) >= 0 else "keras"


def _is_onnx(path: Path) -> bool:
    """Whether the top-level protobuf fields are those of an ONNX ModelProto: ir_version (1, varint)
    and graph (7, bytes).

    A file cut off inside a field still counts, so that the ONNX reader can say so.
    """
    size = path.stat().st_size
    seen: set[tuple[int, int]] = set()
    with open_file(path) as file:
        for _ in range(4096):
            key = _varint(file)
            if key is None:
                break
            field, wire = key >> 3, key & 7
            value = _varint(file) if wire in (0, 2) else None
            if not 1 <= field <= 25 or value is None:  # ModelProto's fields, onnx.proto
                return False
            seen.add((field, wire))
            if wire == 2:
                if file.tell() + value > size:
                    break
                file.seek(value, 1)
    return {(1, 0), (7, 2)} <= seen


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    return None
