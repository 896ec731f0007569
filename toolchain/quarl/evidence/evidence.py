"""The evidence of parity: what a bundle's parity.json holds and what the gate judges.

Raw where that is cheap (each episode's return), so that other limits can be judged later without
playing again.
`to_json` and `evidence_from_json` are inverses; the format is described in toolchain/docs/gate.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from quarl.bundle.rung_result import ONLY_TRY, Attempt, RungResult
from quarl.errors import InputError
from quarl.evidence.agreement import Agreement, BoxAgreement, DiscreteAgreement, WorstDecision
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.drift import StateDrift
from quarl.evidence.plan import EpisodePlan
from quarl.files.documents import Count, Digest, Document, Identifier, Line, Share, decode, encode
from quarl.graph.env_spec import EnvSpec
from quarl.profiles.figure import Figure, Kind
from quarl.rollouts.clipping import ClippedInputs
from quarl.rollouts.episodes import Episodes
from quarl.stats.sequential import Look

DOCUMENT = Document("evidence of parity", 4, "run quarl parity again")


@dataclass(frozen=True, slots=True)
class ImportProof:
    """How far our float graph is from the framework the policy comes from, on the same
    observations.
    """

    framework: Line  # name and version
    observations: Count
    max_abs_error: Annotated[float, Ge(0)] | None  # None: could not be proven here
    reason: Line = ""  # why not


@dataclass(frozen=True, slots=True, eq=False)
class OwnEpisodes:
    """Episodes of an int8 policy that has no source to be compared with."""

    env_id: str
    episodes: Episodes


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Where a backend first left the integer reference."""

    observation: Count
    output: Count
    expected: float  # an integer, or the float32 of a wide head
    found: float


@dataclass(frozen=True, slots=True)
class BackendEquality:
    """A backend's integers beside the reference's."""

    backend: Identifier
    version: Line
    observations: Count
    outputs: Count  # integers compared
    differing: Count
    first: FirstDifference | None


@dataclass(frozen=True, slots=True)
class ExampleReplay:
    """The bundle's own example played again from its files."""

    observations: Count
    differing_outputs: Count
    differing_actions: Count
    changed_files: tuple[Line, ...]  # what differs from the manifest, one line each


@dataclass(frozen=True, slots=True)
class CalibratedOn:
    """What the integers' ranges were taken from."""

    observations: Count
    episodes: Count  # 0: not known


@dataclass(frozen=True, slots=True, eq=False)
class DisturbedEpisodes:
    """Source and candidate on the first seeds of the paired episodes, both under the same
    disturbance.
    """

    disturbance: str  # a name of quarl.rollouts.robustness.DISTURBANCES
    source: Episodes
    candidate: Episodes


@dataclass(frozen=True, slots=True)
class Trial:
    """A change that was tried on one half of the held-out observations and measured on the
    other.
    """

    change: Line  # "rung 4 (wide input)", "calibration on the held-out observations"
    rung: Count
    observations: Count  # measured on
    unit: Line  # "of the actions changed" (a share), or "mean action error" (environment units)
    before: float
    after: float
    extra_bytes: int  # of parameters, against what is released

    @property
    def helps(self) -> bool:
        """Whether what is lost shrinks by a fifth at least."""
        return self.after <= 0.8 * self.before


