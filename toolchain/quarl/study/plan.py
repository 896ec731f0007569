"""The plan of a study: `study.toml`, read strictly, and the grid of cells it stands for.

Goes in: a file. Comes out: a `Study` and its `Cell`s. A cell is one policy under one method at one
set of widths with one seed; its key says everything that decides its numbers, so that a cell that
was computed before, by whatever study, is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from quarl.files.open import read_file
from quarl.files.tables import Count, Flag, Text, Whole, table, value_from
from quarl.files.toml import read_toml
from quarl.quantize.ladder import LADDER
from quarl.quantize.widths import ACTIVATION_BITS, INPUT_BITS, WEIGHT_BITS, Widths

_SCORE = re.compile(r"(?m)^\[score\][^\n]*\n(?:(?!\[)[^\n]*\n)*")
MOST_CELLS = 100_000  # weeks of work
VERSION = 1  # of what a cell means; a change makes every cell new

Method: TypeAlias = Literal["fp16", "paper", "ladder", "distil", "qat"]
WeightBits = Annotated[int, Field(strict=True, ge=WEIGHT_BITS[0], le=WEIGHT_BITS[1])]
ActivationBits = Annotated[int, Field(strict=True, ge=ACTIVATION_BITS[0], le=ACTIVATION_BITS[1])]
InputBits = Annotated[int, Field(strict=True, ge=INPUT_BITS[0], le=INPUT_BITS[1])]


@table
@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """A policy that is there, or a recipe that is trained anew for each seed."""

    source: Annotated[
        Text | None, Field(description="a shipped policy, or a folder or file of a trained one")
    ] = None
    recipe: Annotated[Text | None, Field(description="folder of a recipe that is trained")] = None
    seeds: Annotated[
        tuple[Whole, ...], Field(description="of the trainings; absent: the recipe's own")
    ] = ()
    steps: Annotated[Count | None, Field(description="of the training, instead of its own")] = None


@table
@dataclass(frozen=True, slots=True)
class MethodEntry:
    """One method over a grid of widths."""

    method: Method
    weights: Annotated[tuple[WeightBits, ...], Field(description="bits, one sweep")] = (8,)
    edges: Annotated[
        WeightBits | None,
        Field(description="bits of the first and last layer; absent: those of the others"),
    ] = None
    activations: Annotated[tuple[ActivationBits, ...], Field(description="bits")] = (8,)
    inputs: Annotated[tuple[InputBits, ...], Field(description="bits; pixels have 8")] = (8,)
    rung: Annotated[
        int, Field(strict=True, ge=0, lt=len(LADDER), description="of method ladder")
    ] = 3
    steps: Annotated[Count, Field(description="of each training of method distil")] = 3_000
    delay: Annotated[
        float, Field(ge=0, le=1, description="of method qat: share of the steps in float")
    ] = 0.5
    seeds: Annotated[tuple[Whole, ...], Field(description="of method distil")] = (0,)


@table
@dataclass(frozen=True, slots=True)
class Study:
    """A grid."""

    name: Text
    policies: tuple[PolicyEntry, ...]
    methods: tuple[MethodEntry, ...]
    episodes: Annotated[Count, Field(ge=2, description="paired, of each cell")] = 100
    image_episodes: Annotated[Count, Field(ge=2, description="paired, where pixels are seen")] = 10
    board: Annotated[
        Text | None, Field(description="count instructions on this board, emulated")
    ] = None
    title: Annotated[str, Field(description="one line for the page")] = ""
    histograms: Annotated[Flag, Field(description="of weights, on the page")] = True


@dataclass(frozen=True, slots=True)
class Training:
    """A recipe to be trained with a seed."""

    recipe: str  # folder
    seed: int | None
    steps: int | None
    text: str = field(repr=False, default="")  # of the recipe

    @property
    def key(self) -> str:
        """Digest of everything that decides the weights."""
        return _digest(
            {"train": VERSION, "recipe": self.text, "seed": self.seed, "steps": self.steps}
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy, one method, one set of widths, one seed."""

    policy: str  # source, or the folder a training writes
    training: Training | None
    method: Method
    widths: Widths
    seed: int
    episodes: int
    settings: Mapping[str, Any]  # of the method: rung, steps, delay
    board: str | None

    def key(self, identity: str) -> str:
        """Return the digest of everything that decides the cell's numbers.

        Args:
            identity: SHA-256 of the policy's weights and its environment.
        """
        return _digest(
            {
                "cell": VERSION,
                "identity": identity,
                "training": None if self.training is None else self.training.key,
                "method": self.method,
                "widths": asdict(self.widths),
                "seed": self.seed,
                "episodes": self.episodes,
                "settings": dict(self.settings),
                "board": self.board,
            }
        )


