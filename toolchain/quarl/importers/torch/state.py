"""Tensors from a file of `torch.save`, without torch and without an unpickler.

Such a file is a zip of raw storages and one pickle that says how they are cut into tensors. The
pickle is read as data (`quarl.importers.torch.pickle`): a file can ask for code to run but cannot
get it.
Format: torch/csrc/jit/serialization.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.files.archives import Archive
from quarl.importers.torch.pickle import Machine, as_dict, as_list, set_items

MAX_PICKLE_BYTES = 1 << 22
MAX_TENSORS = 20_000
MAX_RANK = 8
STORAGE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
ORDERED_DICT = ("collections", "OrderedDict")
TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PARAMETER = ("torch._utils", "_rebuild_parameter")
# numbers of NumPy, such as the best reward, which checkpoints keep beside the tensors; what they
# are is not looked at
ASIDE = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True, slots=True)
class Global:
    """A name the pickle refers to, which stands for nothing but itself."""

    module: str
    name: str


class Aside:
    """A number that is not looked at."""


@dataclass(frozen=True, slots=True)
class _Storage:
    values: NDArray[Any]  # [elements], read-only view of the file's bytes


def read_state_dict(source: Path | bytes, name: str | None = None) -> dict[str, NDArray[Any]]:
    """Return the file's tensors by name.

    Raises:
        InputError: the file holds something else than one flat state dict; and all that
            `read_torch` raises.
    """
    name = name or (source.name if isinstance(source, Path) else "state dict")
    found = read_torch(source, name)
    if not is_state_dict(found):
        raise InputError(
            f"{name}: holds {describe(found)}, a state dict (names and tensors) is needed: "
            "torch.save(agent.state_dict(), FILE)"
        )
    return found


def read_torch(source: Path | bytes, name: str | None = None) -> Any:
    """Return what `torch.save` wrote: tensors as read-only arrays in dicts, lists, tuples, with
    plain numbers and strings.

    Raises:
        InputError: not a torch file, cut off or inconsistent.
        UntrustedFileError: it asks for anything but tensors, or its sizes do not fit the bytes it
            has.
        UnsupportedError: big-endian, or a number type NumPy lacks.
    """
    name = name or (source.name if isinstance(source, Path) else "state dict")
    with Archive(source, name) as archive:
        return TensorReader(archive, name).read()


def is_state_dict(value: object) -> TypeGuard[dict[str, NDArray[Any]]]:
    """Whether the value is a non-empty dict from names to tensors."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in value.items())
    )


def describe(value: object) -> str:
    """Return a few words on what the file holds, for messages."""
    if isinstance(value, dict):
        return f"a dict with {', '.join(repr(key) for key in list(value)[:4]) or 'nothing in it'}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return "a single tensor" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


