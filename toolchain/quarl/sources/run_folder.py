"""A run of RL Baselines3 Zoo as a source: its agent, its environment, its normaliser.

In: a folder such as `logs/ppo/LunarLander-v3_1`. Out: the zip, and what the run's settings say,
with a line for each. The settings are YAML with Python's names in it; they are read as text.
Source: rl_zoo3.exp_manager (save_trained_model, _save_config).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quarl.errors import InputError
from quarl.files.open import read_file
from quarl.graph.env_spec import EnvSpec, atari_advice
from quarl.importers import ImportOptions
from quarl.sources.pickled_statistics import read_vecnormalize

MAX_SETTINGS_BYTES = 1 << 18
STATISTICS = "vecnormalize.pkl"
BEST = "best_model.zip"
_CLASS = re.compile(r"(?<![\w.])[A-Za-z_][\w.]*\.[A-Za-z_]\w*")
ATARI = "atari_wrappers.AtariWrapper"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What a run's folder holds."""

    agent: Path
    env_id: str
    statistics: Path | None
    wrappers: tuple[str, ...]
    frame_stack: int

    def completed(self, options: ImportOptions) -> ImportOptions:
        """Return the options with the run's normaliser, unless they name one or none."""
        if self.statistics is None or options.normalizer is not None or options.no_normalizer:
            return options
        normalizer = read_vecnormalize(self.statistics)
        by = f"{self.statistics.parent.name}/{self.statistics.name}"
        return replace(options, normalizer=normalizer, normalizer_by=by)

    def check_env(self, env: EnvSpec | None) -> None:
        """Check that the environment is not one that lacks the run's wrappers.

        Raises:
            InputError: no environment was named, and the run's own is not gymnasium's as it is.
        """
        wrapped = [*self.wrappers, *([f"frame_stack {self.frame_stack}"] * (self.frame_stack > 1))]
        if env is not None or not wrapped:
            return
        advice = (
            game
            if (game := atari_advice(self.env_id)) and any(ATARI in name for name in self.wrappers)
            else "register an environment that wears them, and name it: --env my_package:Wrapped-v0"
        )
        raise InputError(
            f"{self.agent.name}: was trained in {self.env_id} with {', '.join(wrapped)}: {advice}; "
            "to look at the file alone, give the zip instead of its folder"
        )


def find_run(folder: Path) -> RunFolder | None:
    """Return the run in a folder; None where it holds none.

    The best agent that was evaluated goes before the last one.

    Raises:
        InputError: several agents, or settings that cannot be read.
    """
    settings = sorted(folder.glob("*/args.yml"))
    if len(settings) != 1:
        return None
    home = settings[0].parent
    candidates = [folder / f"{home.name}.zip", folder / BEST]
    agents = [path for path in candidates if path.is_file()]
    if not agents:
        raise InputError(
            f"{folder}: a run of RL Baselines3 Zoo without an agent: {BEST} is missing"
        )
    arguments = _pairs(settings[0])
    file = home / "config.yml"
    config = _pairs(file) if file.is_file() else {}
    statistics = home / STATISTICS
    wrappers = tuple(_CLASS.findall(config.get("env_wrapper", "")))
    stack = config.get("frame_stack", "1")
    return RunFolder(
        agents[-1],
        arguments.get("env", home.name),
        statistics if statistics.is_file() else None,
        wrappers,
        int(stack) if re.fullmatch("[0-9]{1,4}", stack) else 1,
    )


def _pairs(path: Path) -> Mapping[str, str]:
    """Return the entries of a YAML file that is a list of pairs, each as its text."""
    text = read_file(path, MAX_SETTINGS_BYTES).decode("utf-8", "replace")
    found: dict[str, str] = {}
    for entry in re.split(r"^[ \t]*- - ", text, flags=re.MULTILINE)[1:]:
        key, _, value = entry.partition("\n")
        found[key.strip().strip("'\"")] = re.sub(r"^\s*- ", "", value, count=1).strip().strip("'\"")
    return found
