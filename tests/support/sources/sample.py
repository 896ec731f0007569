"""One self-made file of the table of sources."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quarl.graph.contract import Action, Observation
from quarl.importers import ImportOptions


@dataclass(frozen=True)
class Sample:
    """A file, what the user says of it, and what must become of it.

    `refusal` is a pattern of the error where the file is not read, `way` what is done instead.
    `trusts` is whether its own framework may run code of the file for the proof.
    """

    source: str
    operators: str
    space: str
    make: Callable[[Path], Path]
    options: ImportOptions = field(default_factory=ImportOptions)
    refusal: str = ""
    way: str = ""
    trusts: bool = False
    is_slow: bool = False

    @property
    def name(self) -> str:
        """The row in words, without spaces."""
        words = f"{self.source} {self.operators} {self.space}"
        return "".join(c if c.isalnum() else "-" for c in words)


def box(count: int, bound: float = 1.0) -> Action:
    return Action("box", count, (-bound,) * count, (bound,) * count)


def choice(count: int) -> Action:
    return Action("discrete", count)


def told(
    action: Action | None = None, observation: Observation | None = None, **more: Any
) -> ImportOptions:
    """Return what the user says."""
    return ImportOptions(action_space=action, observation=observation, **more)


def vector(count: int) -> Observation:
    return Observation((count,), "float32", "vector")


def image(*shape: int) -> Observation:
    return Observation(shape, "uint8", "hwc")


def shaken(module: Any, seed: int = 3) -> Any:
    """Return the torch module for inference, with numbers in place of its initial ones."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    torch.set_num_threads(1)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if not value.is_floating_point():
                continue
            numbers = torch.rand(value.shape, generator=generator) - 0.5
            fan = value.shape[1] if value.ndim > 1 else 4
            value.copy_(numbers + 1 if "var" in name else numbers * (3 / fan) ** 0.5)
    return module.eval()


def to_onnx(
    module: Any,
    example: tuple[Any, ...],
    path: Path,
    outputs: tuple[str, ...] = ("action",),
    **more: Any,
) -> Path:
    """Write what torch.onnx.export makes of a module."""
    import torch

    names = more.pop("input_names", [f"in_{place}" for place in range(len(example))])
    if len(example) == 1 and "obs" not in names:
        names = ["obs"]
    axes = {name: {0: "batch"} for name in (*names, *outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            example,
            path,
            dynamo=False,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=more.pop("opset", 17),
        )
    return path
