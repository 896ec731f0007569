"""The source framework is recognised by content; what is not a policy file gets one clear
message.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.importers import detect_format, read_policy
from tests.conftest import need
from tests.support.bombs import torch_file, zip_bytes


def varint(field: int, value: int) -> bytes:
    return bytes([field << 3, value])


def chunk(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2, len(data)]) + data


ONNX = varint(1, 8) + chunk(2, b"pytorch") + chunk(7, b"graph") + chunk(8, b"opset")
FORMATS = {
    "sb3": zip_bytes({"data": b"{}", "policy.pth": b""}),
    "cleanrl": torch_file(b"\x80\x02}."),
    "keras": zip_bytes({"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b""}),
    "onnx": ONNX,
    "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(20),
}


@pytest.mark.parametrize("expected", FORMATS)
def test_the_content_tells_the_format_whatever_the_name(expected: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.bin"
    path.write_bytes(FORMATS[expected])
    assert detect_format(path) == expected


def test_hdf5_and_a_savedmodel_folder_are_known(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    assert detect_format(tmp_path / "m.h5") == "keras"
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert detect_format(tmp_path) == "savedmodel"


def test_a_real_onnx_file_is_known(tmp_path: Path) -> None:
    need("onnx")
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph), tmp_path / "m")
    assert detect_format(tmp_path / "m") == "onnx"


def test_an_onnx_file_cut_off_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(ONNX[:14])
    assert detect_format(tmp_path / "m") == "onnx"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"import gymnasium\n", "not a policy file quarl knows"),
        (b"\x08\x08\x12\x01x", "not a policy file quarl knows"),
        (b"\xff" * 40, "not a policy file quarl knows"),
        (b"\x80\x04\x95 pickle", "a bare pickle"),
        (
            zip_bytes({"readme.txt": b"x", "b": b""}),
            r"a zip that is not a policy file \(it holds b, readme.txt\)",
        ),
        (b"PK\x03\x04 and nothing more", "not a complete zip"),
    ],
)
def test_other_files_get_one_clear_message(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.zip"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_policy(path)


def test_a_missing_path_and_a_plain_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_policy(tmp_path / "nothing.zip")
    with pytest.raises(InputError, match=r"a folder without saved_model.pb"):
        read_policy(tmp_path)


def test_a_tflite_that_is_only_its_magic_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(FORMATS["tflite"])
    with pytest.raises(InputError, match="cut off or damaged"):
        read_policy(tmp_path / "m.tflite")