@dataclass(frozen=True, slots=True)
class Consistency:
    """What contradicts what, one line each."""

    files: tuple[Line, ...]  # within the bundle
    evidence: tuple[Line, ...]  # between the bundle and the evidence


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All that is known about a release; what is None or empty has not been gathered."""

    manifest_sha256: str = ""  # of the bundle it was gathered on; evidence speaks for no other
    env: EnvSpec | None = None  # where the episodes were played
    import_proof: ImportProof | None = None
    backends: tuple[BackendEquality, ...] = ()
    example: ExampleReplay | None = None
    agreement: Agreement | None = None
    paired: PairedEpisodes | None = None
    plan: EpisodePlan | None = None  # of the paired episodes, as known at their first look
    # False: the policy came as an int8 file, so `agreement` and `paired` can never be gathered
    has_source: bool = True
    own: OwnEpisodes | None = None  # played where there is no source
    figures: tuple[Figure, ...] = ()
    calibration: CalibratedOn | None = None  # None: the policy came as an int8 file
    clipped: ClippedInputs | None = None  # of the candidate's paired episodes; None for images
    robustness: tuple[DisturbedEpisodes, ...] = ()  # empty: not asked for
    worst: tuple[WorstDecision, ...] = ()
    trials: tuple[Trial, ...] = ()  # empty: nothing failed, or nothing could be tried
    drift: StateDrift | None = None  # of a recurrent policy's state
    consistency: Consistency | None = None  # found anew each time, never stored
    # of the bundle's ladder, never stored: which try this is, and what the gate refused before it
    attempt: Attempt = ONLY_TRY
    refused: tuple[RungResult, ...] = ()
    sha256: str = ""  # of the parity.json it lies in; "" where there is none, never stored

    def to_json(self) -> str:
        """Return canonical JSON."""
        stored = _Stored(
            manifest_sha256=self.manifest_sha256,
            env=None
            if self.env is None
            else _Env(self.env.id, dict(self.env.kwargs), self.env.wrappers),
            import_proof=self.import_proof,
            backends=self.backends,
            example=self.example,
            agreement=_stored_agreement(self.agreement),
            paired=None if self.paired is None else _stored_pairs(self.paired),
            plan=self.plan,
            has_source=self.has_source,
            own=None if self.own is None else _stored_own(self.own),
            figures=tuple(_Figure(**asdict(figure)) for figure in self.figures),
            calibration=self.calibration,
            clipped=None if self.clipped is None else _Clipped(**asdict(self.clipped)),
            robustness=tuple(_stored_disturbed(disturbed) for disturbed in self.robustness),
            worst=tuple(_Worst(**asdict(decision)) for decision in self.worst),
            trials=self.trials,
            drift=self.drift,
        )
        return encode(stored, DOCUMENT).decode()


def evidence_from_json(text: str | bytes, where: str = "parity.json") -> Evidence:
    """Return what `to_json` wrote.

    Raises:
        InputError: not that, or of another format; numbers that cannot be, lists whose lengths
            differ, text that gives orders to a terminal.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    stored = decode(_Stored, data, where, DOCUMENT)
    try:
        return Evidence(
            manifest_sha256=stored.manifest_sha256,
            env=None
            if stored.env is None
            else EnvSpec(stored.env.id, stored.env.kwargs, stored.env.wrappers),
            import_proof=stored.import_proof,
            backends=stored.backends,
            example=stored.example,
            agreement=_agreement(stored.agreement),
            paired=None if stored.paired is None else _pairs(stored.paired),
            plan=stored.plan,
            has_source=stored.has_source,
            own=None if stored.own is None else _own(stored.own),
            figures=tuple(Figure(**asdict(figure)) for figure in stored.figures),
            calibration=stored.calibration,
            clipped=None if stored.clipped is None else ClippedInputs(**asdict(stored.clipped)),
            robustness=tuple(_disturbed(disturbed) for disturbed in stored.robustness),
            worst=tuple(WorstDecision(**asdict(decision)) for decision in stored.worst),
            trials=stored.trials,
            drift=stored.drift,
        )
    except ValueError as error:
        raise InputError(
            f"{where}: is not {DOCUMENT.title} ({error}): {DOCUMENT.remedy}"
        ) from error


# What parity.json holds, each value with what it may be. A type that other rooms use too is written
# here once more, so that they need not know of documents.

_Steps = Annotated[int, Ge(0), Le(2**31 - 1)]


@dataclass(frozen=True, slots=True)
class _Env:
    id: Line
    kwargs: dict[str, object]
    wrappers: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    episodes: Annotated[int, Ge(1), Le(1_000_000)]
    alpha_share: Share


@dataclass(frozen=True, slots=True)
class _Episodes:
    returns: tuple[float, ...]
    lengths: tuple[_Steps, ...]
    successes: tuple[bool, ...] | None


@dataclass(frozen=True, slots=True)
class _Pairs:
    env_id: Line
    seeds: tuple[Count, ...]
    looks: tuple[_Look, ...]
    divergence: tuple[Annotated[int, Ge(-1), Le(2**31 - 1)], ...] | None
    source: _Episodes
    candidate: _Episodes
    control: _Episodes


@dataclass(frozen=True, slots=True)
class _Own:
    env_id: Line
    seeds: tuple[Count, ...]
    candidate: _Episodes


@dataclass(frozen=True, slots=True)
class _Disturbed:
    disturbance: Identifier
    seeds: tuple[Count, ...]
    source: _Episodes
    candidate: _Episodes


@dataclass(frozen=True, slots=True)
class _Discrete:
    observations: Count
    agreement: Share
    weighted_agreement: Share
    source_tie_rate: Share
    candidate_tie_rate: Share
    output_step: float
    median_gap_steps: float | None
    clear_steps: float
    clear_observations: Count
    clear_agreement: Share | None
    first_difference: Count | None
    actions: Literal["discrete"] = "discrete"