def read_study(path: Path) -> Study:
    """Return the study of a file.

    Raises:
        InputError: keys that are missing, unknown or of the wrong kind; all of them are named.
    """
    return value_from(Study, read_toml(path), str(path), _contradictions)


def trainings_of(study: Study, root: Path) -> list[tuple[PolicyEntry, Training]]:
    """Return every training that the study needs, with the entry it belongs to.

    Raises:
        InputError: a recipe is not there.
    """
    found = []
    for entry in study.policies:
        if entry.recipe is None:
            continue
        path = _folder(entry.recipe, root) / "recipe.toml"
        text = read_file(path).decode(errors="replace")
        text = _SCORE.sub("", text)  # a score that was measured before decides nothing
        folder = str(_folder(entry.recipe, root))
        found += [
            (entry, Training(folder, seed, entry.steps, text)) for seed in entry.seeds or (None,)
        ]
    return found


def cells_of(
    study: Study, policy: str, training: Training | None, *, is_image: bool
) -> Iterator[Cell]:
    """Yield the cells of one policy.

    Args:
        policy: source of the trained policy.
        training: that it came of; None: it was there. Method qat needs one.
    """
    episodes = study.image_episodes if is_image else study.episodes
    for entry in study.methods:
        if entry.method == "qat" and training is None:
            continue
        for widths in _widths(entry, is_image=is_image):
            for seed in entry.seeds if entry.method == "distil" else (0,):
                yield Cell(
                    policy,
                    training,
                    entry.method,
                    widths,
                    seed,
                    episodes,
                    _settings(entry),
                    study.board,
                )


def _widths(entry: MethodEntry, *, is_image: bool) -> list[Widths]:
    if entry.method in ("fp16", "paper"):  # weights alone are rounded
        bits = (8,) if entry.method == "fp16" else entry.weights
        return [Widths(weights=b, edges=b) for b in dict.fromkeys(bits)]
    inputs = (None,) if is_image else entry.inputs
    return [
        Widths(w, entry.edges or w, a, i)
        for w in dict.fromkeys(entry.weights)
        for a in dict.fromkeys(entry.activations)
        for i in dict.fromkeys(inputs)
    ]


def _settings(entry: MethodEntry) -> dict[str, Any]:
    match entry.method:
        case "ladder":
            return {"rung": entry.rung}
        case "distil":
            return {"steps": entry.steps}
        case "qat":
            return {"delay": entry.delay}
    return {}


def _contradictions(study: Study) -> list[str]:
    problems = []
    for number, entry in enumerate(study.policies, start=1):
        if (entry.source is None) == (entry.recipe is None):
            problems.append(f"policies, entry {number}: give it a source or a recipe, one of both")
        elif entry.source is not None and (entry.seeds or entry.steps):
            problems.append(f"policies, entry {number}: seeds and steps belong to a recipe")
    trained = sum(len(entry.seeds or (None,)) for entry in study.policies)
    each = sum(
        math.prod(len(set(part)) for part in (e.weights, e.activations, e.inputs, e.seeds))
        for e in study.methods
    )
    if trained * each > MOST_CELLS:
        problems.append(f"a grid of {trained * each:,} cells; allowed: at most {MOST_CELLS:,}")
    if not study.policies:
        problems.append("policies: none are given")
    if not study.methods:
        problems.append("methods: none are given")
    return problems


def _folder(text: str, root: Path) -> Path:
    """Return a folder that is named from the study's own, or from where the program runs."""
    near = root / text
    return near if near.exists() else Path(text)


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
