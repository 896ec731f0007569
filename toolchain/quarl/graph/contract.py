"""What a policy sees and what it does: the contract that travels, hash-bound, with every artifact.

In: observations exactly as the environment gives them. Out: actions exactly as the environment
takes them.
Between the two stand the normaliser, the pixel scale and the action transform, which exported
models so often lose.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, assert_never, get_args

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.normalizer import Normalizer as Normalizer
from quarl.graph.picture import (
    NamedPart,
    Picture,
    check_parts,
    check_pictures,
    parts_from,
    pictures_from,
)
from quarl.graph.state import StateVector, states_from

Layout = Literal["vector", "hwc", "chw"]
ElementType = Literal["float32", "uint8"]
ActionKind = Literal["discrete", "multi_discrete", "box"]
Transform = Literal["clip", "unscale"]


MOST_VALUES = 1 << 24  # of one observation


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation of the environment.

    A vector has layout "vector" and raw units. An image has layout "hwc" or "chw" (as the
    environment gives it) and dtype uint8; stacked frames are channels, oldest first. A byte p means
    pixel_scale * (p - pixel_zero): p / 255, but for int8 files that take other values than pixels.
    A Dict or a Tuple is a vector: its parts one after the other, in the order of gymnasium; of its
    pictures `pictures` say where they lie.
    """

    shape: tuple[int, ...]
    dtype: ElementType
    layout: Layout
    names: tuple[str, ...] = ()
    normalizer: Normalizer | None = None
    units: tuple[str, ...] = ()  # of a vector's features, as a contract.toml states them
    pixel_scale: float = 1 / 255
    pixel_zero: int = 0
    pictures: tuple[Picture, ...] = ()  # among a vector's values
    parts: tuple[NamedPart, ...] = ()  # of a Dict with a picture, which has no `names`

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise InputError(f"contract: observation shape {self.shape} must have positive lengths")
        if math.prod(self.shape) > MOST_VALUES:
            raise InputError(
                f"contract: observation shape {self.shape} has more than {MOST_VALUES:,} values"
            )
        if self.layout not in get_args(Layout) or self.dtype not in get_args(ElementType):
            allowed = f"{', '.join(get_args(Layout))} of {' or '.join(get_args(ElementType))}"
            raise InputError(
                f"contract: an observation of layout {self.layout} and type {self.dtype}; "
                f"allowed: {allowed}"
            )
        if len(self.shape) != (1 if self.layout == "vector" else 3):
            raise InputError(
                f"contract: layout {self.layout} does not fit observation shape {self.shape}"
            )
        if self.is_image and self.dtype != "uint8":
            raise InputError(
                f"contract: images of {self.dtype}; only uint8 pixels, which are divided by "
                "255, are known"
            )
        if not (0 < self.pixel_scale < math.inf and 0 <= self.pixel_zero <= 255):
            raise InputError(
                f"contract: bytes of scale {self.pixel_scale} and zero point {self.pixel_zero}: "
                "a positive number and one of 0 to 255 are needed"
            )
        check_pictures(self.pictures, 0 if self.is_image else self.shape[0])
        check_parts(self.parts, 0 if self.is_image else self.shape[0])
        for what, words in (("names", self.names), ("units", self.units)):
            if words and len(words) != self.shape[0]:
                raise InputError(
                    f"contract: {len(words)} observation {what} for {self.shape[0]} features"
                )
        if self.normalizer is not None and (
            self.layout != "vector" or len(self.normalizer.mean) != self.shape[0]
        ):
            raise InputError(
                f"contract: the normaliser has {len(self.normalizer.mean)} features, the "
                f"observation has shape {self.shape}"
            )

    @property
    def is_image(self) -> bool:
        """Whether the policy looks at uint8 pixels."""
        return self.layout != "vector"

    @property
    def has_pixels(self) -> bool:
        """Whether it is a picture, or holds one: convolutions make much of each."""
        return self.is_image or bool(self.pictures)

    @property
    def graph_shape(self) -> tuple[int, ...]:
        """Shape of the graph's input without the batch: [features] or [height, width, channels]."""
        return (self.shape[1], self.shape[2], self.shape[0]) if self.layout == "chw" else self.shape

    def to_graph(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return observations [n, *graph_shape] in graph layout, from [n, *shape]; dtype and units
        unchanged.

        Raises:
            InputError: the shape is another one; names both.
        """
        if obs.shape[1:] == self.shape:
            return obs.transpose(0, 2, 3, 1) if self.layout == "chw" else obs
        if self.is_image and obs.shape[1:] == self.graph_shape:
            # the environment gives channels last where the source framework moved them first
            return obs
        raise InputError(
            f"observations have shape {obs.shape[1:]}, the contract says {self.shape}: use "
            "the environment it was trained on"
        )


@dataclass(frozen=True, slots=True)
class Action:
    """What the policy's outputs mean.

    discrete: the action is `start` + the index of the largest output, the lowest index where
        several are equal.
        Where it is `sampled`, the index is drawn from the softmax of the outputs instead.
    multi_discrete: several such choices; the outputs are theirs one after the other, `counts` says
        how many each has.
    box: "clip" clips the outputs to [low, high], where a bound may be infinite; "unscale" maps
        outputs in [-1, 1] to low + (a + 1) / 2 * (high - low).
    """

    kind: ActionKind
    count: int  # of outputs
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    transform: Transform = "clip"
    start: int = 0  # of a discrete action
    counts: tuple[int, ...] = ()  # of a multi-discrete one
    names: tuple[str, ...] = ()  # of the action's values, or of a discrete action's choices
    units: tuple[str, ...] = ()
    sampled: bool = False  # the policy was trained to be drawn from (`quarl.graph.sampling`)

    def __post_init__(self) -> None:
        if type(self.sampled) is not bool or (self.sampled and not self.is_choice):
            raise InputError(
                f"contract: a {self.kind} action that is sampled: {self.sampled}; only choices can "
                "be drawn"
            )
        if self.count < 1:
            raise InputError(f"contract: the action needs at least one value, found {self.count}")
        if self.kind not in get_args(ActionKind) or self.transform not in get_args(Transform):
            raise InputError(
                f"contract: an action of kind {self.kind} and transform {self.transform} is unknown"
            )
        self._check_choices()
        for what, words in (("names", self.names), ("units", self.units)):
            if words and len(words) != (len(self.counts) or self.count):
                raise InputError(f"contract: {len(words)} action {what} for {self.count} values")
        bounds = self.count if self.kind == "box" else 0
        if not len(self.low) == len(self.high) == bounds:
            raise InputError(
                f"contract: {self.count} action values, but bounds for {len(self.low)} and "
                f"{len(self.high)}"
            )
        if not all(low <= high for low, high in zip(self.low, self.high, strict=True)):  # NaN too
            raise InputError(
                f"contract: action bounds {self.low} to {self.high}: each lower one must be a "
                "number not above its upper one"
            )
        if self.transform == "unscale" and not all(
            math.isfinite(bound) for bound in (*self.low, *self.high)
        ):
            raise InputError(
                f"contract: outputs in [-1, 1] cannot be spread over bounds {self.low} to "
                f"{self.high}: they must be finite"
            )

    def _check_choices(self) -> None:
        is_several = self.kind == "multi_discrete"
        if is_several != bool(self.counts) or any(count < 1 for count in self.counts):
            raise InputError(
                f"contract: a {self.kind} action whose choices have {list(self.counts)} values: "
                "only a multi_discrete one has several, each of at least one"
            )
        if is_several and sum(self.counts) != self.count:
            raise InputError(
                f"contract: choices of {list(self.counts)} values have {sum(self.counts)} "
                f"outputs together, found {self.count}"
            )
        if self.start and self.kind != "discrete":
            raise InputError(f"contract: a {self.kind} action cannot start at {self.start}")

    @property
    def is_choice(self) -> bool:
        """Whether the largest output decides: of all, or of each of several parts."""
        return self.kind != "box"

    @property
    def width(self) -> int:
        """Numbers in one action: 1 of a discrete one."""
        match self.kind:
            case "discrete":
                return 1
            case "multi_discrete":
                return len(self.counts)
            case "box":
                return self.count
            case other:
                assert_never(other)

    def choices(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return outputs [n, count] as one row per choice [n * width, most values], missing values
        -inf: what a comparison of choices works on.
        """
        if self.kind != "multi_discrete":
            return outputs
        parts = np.split(outputs, np.cumsum(self.counts)[:-1], axis=1)
        rows = np.full((len(outputs), len(parts), max(self.counts)), -np.inf)
        for place, part in enumerate(parts):
            rows[:, place, : part.shape[1]] = part
        return rows.reshape(-1, max(self.counts))

    def losses(self, source: NDArray[Any], made: NDArray[Any]) -> NDArray[np.float64]:
        """Return float64 [n]: how much less the source's outputs [n, count] value what `made`
        chooses than their own choice, summed over the choices of one action.
        """
        values, others = self.choices(source), self.choices(made)
        chosen = values[np.arange(len(values)), others.argmax(axis=1)]
        lost = values.max(axis=1).astype(np.float64) - chosen
        total: NDArray[np.float64] = lost.reshape(len(source), -1).sum(axis=1)
        return total

    def decode(self, outputs: NDArray[np.floating[Any]]) -> NDArray[Any]:
        """Return the likeliest actions for network outputs float [n, count]: int64 [n], int64 [n,
        choices], or float32 [n, count] in environment units.

        float32 arithmetic throughout, in the order written here: every target repeats it bit for
        bit.
        """
        if self.kind == "discrete":
            indices: NDArray[np.int64] = outputs.argmax(axis=1) + np.int64(self.start)
            return indices
        if self.kind == "multi_discrete":
            parts = np.split(outputs, np.cumsum(self.counts)[:-1], axis=1)
            return np.stack([part.argmax(axis=1) for part in parts], axis=1)
        values = outputs.astype(np.float32)
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        if self.transform == "unscale":
            half_range = (high - low) * np.float32(0.5)
            values = low + (values + np.float32(1)) * half_range
        return np.clip(values, low, high)


@dataclass(frozen=True, slots=True)
class Contract:
    """Observation, action, rate and state of one policy, and who stated them."""

    observation: Observation
    action: Action
    step_hz: float | None = None
    # what was stated and by whom, a line each; what the importer chose or dropped
    stated: tuple[str, ...] = field(default=(), compare=False)
    state: tuple[StateVector, ...] = ()  # what a recurrent policy carries from step to step

    def __post_init__(self) -> None:
        if len({state.name for state in self.state}) < len(self.state):
            raise InputError("contract: two states have one name")
        if self.state and self.observation.is_image:
            raise InputError(
                "contract: a state beside an image; recurrent policies of vectors are supported"
            )
        if self.step_hz is not None and not (math.isfinite(self.step_hz) and self.step_hz > 0):
            raise InputError(
                f"contract: step_hz is {self.step_hz}; it must be a finite number above 0, or "
                "absent"
            )

    def to_json(self) -> str:
        """Return canonical JSON (sorted keys, shortest round-trip floats, null for no bound): the
        same contract gives the same bytes.
        """
        observation, action = self.observation, self.action
        normalizer = observation.normalizer
        document = {
            "format": 1,
            "observation": {
                "shape": list(observation.shape),
                "dtype": observation.dtype,
                "layout": observation.layout,
                "names": list(observation.names),
                "pixel_scale": observation.pixel_scale if observation.is_image else None,
                "normalizer": None
                if normalizer is None
                else {
                    "mean": list(normalizer.mean),
                    "var": list(normalizer.var),
                    "epsilon": normalizer.epsilon,
                    "clip_obs": normalizer.clip_obs,
                },
                **_given(
                    units=observation.units,
                    pixel_zero=observation.pixel_zero,
                    pictures=[asdict(picture) for picture in observation.pictures],
                    parts=[asdict(part) for part in observation.parts],
                ),
            },
            "action": {
                "kind": action.kind,
                "count": action.count,
                "low": [None if math.isinf(bound) else bound for bound in action.low],
                "high": [None if math.isinf(bound) else bound for bound in action.high],
                "transform": action.transform if action.kind == "box" else "argmax",
                **_given(
                    start=action.start,
                    counts=action.counts,
                    names=action.names,
                    units=action.units,
                    sampled=action.sampled,
                ),
            },
            "step_hz": self.step_hz,
            **_given(stated=self.stated, state=[asdict(state) for state in self.state]),
        }
        return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Contract:
        """Return the contract written by `to_json`.

        Raises:
            InputError: not a contract, one of another format version, or one that says more than
                quarl understands.
        """
        try:
            document = json.loads(text)
            if document["format"] != 1:
                raise InputError(
                    f"contract.json: format {document['format']}, this quarl reads format 1: "
                    "export the bundle again"
                )
            observation, action = document["observation"], document["action"]
            normalizer = observation["normalizer"]
            contract = Contract(
                Observation(
                    tuple(_whole(length) for length in observation["shape"]),
                    observation["dtype"],
                    observation["layout"],
                    tuple(observation["names"]),
                    None
                    if normalizer is None
                    else Normalizer(
                        tuple(normalizer["mean"]),
                        tuple(normalizer["var"]),
                        normalizer["epsilon"],
                        normalizer["clip_obs"],
                    ),
                    tuple(observation.get("units", ())),
                    observation["pixel_scale"] or 1 / 255,
                    _whole(observation.get("pixel_zero", 0)),
                    pictures_from(observation.get("pictures", ())),
                    parts_from(observation.get("parts", ())),
                ),
                _action_from(action),
                document["step_hz"],
                tuple(document.get("stated", ())),
                states_from(document.get("state", ())),
            )
            if json.loads(contract.to_json()) != document or not all(
                isinstance(word, str) for word in contract.words
            ):
                words = "contract.json: holds something this quarl does not understand"
                raise InputError(f"{words}: export the bundle again")
            return contract
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise InputError(
                f"contract.json: not a contract ({error!r}): export the bundle again"
            ) from error

    @property
    def words(self) -> tuple[str, ...]:
        """All names, units and statements."""
        observation, action = self.observation, self.action
        named = (*observation.names, *observation.units, *action.names, *action.units)
        return (*named, *(part.name for part in observation.parts), *self.stated)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def box_bounds(values: Sequence[float] | NDArray[Any]) -> tuple[float, ...]:
    """Return the bounds as plain floats, one per action value."""
    return tuple(float(v) for v in np.asarray(values, np.float64).ravel())


def _action_from(action: Any) -> Action:
    """Return the action of a contract's JSON."""
    return Action(
        action["kind"],
        _whole(action["count"]),
        tuple(-math.inf if bound is None else bound for bound in action["low"]),
        tuple(math.inf if bound is None else bound for bound in action["high"]),
        action["transform"] if action["kind"] == "box" else "clip",
        _whole(action.get("start", 0)),
        tuple(_whole(count) for count in action.get("counts", ())),
        tuple(action.get("names", ())),
        tuple(action.get("units", ())),
        action.get("sampled", False),
    )


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that say something: contracts without them keep their bytes."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in fields.items()
        if value
    }


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value
