"""Defaults of a project: `[tool.quarl]` in pyproject.toml, and a gate.toml beside it.

In: the folder where quarl runs. Out: a default for options, by verb. What the command line says
wins. Both files are looked for here and in the folders above, up to the root of a repository or to
the first folder where somebody else may have put them.

    [tool.quarl]            for every verb that has the option
    board = "nrf52840_dk"
    env-arg = ["game=pong"]

    [tool.quarl.ship]       for one verb
    episodes = 400
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from quarl.errors import InputError
from quarl.files.tables import did_you_mean, refusal
from quarl.files.toml import read_toml

PYPROJECT, GATE = "pyproject.toml", "gate.toml"
NOT_DEFAULTS = frozenset({"out", "help", "version"})  # a bundle's place is said each time
PATHS = frozenset({"limits", "contract", "calibration", "obs_norm", "baseline", "history"})
Defaults = dict[str, dict[str, Any]]
Verb: TypeAlias = Any
"""A command of click, which typer brings with it or not: its `params` are read, no more."""


@dataclass(frozen=True, slots=True)
class Project:
    """What was found, and where."""

    defaults: Defaults  # verb -> parameter -> value
    sources: tuple[str, ...]  # the files that said it


def project_of(folder: Path, verbs: Mapping[str, Verb]) -> Project:
    """Return what the files around `folder` say.

    Raises:
        InputError: an option or a verb that there is not, or a value of a wrong kind; all of them.
    """
    defaults: Defaults = {name: {} for name in verbs}
    sources: list[str] = []
    table, path = _tool_table(folder)
    if table is not None and path is not None:
        problems = _fill(defaults, table, verbs, path.parent)
        if problems:
            raise refusal(f"{path}: [tool.quarl]", problems)
        sources.append(str(path))
    gate = _nearest(folder, GATE)
    if gate is not None:
        for name, verb in verbs.items():
            if "limits" in _options(verb) and "limits" not in defaults[name]:
                defaults[name]["limits"] = str(gate)
        sources.append(str(gate))
    return Project(defaults, tuple(sources))


def _tool_table(folder: Path) -> tuple[dict[str, Any] | None, Path | None]:
    path = _nearest(folder, PYPROJECT)
    if path is None:
        return None, None
    try:
        tool = read_toml(path).get("tool")
    except InputError:  # of another tool's making: whoever reads it says so
        return None, None
    table = tool.get("quarl") if isinstance(tool, dict) else None
    return (table, path) if isinstance(table, dict) else (None, None)


def _nearest(folder: Path, name: str) -> Path | None:
    """Return the file of that name in the folder or above it, as far as `_upward` goes."""
    for place in _upward(folder):
        if (place / name).is_file():
            return place / name
    return None


def _upward(folder: Path) -> Iterator[Path]:
    for place in (folder, *folder.parents):
        if place != folder and not _is_ours(place):
            return
        yield place
        if (place / ".git").exists():
            return


def _is_ours(folder: Path) -> bool:
    """Whether a folder is of this user or of root, and no place like /tmp where anybody writes."""
    status = folder.stat()
    anybody_writes = status.st_mode & (stat.S_ISVTX | stat.S_IWOTH) == stat.S_ISVTX | stat.S_IWOTH
    user = os.getuid() if hasattr(os, "getuid") else 0
    return not anybody_writes and (user == 0 or status.st_uid in (0, user))


def _fill(
    defaults: Defaults, table: dict[str, Any], verbs: Mapping[str, Verb], root: Path
) -> list[str]:
    """Add what the table says to the defaults; return what is wrong with it."""
    problems: list[str] = []
    everywhere = {key: value for key, value in table.items() if not isinstance(value, dict)}
    known = {name for verb in verbs.values() for name in _options(verb)}
    for key, value in everywhere.items():
        name = key.replace("-", "_")
        if name not in known:
            words = [*(option.replace("_", "-") for option in known), *verbs]
            problems.append(f"{key}: no verb has this option{did_you_mean(key, words)}")
            continue
        for verb_name, verb in verbs.items():
            if name in _options(verb):
                problems += _set(defaults[verb_name], _options(verb)[name], key, value, root)
    for verb_name, own in ((k, v) for k, v in table.items() if isinstance(v, dict)):
        if verb_name not in verbs:
            problems.append(f"{verb_name}: is not a verb{did_you_mean(verb_name, verbs)}")
            continue
        options = _options(verbs[verb_name])
        for key, value in own.items():
            name = key.replace("-", "_")
            if name in options:
                problems += _set(defaults[verb_name], options[name], key, value, root)
            else:
                words = [option.replace("_", "-") for option in options]
                problems.append(
                    f"{verb_name}.{key}: quarl {verb_name} has no such option"
                    f"{did_you_mean(key, words)}"
                )
    return list(dict.fromkeys(problems))


def _set(defaults: dict[str, Any], option: Any, key: str, value: Any, root: Path) -> list[str]:
    """Set one default; return what is wrong with the value."""
    name = option.name or ""
    is_list = isinstance(value, list)
    if option.is_flag:
        right = isinstance(value, bool)
    else:
        parts = value if is_list else [value]
        right = (not is_list or option.multiple) and all(
            isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts
        )
    if not right:
        kind = "true or false" if option.is_flag else "a text or a number"
        return [f"{key}: is {value!r}; allowed: {kind}"]
    if name in PATHS and isinstance(value, str):
        value = str(root / value)
    defaults[name] = [str(part) for part in value] if is_list else value
    if option.multiple and not is_list:
        defaults[name] = [str(value)]
    return []


def _options(verb: Verb) -> dict[str, Any]:
    """Return the options of a verb that may have a default, by parameter."""
    return {
        option.name: option
        for option in verb.params
        if option.param_type_name == "option" and option.name not in NOT_DEFAULTS
    }
