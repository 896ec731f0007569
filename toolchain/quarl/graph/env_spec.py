"""The environment a policy plays in: its name and the arguments it is made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """An environment: a gymnasium id (`module:Id` imports its module first) and the arguments it is
    made with.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def registered_id(self) -> str:
        """The id as gymnasium knows it, without the module."""
        return self.id.rpartition(":")[2]
