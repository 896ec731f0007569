"""One cell: quantise a policy, play it beside its source, and write down what was found.

In: a `Cell`, and where trainings and work lie. Out: a `Result`. A cell that fails is a result with
a problem; the others go on. Nothing here knows who else computes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.emitters import emit_tflite
from quarl.errors import InputError, QuarlError
from quarl.evidence.agreement import DiscreteAgreement, compare_actions, compare_choices
from quarl.files.atomic import write_whole
from quarl.files.npz import FRAMES_RATIO, npz_bytes, read_npz
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy, Weighted
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.graph.softmax import softmax
from quarl.importers import ImportOptions
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import decision_loss, quantize_on_rung, rung_numbered
from quarl.rollouts.actors import Actor, Outputs, artifact_outputs, float_outputs, source_actor
from quarl.rollouts.episodes import run_episodes
from quarl.sources.observations import observations_of
from quarl.sources.recipe import read_recipe
from quarl.sources.source import Source, open_source
from quarl.stats.resampling import paired_change
from quarl.stats.seeds import PARITY_SEED
from quarl.study.paper import rounded_as_paper, rounded_to_half
from quarl.study.plan import Cell, Training
from quarl.study.result import Result

CHECKED = {True: 16, False: 500}  # observations on which LiteRT is compared, of images and vectors


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study lies."""

    folder: Path

    def policy(self, training: Training) -> Path:
        """Return the folder that a training writes."""
        name = Path(training.recipe).name
        return self.folder / "policies" / training.key[:16] / name

    def source_returns(self, what: str) -> Path:
        """Return the file of what a float policy scored in its episodes."""
        return self.folder / "sources" / f"{hashlib.sha256(what.encode()).hexdigest()}.npz"

    def work(self, key: str) -> Path:
        """Return where a cell may keep what it goes on from."""
        return self.folder / "work" / key[:16]


def train_policy(training: Training, place: Place) -> Path:
    """Return the folder of the trained policy; one that is complete is not trained again."""
    from quarl.train import train

    out = place.policy(training)
    if (out / "SOURCE.md").is_file():
        return out
    begin = place.folder / "recipes" / training.key[:16] / out.name
    begin.mkdir(parents=True, exist_ok=True)
    (begin / "recipe.toml").write_text(_changed(training), encoding="utf-8")
    train(begin, out, runs=place.folder / "runs" / training.key[:16])
    return out


def run_cell(cell: Cell, place: Place, key: str) -> Result:
    """Return what the cell found; a failure is told in `problem`."""
    began = time.perf_counter()
    try:
        source = open_cell(cell)
        result = _measure(cell, source, place, key)
    except QuarlError as error:
        result = replace(blank(cell, None), problem=str(error).partition("\n")[0])
    except (ArithmeticError, ValueError, OSError, MemoryError, RuntimeError) as error:
        problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        result = replace(blank(cell, None), problem=problem)
    return replace(result, seconds=time.perf_counter() - began)


def open_cell(cell: Cell) -> Source:
    """Return the cell's source.

    Raises:
        InputError: it cannot be read, or has no environment to play in.
    """
    source = open_source(cell.policy, ImportOptions(), None)
    if source.env is None or isinstance(source.policy, QuantPolicy):
        raise InputError(f"{cell.policy}: a study needs a float policy with its environment")
    return source


def _measure(cell: Cell, source: Source, place: Place, key: str) -> Result:
    policy, env = source.policy, source.env
    assert isinstance(policy, Policy)
    assert env is not None
    fitted, held = observations_of(source, None)
    made = _make(cell, source, fitted, place, key)
    outputs = _outputs(made)
    seeds = range(PARITY_SEED, PARITY_SEED + cell.episodes)
    base = _source_returns(source, seeds, place)
    played = run_episodes(env, _actor(made, outputs), seeds).returns
    obs = held.obs if not policy.contract.observation.is_image else held.obs[:200]
    wanted, found = float_outputs(policy)(obs), outputs(obs)
    result = blank(cell, source)
    measured = replace(
        result,
        **_change(base, played),
        episodes=cell.episodes,
        agreement=_known(agreement_share(policy, wanted, found)),
        decision_error=decision_loss(policy.contract.action, wanted, found),
        entropy=_entropy(policy, found),
        parameter_bytes=_bytes(made, policy, cell),
        instructions=_instructions(made, cell.board, obs),
        differing=_differing(made, obs),
    )
    undefined = measured.undefined
    if undefined:
        return replace(result, problem=f"{', '.join(undefined)}: not a finite number")
    return measured