class TensorReader:
    """Reads one pickle of an archive, and the storages that lie beside it."""

    folder = "data"  # where the storages lie

    def __init__(self, archive: Archive, name: str) -> None:
        self.archive = archive
        self.name = name
        roots = [
            member.removesuffix("data.pkl")
            for member in archive.names
            if member == "data.pkl" or member.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise InputError(
                f"{name}: has {len(roots)} data.pkl inside, a file of torch.save has one"
            )
        self.root = roots[0]
        if (
            f"{self.root}byteorder" in archive.names
            and archive.read(f"{self.root}byteorder", 16) != b"little"
        ):
            raise UnsupportedError(
                f"{name}: was written on a big-endian machine: load and save it on a "
                "little-endian one"
            )
        self.storages: dict[str, NDArray[Any]] = {}
        self.tensors = 0

    def read(self, member: str = "data.pkl") -> Any:
        """Return what the pickle describes.

        Raises:
            InputError, UntrustedFileError, UnsupportedError: as `read_torch`.
        """
        pickled = self.archive.read(f"{self.root}{member}", MAX_PICKLE_BYTES)
        try:
            return Machine(self.name, self).run(pickled)
        except (ValueError, IndexError, KeyError, TypeError, AssertionError) as error:
            raise InputError(
                f"{self.name}: {member} is damaged ({error}): copy or save the file again"
            ) from error

    def named(self, module: str, name: str) -> Global:
        """Return the name, which must be one of the few that tensors need."""
        if (module, name) in (ORDERED_DICT, TENSOR, PARAMETER, *ASIDE) or (
            module == "torch" and name in STORAGE_DTYPES
        ):
            return Global(module, name)
        if module == "torch" and name.endswith("Storage"):
            raise UnsupportedError(
                f"{self.name}: holds {name.removesuffix('Storage')} numbers: convert the "
                "weights with .float() and save again"
            )
        raise UntrustedFileError(
            f"{self.name}: asks to load {module}.{name}; only plain tensors are read, nothing "
            "was run. Where you trust the file, "
            "load it in its framework and save the state dict: torch.save(agent.state_dict(), FILE)"
        )

    def called(self, function: object, arguments: object) -> Any:
        """Return the dict or the tensor that a call makes."""
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise UntrustedFileError(
                f"{self.name}: asks to call {type(function).__name__}, which plain tensors do "
                "not need"
            )
        match (function.module, function.name):
            case ("collections", "OrderedDict"):
                rebuilt: dict[Any, Any] = {}
                set_items(
                    rebuilt,
                    [
                        part
                        for key, value in (as_list(arguments[0]) if arguments else [])
                        for part in (key, value)
                    ],
                )
                return rebuilt
            case ("torch._utils", "_rebuild_tensor_v2"):
                return self._tensor(*arguments[:4])
            case ("torch._utils", "_rebuild_parameter"):
                return arguments[0]
            case aside if aside in ASIDE:
                return Aside()
        raise UntrustedFileError(
            f"{self.name}: asks to call {function.name}, which plain tensors do not need"
        )

    def stored(self, reference: object) -> _Storage:
        """Return the storage for ("storage", type, key, device, element count)."""
        if (
            not isinstance(reference, tuple)
            or len(reference) != 5
            or reference[0] != "storage"
            or not isinstance(reference[1], Global)
        ):
            raise ValueError("a reference is not one to a storage")
        _, kind, key, _, elements = reference
        if not isinstance(key, str) or not isinstance(elements, int):
            raise ValueError("a storage without name or length")
        dtype = STORAGE_DTYPES[kind.name]
        if key not in self.storages:
            data = self.archive.read(f"{self.root}{self.folder}/{key}")
            if len(data) % dtype.itemsize:
                raise UntrustedFileError(
                    f"{self.name}: storage {key} has {len(data)} bytes, no whole number of "
                    f"{dtype} values"
                )
            self.storages[key] = np.frombuffer(data, dtype)
        values = self.storages[key]
        if values.dtype != dtype or values.size != elements:
            raise UntrustedFileError(
                f"{self.name}: storage {key} claims {elements} {dtype} values, the file has "
                f"{values.size} {values.dtype}"
            )
        return _Storage(values)

    def built(self, value: Any, state: Any) -> None:
        """Ignore version numbers of the modules, which a state dict carries as an attribute."""
        if not isinstance(value, Aside):
            as_dict(value)

    def _tensor(
        self, storage: object, offset: object, size: object, stride: object
    ) -> NDArray[Any]:
        """Return a read-only view [*size]; checked to lie inside the storage and to repeat none of
        it.
        """
        self.tensors += 1
        if self.tensors > MAX_TENSORS:
            raise UntrustedFileError(
                f"{self.name}: has more than {MAX_TENSORS:,} tensors: this is not a policy for a "
                "small board"
            )
        if (
            not isinstance(storage, _Storage)
            or not isinstance(size, tuple)
            or not isinstance(stride, tuple)
        ):
            raise ValueError("a tensor without storage, size or stride")
        return cut(self.name, storage.values, offset, size, stride)


def cut(
    name: str, values: NDArray[Any], offset: object, size: tuple[Any, ...], stride: tuple[Any, ...]
) -> NDArray[Any]:
    """Return a read-only view [*size] of a storage; checked to lie inside it and to repeat none of
    it.
    """
    numbers = (offset, *size, *stride)
    if (
        len(size) != len(stride)
        or len(size) > MAX_RANK
        or not all(type(n) is int and n >= 0 for n in numbers)
    ):
        raise UntrustedFileError(
            f"{name}: a tensor's offset, size or stride is not a list of whole numbers "
            f">= 0, or has over {MAX_RANK} axes"
        )
    assert isinstance(offset, int)
    count = 1
    for length in size:
        count *= length
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count > values.size or offset > values.size or (count and last >= values.size):
        raise UntrustedFileError(
            f"{name}: a tensor of size {size} reaches outside its storage of "
            f"{values.size} values: the file is damaged or forged"
        )
    return as_strided(
        values[offset:], size, [step * values.itemsize for step in stride], writeable=False
    )
