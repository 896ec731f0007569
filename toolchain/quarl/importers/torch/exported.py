"""`torch.export` files (`.pt2`) as a network, read as data: nothing in them is executed.

In: the graph as JSON and its weights as plain bytes. Out: a `Policy`. Each node names one of
torch's operators, which is written as ONNX (`quarl.importers.torch.aten`) and read by that walk.
Format: torch/_export/serde/schema.py; archives of torch 2.8 and later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.files.archives import Archive
from quarl.files.open import read_file
from quarl.graph.policy import Policy
from quarl.importers.draft import Draft
from quarl.importers.onnx import draft_of
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.options import ImportOptions
from quarl.importers.torch import aten_shapes as _shapes  # noqa: F401  # adds its operators
from quarl.importers.torch.aten import AtenGraph, Length
from quarl.importers.torch.program import finish_program
from quarl.importers.torch.state import MAX_TENSORS, cut

MAX_JSON_BYTES = 1 << 25
DTYPES: Mapping[int, str] = {  # torch's numbers of element types
    1: "u1",
    2: "i1",
    3: "<i2",
    4: "<i4",
    5: "<i8",
    6: "<f2",
    7: "<f4",
    8: "<f8",
    12: "?",
}
WEIGHTS = ("data/weights/", "model_weights_config.json", "parameter", "buffer")
CONSTANTS = ("data/constants/", "model_constants_config.json", "tensor_constant")
PLAIN = ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string")


def read_exported(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in a `torch.export` file.

    Raises:
        InputError: damaged, or the action or observation is unknown.
        UnsupportedError: an operator without exact counterpart, or an archive of another kind.
        UntrustedFileError: sizes beyond the limits.
    """
    return finish_program(path, exported_draft(path, options), options)


def exported_draft(path: Path, options: ImportOptions) -> Draft:
    """Return the network as the file tells it."""
    return draft_of(exported_file(path), options)


def exported_file(path: Path) -> OnnxFile:
    """Return the graph as ONNX."""
    with Archive(path) as archive:
        try:
            graph = _Reader(path, archive).graph()
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path.name}: its graph is damaged, or of another version of torch ({error!r}): "
                "export it again with torch.export.save"
            ) from error
    return graph.made.file(path, hashlib.sha256(read_file(path)), "torch.export")


class _Reader:
    """Reads one archive; `values` holds what each name of the graph stands for."""

    def __init__(self, path: Path, archive: Archive) -> None:
        self.path, self.archive = path, archive
        models = [name for name in archive.names if name.endswith("models/model.json")]
        if len(models) != 1:
            raise UnsupportedError(
                f"{path.name}: has {len(models)} models/model.json, one is read: save it with "
                "torch.export.save of torch 2.8 or later"
            )
        self.root = models[0].removesuffix("models/model.json")
        self.document = self._json(models[0])["graph_module"]
        self.values: dict[str, Any] = {}
        self.aten = AtenGraph(path)

    def graph(self) -> AtenGraph:
        """Return the whole graph."""
        graph, signature = self.document["graph"], self.document["signature"]
        for folder, config, *kinds in (WEIGHTS, CONSTANTS):
            self._weights(folder, config, kinds)
        for spec in signature["input_specs"]:
            if "user_input" in spec:
                name = spec["user_input"]["arg"]["as_tensor"]["name"]
                self.values[name] = self.aten.input(name)
                self.aten.made.input(name, self._shape(name))
        for node in graph["nodes"]:
            self._node(node)
        for spec in signature["output_specs"]:
            name = spec["user_output"]["arg"]["as_tensor"]["name"]
            tensor = self.values[name]
            output = name if name not in self.values or tensor.name != name else f"{name}.output"
            self.aten.made.node("Identity", [self.aten.name(tensor)], output)
            self.aten.made.output(output)
        return self.aten

    def _node(self, node: Mapping[str, Any]) -> None:
        words = str(node["target"]).split(".")
        if words[:3] != ["torch", "ops", "aten"]:
            raise self.aten.refused(".".join(words[-2:]), "is not one of torch's own operators")
        given = {entry["name"]: self._argument(entry["arg"]) for entry in node["inputs"]}
        found = self.aten.call(words[3], (), given)
        names = [name for output in node["outputs"] for name in _names(output)]
        results = list(found) if isinstance(found, tuple) else [found]
        self.values.update(zip(names, results, strict=False))

    def _argument(self, argument: Mapping[str, Any]) -> Any:
        (kind, value), *_ = argument.items()
        match kind:
            case "as_tensor":
                return self.values[value["name"]]
            case "as_tensors":
                return [self.values[entry["name"]] for entry in value]
            case "as_optional_tensors":
                return [
                    self.values[entry["as_tensor"]["name"]] if "as_tensor" in entry else None
                    for entry in value
                ]
            case "as_sym_int":
                return self._length(value)
            case "as_sym_ints":
                return [self._length(entry) for entry in value]
            case "as_none":
                return None
        return value if kind in PLAIN else None  # devices and types change no number

    def _length(self, value: Mapping[str, Any]) -> Any:
        if "as_int" in value:
            return value["as_int"]
        return self.values.get(value["as_name"], Length(0))

    def _shape(self, name: str) -> list[int | None]:
        sizes = self.document["graph"]["tensor_values"][name]["sizes"]
        lengths = [size.get("as_int") for size in sizes]
        return [None, *lengths[1:]]

    def _weights(self, folder: str, config: str, kinds: list[str]) -> None:
        member = f"{self.root}{folder}{config}"
        if member not in self.archive.names:
            return
        names = {
            str(entry[f"{kind}_name"]): entry["arg"]["name"]
            for spec in self.document["signature"]["input_specs"]
            for kind, entry in spec.items()
            if kind in kinds
        }
        entries = self._json(member)["config"]
        if len(entries) > MAX_TENSORS:
            raise UnsupportedError(f"{self.path.name}: has {len(entries):,} tensors: no policy")
        for key, entry in entries.items():
            if key in names:
                self.values[names[key]] = self._tensor(key, f"{self.root}{folder}", entry)

    def _tensor(self, key: str, folder: str, entry: Mapping[str, Any]) -> NDArray[Any]:
        meta = entry["tensor_meta"]
        if entry.get("use_pickle") or meta["dtype"] not in DTYPES:
            raise UnsupportedError(
                f"{self.path.name}: {key} is pickled, or of a type that is not read: save the "
                "model in float32"
            )
        dtype = np.dtype(DTYPES[meta["dtype"]])
        data = self.archive.read(f"{folder}{entry['path_name']}")
        values = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        size, stride = (tuple(part["as_int"] for part in meta[k]) for k in ("sizes", "strides"))
        return cut(self.path.name, values, meta["storage_offset"]["as_int"], size, stride)

    def _json(self, member: str) -> Any:
        try:
            return json.loads(self.archive.read(member, MAX_JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.path.name}: {member} is not JSON ({error}): save the file again"
            ) from error


def _names(output: Mapping[str, Any]) -> list[str]:
    (kind, value), *_ = output.items()
    if kind == "as_tensors":
        return [entry["name"] for entry in value]
    if kind in ("as_tensor", "as_sym_int"):
        return [str(value.get("name", value.get("as_name")))]
    return [""]
