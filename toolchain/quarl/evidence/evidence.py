"""The evidence of parity: what a bundle's parity.json holds and what the gate judges.

Raw where that is cheap (each episode's return), so that other limits can be judged later without
playing again.
`to_json` and `evidence_from_json` are inverses; the format is described in toolchain/docs/gate.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from quarl.errors import InputError
from quarl.evidence.agreement import Agreement, BoxAgreement, DiscreteAgreement, WorstDecision
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.profiles.figure import Figure
from quarl.rollouts.clipping import ClippedInputs
from quarl.rollouts.episodes import Episodes
from quarl.stats.sequential import Look

FORMAT = 2


@dataclass(frozen=True, slots=True)
class ImportProof:
    """How far our float graph is from the framework the policy comes from, on the same
    observations.
    """

    framework: str  # name and version
    observations: int
    max_abs_error: float | None  # None: could not be proven here
    reason: str = ""  # why not


@dataclass(frozen=True, slots=True, eq=False)
class OwnEpisodes:
    """Episodes of an int8 policy that has no source to be compared with."""

    env_id: str
    episodes: Episodes


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Where a backend first left the integer reference."""

    observation: int
    output: int
    expected: float  # an integer, or the float32 of a wide head
    found: float


@dataclass(frozen=True, slots=True)
class BackendEquality:
    """A backend's integers beside the reference's."""

    backend: str
    version: str
    observations: int
    outputs: int  # integers compared
    differing: int
    first: FirstDifference | None


@dataclass(frozen=True, slots=True)
class ExampleReplay:
    """The bundle's own example played again from its files."""

    observations: int
    differing_outputs: int
    differing_actions: int
    changed_files: tuple[str, ...]  # what differs from the manifest, one line each