def _make(
    cell: Cell, source: Source, fitted: Calibration, place: Place, key: str
) -> Policy | QuantPolicy:
    policy = source.policy
    assert isinstance(policy, Policy)
    match cell.method:
        case "fp16":
            return rounded_to_half(policy)
        case "paper":
            return rounded_as_paper(policy, cell.widths.weights)
        case "ladder":
            return quantize_on_rung(policy, fitted, int(cell.settings["rung"]), cell.widths)
        case "distil":
            return _distilled(cell, source, fitted, place, key)
        case "qat":
            return _learned(cell, place, key)


def _distilled(
    cell: Cell, source: Source, fitted: Calibration, place: Place, key: str
) -> QuantPolicy:
    from quarl.finetune.assignment import Assignment
    from quarl.finetune.distil import distil, open_notebook

    policy = source.policy
    assert isinstance(policy, Policy)
    steps = int(cell.settings["steps"])
    assignment = Assignment(cell.widths, seed=cell.seed, steps=steps, keeps_best=False)
    notebook = open_notebook(
        source.name, policy, source.env, assignment, place.work(key), resume=False
    )
    return distil(policy, source.env, fitted, assignment, notebook).policy


def _learned(cell: Cell, place: Place, key: str) -> QuantPolicy:
    from quarl.sources.recipe import QatRecipe
    from quarl.train import trainer_of
    from quarl.train.trained import Run

    assert cell.training is not None
    recipe = read_recipe(place.policy(cell.training))
    widths = cell.widths
    qat = QatRecipe(
        weights=widths.weights,
        delay=float(cell.settings["delay"]),
        edges=widths.edges,
        activations=widths.activations or 8,
        inputs=widths.inputs,
    )
    trained = trainer_of(recipe)(replace(recipe, qat=qat), Run(place.work(key)))
    assert trained.integers is not None
    return trained.integers


def _outputs(made: Policy | QuantPolicy) -> Outputs:
    if isinstance(made, Policy):
        return float_outputs(made)
    return artifact_outputs(made, emit_tflite(made))


def _actor(made: Policy | QuantPolicy, outputs: Outputs) -> Actor:
    if isinstance(made, Policy):
        return source_actor(made)
    decode = made.contract.action.decode
    return lambda obs: decode(outputs(obs))


def identity_of(source: Source) -> str:
    """Return what tells a policy in its environment from all others."""
    return f"{source.policy.source_sha256} {source.env}"


def _source_returns(source: Source, seeds: range, place: Place) -> NDArray[np.float64]:
    """Return the float policy's returns, which all cells of a policy share; played once."""
    assert source.env is not None
    assert isinstance(source.policy, Policy)
    path = place.source_returns(f"{identity_of(source)} {seeds}")
    with contextlib.suppress(InputError, KeyError):  # not there, or damaged
        return read_npz(path, max_ratio=FRAMES_RATIO)["returns"]
    returns = run_episodes(source.env, source_actor(source.policy), seeds).returns
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, npz_bytes({"returns": returns}))
    return returns


