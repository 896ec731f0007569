"""The JSON member `data` of a Stable-Baselines3 zip: spaces, policy class and keyword arguments, as
plain text.

Objects in it come with a cloudpickle under ":serialized:", which is never loaded; their attributes
stand beside it as strings.
Format: stable_baselines3.common.save_util.data_to_json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.files.archives import Archive
from quarl.graph.contract import Action, Observation
from quarl.graph.policy import Function
from quarl.importers.options import ImportOptions, box_from_environment
from quarl.importers.torch.layers import activation_named

MAX_DATA_BYTES = 1 << 26  # holds the last observations of all environments, in base64
NUMBER = re.compile(r"-?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf)|nan")
FEATURE_EXTRACTORS = ("FlattenExtractor", "NatureCNN")


@dataclass(frozen=True, slots=True)
class Sb3Data:
    """What the zip says about itself, not yet judged."""

    file: str
    fields: Mapping[str, Any]

    @property
    def policy_module(self) -> str:
        """The module of the policy class, such as "stable_baselines3.sac.policies"."""
        return str(
            _mapping(self.fields.get("policy_class")).get("__module__", "an unnamed module")
        )[:80]

    @property
    def policy_class(self) -> str:
        """The policy class that defines the constructor, such as "ARSLinearPolicy", or "" where the
        zip does not tell.
        """
        found = re.match(
            r"<function (\w+)\.__init__ ",
            str(_mapping(self.fields.get("policy_class")).get("__init__", "")),
        )
        return found[1] if found else ""

    @property
    def policy_kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments the policy was made with; classes appear as their printed form."""
        return _mapping(self.fields.get("policy_kwargs"))

    @property
    def use_sde(self) -> bool:
        """Whether the policy explores with state-dependent noise, which changes its layers."""
        return bool(self.fields.get("use_sde", False))

    def activation(self, default: Function) -> Function:
        """Return the hidden activation.

        Raises:
            UnsupportedError: one the graph does not have, or a function whose meaning the zip does
                not tell.
        """
        if "activation_fn" not in self.policy_kwargs:
            return default
        printed = str(self.policy_kwargs["activation_fn"])
        found = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", printed)
        if found is None:
            raise UnsupportedError(
                f"{self.file}: activation_fn is {printed[:80]}, only activation classes of "
                "torch.nn are carried over"
            )
        return activation_named(found[1], self.file)

    def check_extractor(self) -> None:
        """Check that the feature extractor is one of Stable-Baselines3's own.

        Raises:
            UnsupportedError: it is a custom class, whose code is not in the zip.
        """
        printed = str(self.policy_kwargs.get("features_extractor_class", "FlattenExtractor'"))
        found = re.search(r"(\w+)'", printed)
        name = (found[1] if found else printed)[:80]
        own = (
            "features_extractor_class" not in self.policy_kwargs
            or "stable_baselines3.common.torch_layers" in printed
        )
        if not own or name not in FEATURE_EXTRACTORS:
            raise UnsupportedError(
                f"{self.file}: feature extractor {name} is not carried over, only "
                f"{' and '.join(FEATURE_EXTRACTORS)} are: "
                "export the policy to ONNX"
            )

    def observation(self) -> Observation:
        """Return what the policy observes: a vector, or uint8 pixels, which Stable-Baselines3 keeps
        channels-first.

        Raises:
            UnsupportedError: a space the contract does not hold; names it.
        """
        space, kind, shape = self._space("observation_space")
        if kind in ("Dict", "Tuple"):
            raise UnsupportedError(
                f"{self.file}: MultiInput policies ({kind} observations) are not carried "
                "over: flatten the observations and retrain"
            )
        if kind != "Box":
            raise UnsupportedError(
                f"{self.file}: {kind} observations are not carried over: one-hot them with a "
                "wrapper into a Box and retrain"
            )
        if len(shape) == 1:
            return Observation(shape, "float32", "vector")
        dtype = str(space.get("dtype"))
        pixels = set(_numbers(space, "low")) == {0.0} and set(_numbers(space, "high")) == {255.0}
        if len(shape) == 3 and dtype == "uint8" and pixels:
            return Observation(shape, "uint8", "chw")
        raise UnsupportedError(
            f"{self.file}: observations are {dtype} of shape {shape}, only a vector or uint8 "
            "pixels from 0 to 255 are carried over: "
            "use FlattenObservation, or keep the pixels uint8 and let the policy divide them"
        )

    def action(self, transform: Literal["clip", "unscale"], options: ImportOptions) -> Action:
        """Return what the outputs mean; box bounds that the zip prints only in part come from the
        environment in `options`.

        Raises:
            UnsupportedError: a space the contract does not hold; names it.
            InputError: bounds are missing.
        """
        space, kind, shape = self._space("action_space")
        if kind == "Discrete":
            if self._whole(space.get("start", 0), "start") != 0:
                raise UnsupportedError(
                    f"{self.file}: discrete actions start at {space['start']}, only 0 is "
                    "carried over"
                )
            return Action("discrete", self._whole(space.get("n"), "n"))
        if kind != "Box" or len(shape) != 1:
            raise UnsupportedError(
                f"{self.file}: {kind} actions of shape {shape} are not carried over: only "
                "Discrete and a Box with one axis are"
            )
        if "..." in str(space.get("low", "...")) or "..." in str(space.get("high", "...")):
            return box_from_environment(
                self.file, shape[0], transform, options
            )  # the zip prints long bounds only in part
        low, high = _numbers(space, "low"), _numbers(space, "high")
        if not all(abs(bound) < float("inf") for bound in (*low, *high)):
            raise UnsupportedError(
                f"{self.file}: action bounds are infinite, finite ones are needed: train with "
                "gymnasium.wrappers.RescaleAction"
            )
        return Action("box", shape[0], low, high, transform)

    def _space(self, field: str) -> tuple[Mapping[str, Any], str, tuple[int, ...]]:
        space = _mapping(self.fields.get(field))
        kind = re.search(r"(\w+)'>$", str(space.get(":type:", "")))
        if kind is None:
            raise InputError(
                f"{self.file}: data has no {field}: it is incomplete, save the agent again "
                "with Stable-Baselines3"
            )
        shape = space.get("_shape", space.get("shape"))
        return (
            space,
            kind[1],
            tuple(self._whole(length, "shape") for length in shape)
            if isinstance(shape, list)
            else (),
        )

    def _whole(self, value: object, field: str) -> int:
        """Return the number, which JSON may hold as a string."""
        if not re.fullmatch(r"-?\d{1,12}", str(value)):
            raise InputError(
                f"{self.file}: data has {str(value)[:40]!r} for {field} of a space, a whole "
                "number belongs there: save the agent again"
            )
        return int(str(value))


def read_data(archive: Archive) -> Sb3Data:
    """Return the zip's JSON.

    Raises:
        InputError: it is not JSON, or no JSON object.
    """
    try:
        fields = json.loads(archive.read("data", MAX_DATA_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{archive.name}: data is not JSON ({error}): copy or save the file again"
        ) from error
    if not isinstance(fields, dict):
        raise InputError(
            f"{archive.name}: data is not a JSON object: save the agent again with Stable-Baselines3"
        )
    return Sb3Data(archive.name, fields)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(space: Mapping[str, Any], field: str) -> tuple[float, ...]:
    dtype = (
        np.float32 if space.get("dtype") == "float32" else np.float64
    )  # the printed digits are those of its own type
    with np.errstate(over="ignore"):  # a bound too large is infinite
        return tuple(float(dtype(text)) for text in NUMBER.findall(str(space.get(field, ""))))
