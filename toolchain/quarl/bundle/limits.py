"""Limits: what the gate asks of a release.

In: a table, as a recipe, a gate.toml or a manifest holds it. Out: frozen `Limits`; all problems of
a table are reported in one error. Keys and defaults: toolchain/docs/gate.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from quarl.errors import InputError
from quarl.files.tables import (
    Count,
    Flag,
    NotNegative,
    Number,
    Share,
    Text,
    Whole,
    table,
    value_from,
)
from quarl.files.text import shortened

NotProven: TypeAlias = Literal["fail", "warn"]
FailureRule: TypeAlias = Literal["return", "success"]
ALWAYS_COMPARED = ("litert", "onnxruntime")
BACKENDS = (
    *ALWAYS_COMPARED,
    *("firmware", "pi_litert", "pi_onnxruntime", "pi_c"),
)
"""All there are: the two of every host, and those of boards."""

AboveZero = Annotated[Number, Field(gt=0, le=1)]


@table
@dataclass(frozen=True, slots=True)
class Limits:
    """What a release must keep. A limit that is None is not judged; evidence for any other must be
    there.
    """

    episodes: Annotated[Whole, Field(ge=2, description="paired episodes to play")] = 200
    margin: Annotated[
        AboveZero,
        Field(description="share of (source's mean return - random_return) that may be lost"),
    ] = 0.02
    random_return: Annotated[
        Number | None,
        Field(description="mean return of random play; without it no margin can be computed"),
    ] = None
    failure: Annotated[
        FailureRule, Field(description='an episode fails by its return, or by info["success"]')
    ] = "return"
    failure_return: Annotated[
        Number | None,
        Field(
            description="a lower return is a failure; absent: halfway between random play and the "
            "source's mean"
        ),
    ] = None
    failure_margin: Annotated[
        AboveZero, Field(description="allowed rise of the failure rate, 0.01 = one point")
    ] = 0.02
    alpha: Annotated[
        Number, Field(ge=0.001, le=0.2, description="one-sided error of each test")
    ] = 0.05
    sequential: Annotated[
        Flag, Field(description="whether episodes stop as soon as the answer is certain")
    ] = True
    equivalence: Annotated[
        Flag, Field(description="whether a gain beyond the margin fails as well")
    ] = False
    robustness_margin: Annotated[
        AboveZero | None,
        Field(
            description="share of the same scale that int8 may lose against its source under each "
            "disturbance"
        ),
    ] = None
    chaos_margin: Annotated[
        AboveZero | None,
        Field(
            description="share of the float64 control's own spread that may be lost where that is "
            "more than the margin; 0.2 is a fifth of it"
        ),
    ] = None
    source_return: Annotated[
        Number | None,
        Field(
            description="mean return the source is known to reach; it may not certainly miss it by "
            "more than the margin"
        ),
    ] = None
    min_calibration_episodes: Annotated[
        Count, Field(description="that ranges are taken from, where their number is known")
    ] = 8
    min_agreement: Annotated[
        Share | None, Field(description="discrete actions: least share of equal actions")
    ] = None
    min_weighted_agreement: Annotated[
        Share | None,
        Field(
            description="discrete actions: least share of what is at stake that int8 keeps; 0.98 "
            "where no environment is known"
        ),
    ] = None
    max_action_error: Annotated[
        Share | None,
        Field(
            description="box actions: largest mean error as a share of the action range; 0.01 "
            "where no environment is known"
        ),
    ] = None
    max_worst_action_error: Annotated[
        Share | None,
        Field(
            description="box actions: largest error of one value as a share of its range; 0.1 "
            "where no environment is known"
        ),
    ] = None
    max_import_error: Annotated[
        NotNegative,
        Field(description="of our float graph against the source framework, largest absolute"),
    ] = 1e-5
    require_import_proof: Annotated[
        Flag,
        Field(description="whether an import that could not be proven here is a failure"),
    ] = False
    not_proven: Annotated[
        NotProven,
        Field(
            description='"fail": what was measured and cannot decide stops the release; "warn": it '
            "may go out"
        ),
    ] = "fail"
    without_source: Annotated[
        Flag,
        Field(
            description="whether a policy that came as an int8 file, with nothing to compare it "
            "with, may pass"
        ),
    ] = False
    backends: Annotated[
        tuple[Text, ...],
        Field(
            min_length=1,
            description="must give the reference's integers, each of them; litert and onnxruntime "
            "always do",
        ),
    ] = ALWAYS_COMPARED
    budgets: Annotated[
        Mapping[str, NotNegative],
        Field(description="most that a figure of the profile may be, by its name"),
    ] = field(default_factory=dict)

    def to_table(self) -> dict[str, Any]:
        """Return plain values by key, as `limits_from_table` reads them; None is left out."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value is not None
        }


DEFAULT_LIMITS = Limits()


def limits_from_table(
    document: Mapping[str, Any], where: str, base: Limits = DEFAULT_LIMITS
) -> Limits:
    """Return the limits of a `[gate]` table, on top of `base`.

    Raises:
        InputError: keys that are unknown or of the wrong kind, all of them named; or `backends`
            leaves out one of every host, or names one there is not.
    """
    given = value_from(Limits, document, where)
    lacking = [name for name in ALWAYS_COMPARED if name not in given.backends]
    unknown = [shortened(name) for name in given.backends if name not in BACKENDS]
    if lacking or unknown:
        problems = [f"lacks {name}" for name in lacking] + [f"{name}: unknown" for name in unknown]
        raise InputError(
            f"{where}: backends: {', '.join(problems)}; allowed: {', '.join(ALWAYS_COMPARED)}, and "
            f"for a board more of {', '.join(BACKENDS[len(ALWAYS_COMPARED) :])}"
        )
    return replace(base, **{key: getattr(given, key) for key in document})