def _change(base: NDArray[np.float64], played: NDArray[np.float64]) -> dict[str, Any]:
    change = paired_change(base, played)
    return {
        "source_return": float(base.mean()),
        "mean_return": float(played.mean()),
        "relative_error": change.percent,
        "error_low": change.low,
        "error_high": change.high,
        "source_returns": tuple(round(float(value), 6) for value in base),
        "returns": tuple(round(float(value), 6) for value in played),
    }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def agreement_share(policy: Policy, wanted: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the share of equal actions of outputs [n, count], or 1 - mean error / range."""
    action = policy.contract.action
    if action.kind == "box":
        boxed = compare_actions(
            action.decode(wanted), action.decode(found), action.low, action.high
        )
        return float("nan") if boxed.mean_share is None else 1 - boxed.mean_share
    chosen = compare_choices(wanted, found, output_step=0.0)
    assert isinstance(chosen, DiscreteAgreement)
    return chosen.agreement


def _entropy(policy: Policy, outputs: NDArray[Any]) -> float | None:
    if policy.contract.action.kind != "discrete" or policy.algorithm.upper() not in ("PPO", "A2C"):
        return None
    shares = np.maximum(softmax(outputs.astype(np.float32), 1.0).astype(np.float64), 1e-12)
    return float(-(shares * np.log(shares)).sum(axis=1).mean())


def _bytes(made: Policy | QuantPolicy, policy: Policy, cell: Cell) -> int:
    if isinstance(made, QuantPolicy):
        return made.parameter_bytes
    bits = 16 if cell.method == "fp16" else cell.widths.weights
    weights = sum(n.op.weights.size for n in policy.nodes if isinstance(n.op, Weighted))
    rest = policy.parameter_count - weights
    return weights * bits // 8 + rest * (2 if cell.method == "fp16" else 4)


def _instructions(made: Policy | QuantPolicy, board: str | None, obs: NDArray[Any]) -> int | None:
    if board is None or isinstance(made, Policy):
        return None
    from quarl.study.instructions import count_instructions

    return count_instructions(made, board, obs)


def _differing(made: Policy | QuantPolicy, obs: NDArray[Any]) -> int:
    if isinstance(made, Policy):
        return 0
    few = obs[: CHECKED[made.contract.observation.is_image]]
    wanted = real_outputs(made, integer_outputs(made, few))
    return int((_outputs(made)(few) != wanted).sum())


def blank(cell: Cell, source: Source | None) -> Result:
    """Return a result that says which cell it is, and no numbers."""
    is_float = cell.method in ("fp16", "paper")
    widths = cell.widths
    rung = int(cell.settings["rung"]) if cell.method == "ladder" else None
    settings = rung_numbered(rung or 0).settings.with_widths(widths)
    training_seed = 0
    if source is not None and source.recipe is not None:
        training_seed = source.recipe.train.seed
    elif cell.training is not None and cell.training.seed is not None:
        training_seed = cell.training.seed
    return Result(
        policy=Path(cell.policy).name if source is None else source.name,
        task="" if source is None or source.env is None else _task(source.env),
        algorithm="" if source is None else source.algorithm,
        training_seed=training_seed,
        method=cell.method,
        weights=16 if cell.method == "fp16" else widths.weights,
        edges=16 if cell.method == "fp16" else widths.edges,
        activations=32 if is_float else settings.hidden_bits,
        inputs=32 if is_float else settings.input_bits,
        seed=cell.seed,
        weight_width=0.0 if source is None else _width(source.policy),
        random_return=None
        if source is None or source.recipe is None
        else source.recipe.gate.random_return,
        rung=rung,
    )


def _task(env: EnvSpec) -> str:
    game = env.kwargs.get("game")
    return env.id.rpartition(":")[2] + ("" if game is None else f" {game}")


def _width(policy: Any) -> float:
    weights = [n.op.weights for n in policy.nodes if isinstance(n.op, Weighted)]
    return float(max(w.max() for w in weights) - min(w.min() for w in weights))


def _changed(training: Training) -> str:
    """Return the recipe's text with the training's seed and steps."""
    before, header, after = training.text.partition("[train]\n")
    if training.seed is not None:
        after = re.sub(r"(?m)^seed = .*$", f"seed = {training.seed}", after, count=1)
    if training.steps is not None:
        after = re.sub(r"(?m)^steps = .*$", f"steps = {training.steps}", after, count=1)
    return before + header + after