@dataclass(frozen=True, slots=True)
class CalibratedOn:
    """What the integers' ranges were taken from."""

    observations: int
    episodes: int  # 0: not known


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
    """A change that was tried on one half of the held-out observations and measured on the other."""

    change: str  # "rung 4 (wide input)", "calibration on the held-out observations"
    rung: int
    observations: int  # measured on
    unit: str  # "of the actions changed" (a share), or "mean action error" (environment units)
    before: float
    after: float
    extra_bytes: int  # of parameters, against what is released

    @property
    def helps(self) -> bool:
        """Whether what is lost shrinks by a fifth at least."""
        return self.after <= 0.8 * self.before


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All that is known about a release; what is None or empty has not been gathered."""

    manifest_sha256: str = ""  # of the bundle it was gathered on; evidence speaks for no other
    import_proof: ImportProof | None = None
    backends: tuple[BackendEquality, ...] = ()
    example: ExampleReplay | None = None
    agreement: Agreement | None = None
    paired: PairedEpisodes | None = None
    # False: the policy came as an int8 file, so `agreement` and `paired` can never be gathered
    has_source: bool = True
    own: OwnEpisodes | None = None  # played where there is no source
    figures: tuple[Figure, ...] = ()
    calibration: CalibratedOn | None = None  # None: the policy came as an int8 file
    clipped: ClippedInputs | None = None  # of the candidate's paired episodes; None for images
    robustness: tuple[DisturbedEpisodes, ...] = ()  # empty: not asked for
    worst: tuple[WorstDecision, ...] = ()
    trials: tuple[Trial, ...] = ()  # empty: nothing failed, or nothing could be tried

    def to_json(self) -> str:
        """Return canonical JSON."""
        document = {
            "format": FORMAT,
            "manifest_sha256": self.manifest_sha256,
            "import_proof": None if self.import_proof is None else asdict(self.import_proof),
            "backends": [asdict(backend) for backend in self.backends],
            "example": None if self.example is None else asdict(self.example),
            "agreement": None
            if self.agreement is None
            else {
                "actions": "discrete" if isinstance(self.agreement, DiscreteAgreement) else "box",
                **asdict(self.agreement),
            },
            "paired": None if self.paired is None else _paired_table(self.paired),
            "has_source": self.has_source,
            "own": None if self.own is None else _own_table(self.own),
            "figures": [asdict(figure) for figure in self.figures],
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "clipped": None if self.clipped is None else asdict(self.clipped),
            "robustness": [_disturbed_table(disturbed) for disturbed in self.robustness],
            "worst": [asdict(decision) for decision in self.worst],
            "trials": [asdict(trial) for trial in self.trials],
        }
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"


def evidence_from_json(text: str, where: str = "parity.json") -> Evidence:
    """Return what `to_json` wrote.

    Raises:
        InputError: not that, or of another format.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise InputError(
                f"{where}: format {document['format']}, this quarl reads format {FORMAT}: run "
                "quarl parity again"
            )
        proof, example, agreement, paired, own = (
            document[key] for key in ("import_proof", "example", "agreement", "paired", "own")
        )
        return Evidence(
            manifest_sha256=str(document["manifest_sha256"]),
            import_proof=None if proof is None else ImportProof(**proof),
            backends=tuple(_backend(table) for table in document["backends"]),
            example=None
            if example is None
            else ExampleReplay(**{**example, "changed_files": tuple(example["changed_files"])}),
            agreement=None if agreement is None else _agreement(agreement),
            paired=None if paired is None else _paired(paired),
            has_source=bool(document["has_source"]),
            own=None if own is None else _own(own),
            figures=tuple(Figure(**figure) for figure in document["figures"]),
            calibration=None
            if document["calibration"] is None
            else CalibratedOn(**document["calibration"]),
            clipped=None if document["clipped"] is None else ClippedInputs(**document["clipped"]),
            robustness=tuple(_disturbed(table) for table in document["robustness"]),
            worst=tuple(
                WorstDecision(
                    **{
                        **entry,
                        "source": tuple(entry["source"]),
                        "candidate": tuple(entry["candidate"]),
                    }
                )
                for entry in document["worst"]
            ),
            trials=tuple(Trial(**trial) for trial in document["trials"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: is not evidence of parity ({error!r}): run quarl parity again"
        ) from error


def _backend(table: Mapping[str, Any]) -> BackendEquality:
    first = table["first"]
    return BackendEquality(
        **{**table, "first": None if first is None else FirstDifference(**first)}
    )


def _agreement(table: Mapping[str, Any]) -> Agreement:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in table.items()
        if key != "actions"
    }
    return DiscreteAgreement(**values) if table["actions"] == "discrete" else BoxAgreement(**values)


def _paired_table(paired: PairedEpisodes) -> dict[str, Any]:
    return {
        "env_id": paired.env_id,
        "seeds": list(paired.source.seeds),
        "looks": [asdict(look) for look in paired.looks],
        "divergence": None if paired.divergence is None else paired.divergence.tolist(),
        **{
            name: _episodes_table(getattr(paired, name))
            for name in ("source", "candidate", "control")
        },
    }


def _own_table(own: OwnEpisodes) -> dict[str, Any]:
    return {
        "env_id": own.env_id,
        "seeds": list(own.episodes.seeds),
        "candidate": _episodes_table(own.episodes),
    }


def _episodes_table(episodes: Episodes) -> dict[str, Any]:
    return {
        "returns": episodes.returns.tolist(),
        "lengths": episodes.lengths.tolist(),
        "successes": None if episodes.successes is None else episodes.successes.tolist(),
    }


def _paired(table: Mapping[str, Any]) -> PairedEpisodes:
    seeds = tuple(int(seed) for seed in table["seeds"])
    source, candidate, control = (
        _episodes(table[name], seeds) for name in ("source", "candidate", "control")
    )
    steps = table["divergence"]
    divergence = None if steps is None else np.array(steps, np.int32)
    if divergence is not None and divergence.shape != (len(seeds),):
        raise ValueError(f"{len(divergence)} steps of divergence for {len(seeds)} seeds")
    looks = tuple(
        Look(int(look["episodes"]), float(look["alpha_share"])) for look in table["looks"]
    )
    return PairedEpisodes(str(table["env_id"]), source, candidate, control, looks, divergence)


def _disturbed_table(disturbed: DisturbedEpisodes) -> dict[str, Any]:
    return {
        "disturbance": disturbed.disturbance,
        "seeds": list(disturbed.source.seeds),
        "source": _episodes_table(disturbed.source),
        "candidate": _episodes_table(disturbed.candidate),
    }


def _disturbed(table: Mapping[str, Any]) -> DisturbedEpisodes:
    seeds = tuple(int(seed) for seed in table["seeds"])
    return DisturbedEpisodes(
        str(table["disturbance"]),
        _episodes(table["source"], seeds),
        _episodes(table["candidate"], seeds),
    )


def _own(table: Mapping[str, Any]) -> OwnEpisodes:
    return OwnEpisodes(
        str(table["env_id"]),
        _episodes(table["candidate"], tuple(int(seed) for seed in table["seeds"])),
    )


def _episodes(table: Mapping[str, Any], seeds: tuple[int, ...]) -> Episodes:
    returns, lengths, successes = (
        np.array(table["returns"], np.float64),
        np.array(table["lengths"], np.int32),
        table["successes"],
    )
    reported = None if successes is None else np.array(successes, np.bool_)
    if not returns.shape == lengths.shape == (len(seeds),) or (
        reported is not None and reported.shape != (len(seeds),)
    ):
        raise ValueError(
            f"{len(returns)} returns and {len(lengths)} lengths for {len(seeds)} seeds"
        )
    return Episodes(seeds, returns, lengths, reported)
