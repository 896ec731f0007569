"""The public functions of quarl: each verb of the command line, for files and for objects in
memory.

    import quarl
    release = quarl.export("cartpole_ppo", "out/cartpole")
    quarl.parity(release)
    print(quarl.gate(release))

`import quarl` is quick: what a function needs is imported when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from quarl.boards.linux import AnyBoard
    from quarl.bundle.limits import Limits
    from quarl.bundle.release import Release
    from quarl.evidence.evidence import Evidence
    from quarl.exporter.export import ExportRequest
    from quarl.exporter.shipping import Shipment
    from quarl.links.target import Target
    from quarl.profiles.host import Profile
    from quarl.profiles.platform import BoardProfile
    from quarl.rollouts.episodes import Episodes
    from quarl.sources.in_memory import AnyEnv
    from quarl.sources.source import Source
    from quarl.verdict.limits import GateFile
    from quarl.verdict.verdict import Verdict


class ImportOptions(TypedDict, total=False):
    """What a file or an object does not say of itself."""

    env: AnyEnv  # a gymnasium id, an environment, or a function that makes one
    # the path of a VecNormalize pickle or an .npz, a VecNormalize, a Normalizer; False: none
    normalizer: Any
    observation_space: Any  # of gymnasium, where there is no environment
    action_space: Any
    name: str  # of an object in memory; a file has its own


class ExportOptions(ImportOptions, total=False):
    """How a policy becomes a bundle."""

    rung: int  # of the ladder; left out: the measured return chooses
    weights: str  # "int2" to "int8", "-all" takes the first and the last layer too
    activations: int  # bits, 2 to 16
    inputs: int  # bits, 3 to 16
    observations: str | Path | NDArray[Any]  # the policy meets; left out: played in the environment
    limits: Limits | Mapping[str, Any] | str | Path
    board: str | Path  # a name of `quarl boards`, or a board.toml
    prefix: str  # of the policy's names in C


class ShipOptions(ExportOptions, total=False):
    """The whole chain."""

    episodes: int | Literal["auto"]  # most paired episodes, or as many as the limits need
    budget_minutes: float  # how long "auto" may play; 10 where left out
    link: str  # the way to the board; left out: its emulator


def import_policy(policy: Any, **options: Unpack[ImportOptions]) -> Source:
    """Return an imported policy: its graph, its contract and where it came from.

    Args:
        policy: the name of a shipped policy, a path, a Stable-Baselines3 model, a torch module, a
            Keras model, or a `Source`, which stays as it is.
    Raises:
        QuarlError: it is not a policy, or says less of itself than is needed.
    """
    from quarl import pipeline
    from quarl.importers import ImportOptions as Words
    from quarl.sources.in_memory import env_spec, normalizer_of, policy_file
    from quarl.sources.source import Source

    if isinstance(policy, Source):
        return policy
    env = env_spec(options.get("env"))
    normalizer = options.get("normalizer")
    observation, action = _spaces(options, env)
    if not isinstance(policy, str | Path):
        if normalizer is None and hasattr(policy, "get_vec_normalize_env"):
            normalizer = policy.get_vec_normalize_env() or False
        policy = policy_file(policy, observation, options.get("name", "policy"))
    if isinstance(normalizer, str | Path):
        from quarl.sources.normalizer_file import read_normalizer

        normalizer = read_normalizer(Path(normalizer))
    elif normalizer is not None and normalizer is not False:
        normalizer = normalizer_of(normalizer)
    words = Words(
        normalizer=normalizer or None,
        no_normalizer=normalizer is False,
        observation=observation,
        action_space=action,
    )
    return pipeline.import_source(str(policy), words, env)


def export(policy: Any, out: str | Path, **options: Unpack[ExportOptions]) -> Release:
    """Return the bundle of a policy, written to the folder `out`: int8 `.tflite` and `.onnx` from
    the same integers, and C where a board is named.

    Args:
        policy: as `import_policy` takes it.
    Raises:
        QuarlError: the first thing that is wrong; nothing is then written.
    """
    from quarl import pipeline

    source = import_policy(policy, **_only(options, ImportOptions))
    return pipeline.export(source, Path(out), _request(options))


def profile(
    bundle: str | Path | Release, board: str | Path | None = None, link: str | None = None
) -> Profile | BoardProfile:
    """Return what one decision costs, measured in the bundle's own files.

    Args:
        board: a name or a board.toml; None: this host.
        link: the way to the board; None: its emulator.
    """
    from quarl import pipeline

    release = open_bundle(bundle)
    if board is None:
        return pipeline.profile(release)
    return pipeline.profile_board(release, _target(_board(board), link))


def parity(
    bundle: str | Path | Release,
    *,
    env: AnyEnv | None = None,
    episodes: int | Literal["auto"] | None = None,
    budget_minutes: float | None = None,
    robustness: bool = False,
) -> Evidence:
    """Return the evidence that the int8 policy is its source's equal.

    Args:
        env: None: the bundle's own.
        episodes: most paired episodes, which stop as soon as the answer is certain; "auto": as many
            as the limits need.
        budget_minutes: how long "auto" may play; None: 10.
        robustness: play under noise, drops and delay of observations too.
    """
    from quarl import pipeline
    from quarl.sources.in_memory import env_spec
    from quarl.verdict.assess import ParityRequest
    from quarl.verdict.planning import asked_episodes

    asked = asked_episodes(episodes, budget_minutes)
    request = ParityRequest(env=env_spec(env), episodes=asked, robustness=robustness)
    return pipeline.parity(open_bundle(bundle), request)


def gate(
    bundle: str | Path | Release, limits: Limits | Mapping[str, Any] | str | Path | None = None
) -> Verdict:
    """Return the verdict on a bundle.

    Args:
        limits: what is asked: `Limits` as they are, or the keys of a gate.toml, which stand on the
            defaults (toolchain/docs/gate.md); None: what the bundle was exported with.
    """
    from quarl import pipeline

    release = open_bundle(bundle)
    return pipeline.gate(release, limits=_gate_limits(limits))


def ship(policy: Any, out: str | Path, **options: Unpack[ShipOptions]) -> Shipment:
    """Return the bundle, its figures and its verdict: import, export, profile, parity, gate,
    report.

    Args:
        policy: as `import_policy` takes it. A policy given as an object is trusted: its framework
            may load it for the proof of the import.
    """
    from quarl import pipeline
    from quarl.verdict.assess import ParityRequest
    from quarl.verdict.planning import asked_episodes

    is_object = not isinstance(policy, str | Path)
    source = import_policy(policy, **_only(options, ImportOptions))
    request = _request(options)
    target = None if request.board is None else _target(request.board, options.get("link"))
    asked = asked_episodes(options.get("episodes"), options.get("budget_minutes"))
    play = ParityRequest(episodes=asked, target=target)
    return pipeline.ship(source, Path(out), request, play, trust=is_object)


def report(
    bundle: str | Path | Release, out: str | Path | None = None, *, film: bool = False
) -> Path:
    """Return where the report of a bundle was written: `out`, or report.html in the bundle.

    Args:
        film: whether one episode is filmed, float32 beside int8, in the bundle's environment.
    """
    from quarl import pipeline

    return pipeline.report(open_bundle(bundle), None if out is None else Path(out), film=film)


def play(
    policy: Any,
    episodes: int = 10,
    *,
    seed: int | None = None,
    int8: bool = False,
    env: AnyEnv = None,
) -> Episodes:
    """Return episodes of a policy or a bundle in its environment.

    Args:
        policy: as `import_policy` takes it, or a bundle or its folder.
        seed: of the first episode, the next count up; None: those of a policy's score.
        int8: a bundle's `.tflite`, or the policy quantised now on rung 3.
        env: None: the one it was trained in.
    """
    from quarl.bundle.manifest import MANIFEST
    from quarl.bundle.release import Release
    from quarl.quantize.ladder import DEFAULT_RUNG
    from quarl.reports import player as players
    from quarl.sources.in_memory import env_spec
    from quarl.stats.seeds import SCORE_SEED

    spec = env_spec(env)
    is_folder = isinstance(policy, str | Path) and (Path(policy) / MANIFEST).is_file()
    if is_folder or isinstance(policy, Release):
        player = players.bundle_player(open_bundle(policy), spec, int8=int8)
    else:
        source = import_policy(policy) if env is None else import_policy(policy, env=env)
        player = players.source_player(source, spec, DEFAULT_RUNG if int8 else None)
    first = SCORE_SEED if seed is None else seed
    return players.play(player, range(first, first + episodes))


def open_bundle(bundle: str | Path | Release) -> Release:
    """Return a bundle, read once; one that is open already stays as it is."""
    from quarl.bundle.release import Release
    from quarl.bundle.release import open_bundle as opened

    return bundle if isinstance(bundle, Release) else opened(bundle)


def _request(options: ExportOptions) -> ExportRequest:
    from dataclasses import replace

    from quarl.exporter.export import ExportRequest
    from quarl.firmware.names import DEFAULT_PREFIX
    from quarl.quantize.widths import widths_named

    observations = options.get("observations")
    board = options.get("board")
    widths = widths_named(options.get("weights", "int8"))
    return ExportRequest(
        rung=options.get("rung"),
        widths=replace(
            widths, activations=options.get("activations"), inputs=options.get("inputs")
        ),
        calibration=Path(observations) if isinstance(observations, str) else observations,
        limits=_limits(options.get("limits")),
        board=None if board is None else _board(board),
        prefix=options.get("prefix", DEFAULT_PREFIX),
    )


def _limits(limits: Limits | Mapping[str, Any] | str | Path | None) -> Limits | None:
    from quarl.verdict.limits import GateFile

    given = _gate_limits(limits)
    return given.limits if isinstance(given, GateFile) else given


def _gate_limits(
    limits: Limits | Mapping[str, Any] | str | Path | None,
) -> Limits | GateFile | None:
    from quarl.bundle.limits import Limits
    from quarl.files.open import read_file
    from quarl.verdict.limits import gate_file, read_gate_file

    if limits is None or isinstance(limits, Limits):
        return limits
    if isinstance(limits, str | Path):
        return read_gate_file(read_file(Path(limits)).decode(errors="replace"), str(limits))
    return gate_file(limits, "limits")


def _spaces(options: ImportOptions, env: Any) -> tuple[Any, Any]:
    from quarl.importers.spaces import action_of, observation_of, spaces_of

    observation, action = options.get("observation_space"), options.get("action_space")
    found = None if observation is None else observation_of(observation, "observation_space")
    chosen = None if action is None else action_of(action, "action_space")
    if env is not None and (found is None or chosen is None):
        seen, done = spaces_of(env)
        return found or seen, chosen or done
    return found, chosen


def _board(board: str | Path) -> AnyBoard:
    from quarl.boards.find import board_roots, find_target

    return find_target(str(board), board_roots())


def _target(board: AnyBoard, link: str | None) -> Target:
    from quarl.profiles.platforms import target_of

    return target_of(board, link)


def _only(options: Any, kind: type[Any]) -> Any:
    return {key: value for key, value in options.items() if key in kind.__annotations__}
