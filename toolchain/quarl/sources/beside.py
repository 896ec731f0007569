"""What lies beside a policy's file and says more of it than the file: the control rate in the
settings of Isaac Lab or of a robot's deployment, and the environment that a model card names.

In: the path of a policy. Out: what was found and where. YAML is read as lines of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from quarl.files.open import read_file

MOST_BYTES = 1 << 20
CARD = "README.md"
DEPLOYMENT = "deploy.yaml"  # of unitree_rl_lab
ENVIRONMENT = "env.yaml"  # of Isaac Lab, in the run's folder params
LEVELS = 2  # a file lies in the run's folder, or in its exported
HIGHEST_HZ = 1e6
_NUMBER = r"([0-9.eE+-]+)\s*$"


def stated_rate(path: Path) -> tuple[float, str] | None:
    """Return the control rate in Hz and the file that states it; None where none does."""
    for file in _beside(path, DEPLOYMENT):
        if (step := _number(_text(file), r"^step_dt:\s*")) is not None:
            return 1 / step, _shown(file, path)
    for file in _beside(path, ENVIRONMENT):
        text = _text(file)
        step, decimation = (_number(text, pattern) for pattern in (_SIM_DT, r"^decimation:\s*"))
        if step is not None and decimation is not None and step * decimation > 1 / HIGHEST_HZ:
            return 1 / (step * decimation), _shown(file, path)
    return None


# No pattern here may look at a text twice: what lies beside a file is a stranger's, too.
_SIM_DT = r"^sim:[ \t\r]*\n(?:[ \t].*\n)*?[ \t]+dt:\s*"
_ID = r"['\"]?([\w./:-]+-v\d+)['\"]?[ \t\r]*$"
_DATASET = re.compile(
    r"^[ \t]*(?:-[ \t]*)?dataset:[ \t\r]*\n(?:[ \t]+\w+:.*\n)*?[ \t]+name:[ \t]*" + _ID,
    re.MULTILINE,
)
_TAG = re.compile(r"^[ \t]*-[ \t]+" + _ID, re.MULTILINE)


def card_environment(path: Path) -> str:
    """Return the environment that the model card beside a file names; empty where none does."""
    card = path.parent / CARD
    if not card.is_file():
        return ""
    head = re.match(r"---\n(.*?)\n---", _text(card), re.DOTALL)
    if head is None:
        return ""
    found = _DATASET.search(head[1]) or _TAG.search(head[1])
    return found[1] if found else ""


def _beside(path: Path, name: str) -> Iterator[Path]:
    """Yield the files of that name near a policy: beside it, in `params`, or above."""
    folder = path.absolute().parent
    for _ in range(LEVELS):
        for file in (folder / name, folder / "params" / name):
            if file.is_file():
                yield file
        folder = folder.parent


def _shown(file: Path, path: Path) -> str:
    is_near = file.parent == path.absolute().parent
    return file.name if is_near else f"{file.parent.name}/{file.name}"


def _text(path: Path) -> str:
    return read_file(path, MOST_BYTES).decode("utf-8", "replace")


def _number(text: str, before: str) -> float | None:
    """Return the one positive number behind a pattern; None where there is none, or another."""
    found = set(re.findall(before + _NUMBER, text, re.MULTILINE))
    if len(found) != 1:
        return None
    try:
        value = float(found.pop())
    except ValueError:
        return None
    return value if 0 < value < HIGHEST_HZ else None
