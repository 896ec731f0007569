"""Torch files read as data: equal to torch.load, and without the means to run anything."""

from __future__ import annotations

import contextlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.errors import InputError, QuarlError, UnsupportedError, UntrustedFileError
from quarl.importers.torch.state import read_state_dict, read_torch
from tests.conftest import need
from tests.support.bombs import bomb_pickle, replaced, torch_file


def saved(value: object, **options: Any) -> bytes:
    need("torch")
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


class _Named:
    """Pickles as a reference to a global, whichever it names."""

    def __init__(self, module: str, name: str) -> None:
        self.global_name = module, name


class _Call:
    """Pickles as a call of a global."""

    def __init__(self, function: _Named, *arguments: object) -> None:
        self.function, self.arguments = function, arguments


class _Storage:
    def __init__(self, kind: str, key: object, elements: object) -> None:
        self.reference = ("storage", _Named("torch", kind), key, "cpu", elements)


class _Forger(pickle._Pickler):  # type: ignore[name-defined,misc]  # the Python one can be taught to write anything
    def persistent_id(self, value: object) -> object:
        return value.reference if isinstance(value, _Storage) else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, _Named):
            self.write(b"c" + "\n".join(value.global_name).encode() + b"\n")
        elif isinstance(value, _Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(b"R")
        else:
            super().save(value, save_persistent_id)


def forged(value: object, storages: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    _Forger(buffer, 2).dump(value)
    return torch_file(buffer.getvalue(), storages)


def tensor(
    offset: object, size: object, stride: object, kind: str = "FloatStorage", elements: int = 6
) -> _Call:
    return _Call(
        _Named("torch._utils", "_rebuild_tensor_v2"),
        _Storage(kind, "0", elements),
        offset,
        size,
        stride,
        False,
        None,
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_equal_what_torch_loads(protocol: int) -> None:
    need("torch")
    import torch

    base = torch.arange(24.0).reshape(4, 6)
    value = {
        "plain": base,
        "transposed": base.t(),
        "part": base[1:3, 2:],
        "parameter": torch.nn.Parameter(base * 2),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "double": base.double(),
        "half": base.half(),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "truth": torch.tensor([True, False]),
    }
    data = saved(value, pickle_protocol=protocol)
    expected = torch.load(
        io.BytesIO(data), weights_only=False
    )  # torch's safe reader knows protocol 2 only
    found = read_state_dict(data)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.detach().numpy().dtype, name
        assert np.array_equal(found[name], values.detach().numpy()), name


def test_a_modules_state_dict_reads_with_its_version_attribute() -> None:
    need("torch")
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    found = read_state_dict(saved(module.state_dict()))
    assert {name: values.shape for name, values in found.items()} == {
        "0.weight": (2, 3),
        "0.bias": (2,),
        "2.weight": (1, 2),
        "2.bias": (1,),
    }


def test_plain_values_beside_tensors_are_kept() -> None:
    found = read_torch(
        saved(
            {
                "args": {
                    "seed": 1,
                    "rate": 0.5,
                    "name": "x",
                    "flags": [True, None],
                    "big": 1 << 40,
                },
                "shape": (1, 2, 3, 4),
            }
        )
    )
    assert found == {
        "args": {"seed": 1, "rate": 0.5, "name": "x", "flags": [True, None], "big": 1 << 40},
        "shape": (1, 2, 3, 4),
    }


def test_a_pickle_bomb_does_not_run_and_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    bomb = torch_file(bomb_pickle(marker))
    with pytest.raises(UntrustedFileError, match=r"asks to load posix.system; .* nothing was run"):
        read_torch(bomb, "policy.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("__main__", "Agent"),
        ("collections", "deque"),
    ],
)
def test_nothing_but_tensors_may_be_named(name: tuple[str, str]) -> None:
    with pytest.raises(UntrustedFileError, match=rf"asks to load {name[0]}.{name[1]}"):
        read_torch(forged(_Call(_Named(*name), "x")))


@pytest.mark.parametrize(
    "instruction",
    [
        b"\x8c\x01x\x8c\x01y\x92",
        b")\x81",
        b"I01\n",
        b"\x96" + b"\xff" * 7 + b"\x00",
        b"(X\x01\x00\x00\x00xos\nsystem\no",
    ],
)
def test_instructions_that_tensors_do_not_need_are_refused(instruction: bytes) -> None:
    with pytest.raises(InputError):
        read_torch(torch_file(b"\x80\x04" + instruction + b"."))


def test_calling_anything_but_an_allowed_name_is_refused() -> None:
    with pytest.raises(UntrustedFileError, match="asks to call str"):
        read_torch(torch_file(b"\x80\x02X\x01\x00\x00\x00x)R."))
    with pytest.raises(UntrustedFileError, match="asks to call FloatStorage"):
        read_torch(forged(_Call(_Named("torch", "FloatStorage"), "x")))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 3), (4, 1)),
        (7, (0,), (1,)),
        (0, (1000, 1000, 1000), (0, 0, 0)),
        (0, (1 << 62, 4), (1, 0)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 3), (1,)),
        (0, ("2",), (1,)),
        (0, (1,) * 9, (1,) * 9),
        (True, (2,), (1,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(
    offset: object, size: object, stride: object
) -> None:
    with pytest.raises(UntrustedFileError):
        read_torch(forged(tensor(offset, size, stride), {"0": bytes(24)}))


def test_a_forged_tensor_inside_its_storage_is_read() -> None:
    found = read_torch(
        forged(tensor(1, (2, 2), (1, 2)), {"0": np.arange(6, dtype="<f4").tobytes()})
    )
    assert found.tolist() == [[1, 3], [2, 4]]
    assert not found.flags.writeable


def test_a_storage_that_claims_more_than_its_bytes_is_refused() -> None:
    with pytest.raises(
        UntrustedFileError, match=r"storage 0 claims 1000000000000 float32 values, the file has 6"
    ):
        read_torch(forged(tensor(0, (2,), (1,), elements=10**12), {"0": bytes(24)}))
    with pytest.raises(UntrustedFileError, match="no whole number"):
        read_torch(forged(tensor(0, (2,), (1,)), {"0": bytes(23)}))
    with pytest.raises(InputError, match="has no 'a/data/0' inside"):
        read_torch(forged(tensor(0, (2,), (1,))))


@pytest.mark.long
def test_a_deeply_nested_key_cannot_exhaust_the_stack() -> None:
    nested = b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s."
    with pytest.raises(InputError, match="neither a name nor a number"):
        read_torch(torch_file(nested))


def test_a_shared_list_that_would_print_forever_is_refused_quickly() -> None:
    doubling = b"\x80\x02K\x01\x85q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"."
    with pytest.raises(InputError, match="holds a tuple of 2"):
        read_state_dict(torch_file(doubling))


def test_big_endian_files_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="big-endian"):
        read_torch(torch_file(b"\x80\x02}.", byteorder=b"big"))


def test_number_types_numpy_lacks_are_refused_by_name() -> None:
    need("torch")
    import torch

    with pytest.raises(UnsupportedError, match=r"BFloat16.*\.float\(\)"):
        read_torch(saved({"w": torch.zeros(2, dtype=torch.bfloat16)}))


def test_a_whole_module_is_refused_with_advice() -> None:
    need("torch")
    import torch

    with pytest.raises(
        UntrustedFileError, match=r"torch\.nn\.modules.*torch\.save\(agent\.state_dict\(\), FILE\)"
    ):
        read_torch(saved(torch.nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02}",
        b"\x80\x02.",
        b"\x80\x02h\x05.",
        b"\x80\x02X\xff\xff\xff\x7fab.",
        b"garbage",
    ],
)
def test_a_damaged_pickle_is_one_clear_message(pickled: bytes) -> None:
    with pytest.raises(InputError, match=r"data.pkl is damaged|asks for the pickle instruction"):
        read_torch(torch_file(pickled), "policy.pth")


def test_a_pickle_too_large_is_not_read() -> None:
    with pytest.raises(UntrustedFileError, match="at most 4,194,304"):
        read_torch(torch_file(bytes((1 << 22) + 1)))


def test_something_else_than_a_state_dict_is_described() -> None:
    for value, words in (
        ([1, 2], "a list of 2"),
        ({"a": 1}, "a dict with 'a'"),
        ({}, "nothing in it"),
    ):
        with pytest.raises(InputError, match=words):
            read_state_dict(saved(value))


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_never_gives_anything_but_our_errors(data: st.DataObject) -> None:
    original = forged({"w": tensor(0, (2, 3), (3, 1)), "b": [1, 2.5, "x", (1,)]}, {"0": bytes(24)})
    whole = bytearray(_pickle_of(original))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(QuarlError):
        read_torch(replaced(original, {"a/data.pkl": bytes(whole)}))


def _pickle_of(archive: bytes) -> bytes:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return source.read("a/data.pkl")
