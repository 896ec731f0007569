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
from dataclasses import dataclass, replace
from typing import Any, Literal

from quarl.errors import InputError, UnsupportedError
from quarl.files.archives import Archive
from quarl.graph.contract import Action, Observation
from quarl.graph.policy import Function
from quarl.importers.options import ImportOptions, box_from_environment
from quarl.importers.sb3.spaces import (
    Part,
    action_from,
    box_length,
    is_cut,
    kind_of,
    observation_from,
    parts_of,
)
from quarl.importers.torch.layers import activation_named

MAX_DATA_BYTES = 1 << 26  # holds the last observations of all environments, in base64
FEATURE_EXTRACTORS = ("FlattenExtractor", "NatureCNN", "CombinedExtractor")


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

    def check_extractor(self, route: str) -> None:
        """Check that the feature extractor is one of Stable-Baselines3's own.

        Args:
            route: the way round, for the message.
        Raises:
            UnsupportedError: it is a custom class, whose code is not in the zip.
        """
        printed = str(self.policy_kwargs.get("features_extractor_class", "FlattenExtractor'"))
        found = re.search(r"\b(\w{1,80})'", printed)
        name = (found[1] if found else printed)[:80]
        own = (
            "features_extractor_class" not in self.policy_kwargs
            or "stable_baselines3.common.torch_layers" in printed
        )
        if not own or name not in FEATURE_EXTRACTORS:
            raise UnsupportedError(
                f"{self.file}: feature extractor {name} is not carried over, only "
                f"{', '.join(FEATURE_EXTRACTORS)} are: its code is not in the zip. {route}"
            )

    def observation(self) -> Observation:
        """Return what the policy observes: a vector, into which choices, windows and dicts are laid
        out, or uint8 pixels, which Stable-Baselines3 keeps channels-first.

        Raises:
            UnsupportedError: a space the contract does not hold; names it.
        """
        return observation_from(self._fields("observation_space"), self.file)

    def parts(self) -> tuple[Part, ...]:
        """Return what is observed, part by part, of a Dict or a Tuple."""
        fields = self._fields("observation_space")
        return parts_of(kind_of(fields), str(fields.get("spaces", "")), self.file)

    def action(self, transform: Literal["clip", "unscale"], options: ImportOptions) -> Action:
        """Return what the outputs mean; box bounds that the zip prints only in part come from the
        environment in `options`.

        Raises:
            UnsupportedError: a space the contract does not hold; names it.
            InputError: bounds are missing.
        """
        fields = self._fields("action_space")
        length = box_length(fields, self.file)
        if length is not None and is_cut(fields):
            return box_from_environment(self.file, length, transform, options)
        action = action_from(fields, self.file)
        return replace(action, transform=transform) if action.kind == "box" else action

    def _fields(self, field: str) -> Mapping[str, Any]:
        fields = _mapping(self.fields.get(field))
        if not kind_of(fields):
            raise InputError(
                f"{self.file}: data has no {field}: it is incomplete, save the agent again "
                "with Stable-Baselines3"
            )
        return fields


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
            f"{archive.name}: data is not a JSON object: save the agent again with "
            "Stable-Baselines3"
        )
    return Sb3Data(archive.name, fields)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