@dataclass(frozen=True, slots=True)
class _Box:
    observations: Count
    mean_error: tuple[float, ...]
    max_error: tuple[float, ...]
    mean_share: float | None
    max_share: float | None
    worst_observation: Count
    worst_value: Count
    is_spanned: bool
    actions: Literal["box"] = "box"


@dataclass(frozen=True, slots=True)
class _Worst:
    observation: Count
    source: tuple[float, ...]
    candidate: tuple[float, ...]
    at_stake: float


@dataclass(frozen=True, slots=True)
class _Clipped:
    values: Count
    outside: Count
    worst_feature: Line
    worst_share: Share


@dataclass(frozen=True, slots=True)
class _Figure:
    name: Identifier
    value: float
    unit: Line
    kind: Kind
    noise: float
    where: Line


@dataclass(frozen=True, slots=True)
class _Stored:
    manifest_sha256: Digest | Literal[""]
    env: _Env | None
    import_proof: ImportProof | None
    backends: tuple[BackendEquality, ...]
    example: ExampleReplay | None
    agreement: _Discrete | _Box | None
    paired: _Pairs | None
    plan: EpisodePlan | None
    has_source: bool
    own: _Own | None
    figures: tuple[_Figure, ...]
    calibration: CalibratedOn | None
    clipped: _Clipped | None
    robustness: tuple[_Disturbed, ...]
    worst: tuple[_Worst, ...]
    trials: tuple[Trial, ...]
    drift: StateDrift | None = None


def _stored_agreement(agreement: Agreement | None) -> _Discrete | _Box | None:
    if agreement is None:
        return None
    if isinstance(agreement, DiscreteAgreement):
        return _Discrete(**asdict(agreement))
    return _Box(**asdict(agreement))


def _agreement(stored: _Discrete | _Box | None) -> Agreement | None:
    if stored is None:
        return None
    values = {key: value for key, value in asdict(stored).items() if key != "actions"}
    return DiscreteAgreement(**values) if isinstance(stored, _Discrete) else BoxAgreement(**values)


def _stored_episodes(episodes: Episodes) -> _Episodes:
    successes = episodes.successes
    return _Episodes(
        tuple(episodes.returns.tolist()),
        tuple(episodes.lengths.tolist()),
        None if successes is None else tuple(successes.tolist()),
    )


def _episodes(stored: _Episodes, seeds: tuple[int, ...]) -> Episodes:
    lists = [stored.returns, stored.lengths, stored.successes]
    if any(values is not None and len(values) != len(seeds) for values in lists):
        raise ValueError(
            f"{len(stored.returns)} returns and {len(stored.lengths)} lengths for {len(seeds)} "
            "seeds"
        )
    return Episodes(
        seeds,
        np.array(stored.returns, np.float64),
        np.array(stored.lengths, np.int32),
        None if stored.successes is None else np.array(stored.successes, np.bool_),
    )


def _stored_pairs(paired: PairedEpisodes) -> _Pairs:
    steps = paired.divergence
    return _Pairs(
        paired.env_id,
        paired.source.seeds,
        tuple(_Look(look.episodes, look.alpha_share) for look in paired.looks),
        None if steps is None else tuple(steps.tolist()),
        *(_stored_episodes(part) for part in (paired.source, paired.candidate, paired.control)),
    )


def _pairs(stored: _Pairs) -> PairedEpisodes:
    steps = stored.divergence
    if steps is not None and len(steps) != len(stored.seeds):
        raise ValueError(f"{len(steps)} steps of divergence for {len(stored.seeds)} seeds")
    source, candidate, control = (
        _episodes(part, stored.seeds) for part in (stored.source, stored.candidate, stored.control)
    )
    looks = tuple(Look(look.episodes, look.alpha_share) for look in stored.looks)
    divergence = None if steps is None else np.array(steps, np.int32)
    return PairedEpisodes(stored.env_id, source, candidate, control, looks, divergence)


def _stored_own(own: OwnEpisodes) -> _Own:
    return _Own(own.env_id, own.episodes.seeds, _stored_episodes(own.episodes))


def _own(stored: _Own) -> OwnEpisodes:
    return OwnEpisodes(stored.env_id, _episodes(stored.candidate, stored.seeds))


def _stored_disturbed(disturbed: DisturbedEpisodes) -> _Disturbed:
    source, candidate = (_stored_episodes(e) for e in (disturbed.source, disturbed.candidate))
    return _Disturbed(disturbed.disturbance, disturbed.source.seeds, source, candidate)


def _disturbed(stored: _Disturbed) -> DisturbedEpisodes:
    parts = (_episodes(part, stored.seeds) for part in (stored.source, stored.candidate))
    return DisturbedEpisodes(stored.disturbance, *parts)
