"""Observations from data sets of recorded episodes: Minari's, and LeRobot's folders.

In: `minari:ID`, a data set that lies in Minari's folder, or `lerobot:FOLDER`, of format 2.1 or 3.0.
Out: observations [n, ...] and the episode each comes from. Nothing is fetched and nothing is run.
Long data sets are thinned, evenly in each episode.
Sources: minari.farama.org (Dataset Standards); huggingface.co/docs/lerobot (LeRobotDataset).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from quarl.errors import InputError, ToolMissingError, UntrustedFileError
from quarl.files.open import open_file, read_file
from quarl.files.text import shortened
from quarl.rollouts.flat_space import flattened, is_flattened

MOST_OBSERVATIONS = 20_000
MOST_TABLE_VALUES = 1 << 26  # of a column: equal ones take no room in a file, but in memory
MOST_PARQUET_BYTES = 1 << 31
MOST_FILES = 100_000
STATE, EPISODE = "observation.state", "episode_index"  # columns of a LeRobot table
Recorded: TypeAlias = tuple[NDArray[Any], NDArray[np.int32]]


def is_data_set(word: str) -> bool:
    """Whether the word names a data set rather than a file."""
    return word.partition(":")[0] in _READERS and ":" in word


def read_data_set(word: str) -> Recorded:
    """Return the observations [n, ...] of a data set and the episode [n] each comes from.

    Raises:
        InputError: there is no such data set, it is damaged, or has no vector of observations.
        ToolMissingError: the library that reads it is not installed.
    """
    kind, _, name = word.partition(":")
    episodes, parts = [], []
    for number, observations in _READERS[kind](name):
        parts.append(observations)
        episodes.append(np.full(len(observations), number, np.int32))
    if not parts:
        raise InputError(f"{word}: holds no episodes: record some, or give another data set")
    if len({part.shape[1:] for part in parts}) > 1:
        raise InputError(f"{word}: its episodes have observations of different shapes")
    return _thinned(np.concatenate(parts), np.concatenate(episodes))


def _thinned(obs: NDArray[Any], episode: NDArray[np.int32]) -> Recorded:
    """Return about MOST_OBSERVATIONS of them; very short episodes give one each."""
    stride = max(1, round(len(obs) / MOST_OBSERVATIONS))
    return obs[::stride], episode[::stride]


def _minari_episodes(name: str) -> Iterator[tuple[int, NDArray[Any]]]:
    if re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*-v[0-9]+", name) is None or ".." in name:
        raise InputError(
            f"minari:{shortened(name)}: a data set is called as in minari list local, for example "
            "minari:D4RL/door/human-v2"
        )
    try:
        import minari
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"minari:{name} needs the Python package {error.name}: pip install quarl[minari]"
        ) from error
    where = f"minari:{name}"
    try:
        data = minari.load_dataset(name, download=False)
    except FileNotFoundError as error:
        raise InputError(
            f"{where}: is not in Minari's folder: fetch it with minari download {name}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(f"{where}: cannot be read ({shortened(str(error))})") from error
    space = data.observation_space
    stride = max(1, -(-int(data.total_steps) // MOST_OBSERVATIONS))
    episodes = iter(data.iterate_episodes())
    while True:
        try:
            episode = next(episodes, None)
            if episode is None:
                return
            found = int(episode.id), _acted_on(where, space, episode.observations, stride)
        except InputError:
            raise
        except Exception as error:  # of h5py and Minari, on a file that says anything
            raise InputError(
                f"{where}: an episode cannot be read ({shortened(str(error))})"
            ) from error
        yield found


def _acted_on(where: str, space: Any, recorded: Any, stride: int) -> NDArray[Any]:
    """Return every stride-th observation [k, ...] of an episode, as one vector where the space is
    laid out as one. The last one ends the episode: nobody acted on it.
    """
    if isinstance(space, spaces.Box) and not is_flattened(space):
        return np.asarray(recorded)[:-1:stride]
    if not is_flattened(space):
        raise InputError(
            f"{where}: its observations are {space}: only vectors and pictures are read"
        )
    count = _length(recorded) - 1
    rows = [flattened(space, _row(recorded, place)) for place in range(0, count, stride)]
    return np.stack(rows) if rows else np.zeros((0, int(spaces.flatdim(space))), np.float32)


def _length(recorded: Any) -> int:
    while isinstance(recorded, dict | tuple):
        recorded = next(iter(recorded.values() if isinstance(recorded, dict) else recorded))
    return len(recorded)


def _row(recorded: Any, place: int) -> Any:
    if isinstance(recorded, dict):
        return {key: _row(part, place) for key, part in recorded.items()}
    if isinstance(recorded, tuple):
        return tuple(_row(part, place) for part in recorded)
    return recorded[place]


def _lerobot_episodes(name: str) -> Iterator[tuple[int, NDArray[Any]]]:
    folder, where = Path(name), f"lerobot:{name}"
    files = sorted(folder.glob("data/**/*.parquet"))[: MOST_FILES + 1]
    if not files or not (folder / "meta" / "info.json").is_file():
        raise InputError(
            f"{where}: is not a LeRobot data set: give its folder, with meta/info.json and "
            "data/**/*.parquet"
        )
    if len(files) > MOST_FILES:
        raise InputError(f"{where}: has over {MOST_FILES:,} tables: give a part of it")
    try:
        from pyarrow import ArrowException
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            f"{where} needs the Python package {error.name}: pip install quarl[lerobot]"
        ) from error
    total = _lerobot_frames(folder, where)
    stride = -(-total // MOST_OBSERVATIONS)
    for file in files:
        try:
            state, episode = _lerobot_table(file)
        except InputError:
            raise
        except (ArrowException, OSError, LookupError, ValueError, TypeError) as error:
            raise InputError(
                f"{file}: cannot be read as a table with {STATE} and {EPISODE} "
                f"({shortened(str(error))})"
            ) from error
        for number in np.unique(episode).tolist():
            yield int(number), state[episode == number][::stride]


def _lerobot_frames(folder: Path, where: str) -> int:
    import json

    try:
        info = json.loads(read_file(folder / "meta" / "info.json", 1 << 20))
        frames = int(info["total_frames"])
        state = info["features"][STATE]["shape"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{where}: meta/info.json does not say total_frames and the shape of {STATE}: policies "
            "that see pictures alone are calibrated with an .npz"
        ) from error
    if not isinstance(state, list) or len(state) != 1 or not 0 < frames < 1 << 40:
        raise InputError(f"{where}: {frames} frames of {STATE} {state}: a vector is read")
    return frames


def _lerobot_table(file: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the state [n, features] and the episode [n] of each row."""
    import pyarrow.parquet as parquet

    with open_file(file, MOST_PARQUET_BYTES) as opened:
        metadata = parquet.ParquetFile(opened).metadata
        groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
        columns = (group.column(place) for group in groups for place in range(group.num_columns))
        most = max((column.num_values for column in columns), default=0)
        if max(most, metadata.num_rows) > MOST_TABLE_VALUES:
            raise UntrustedFileError(
                f"{file}: a table of {metadata.num_rows:,} rows and up to {most:,} values in a "
                f"column, at most {MOST_TABLE_VALUES:,} are read: give a part of it"
            )
        table = parquet.read_table(opened, columns=[STATE, EPISODE])
    column = table.column(STATE).combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    state = values.reshape(len(table), -1)
    return state, table.column(EPISODE).to_numpy().astype(np.int64)


_READERS = {"minari": _minari_episodes, "lerobot": _lerobot_episodes}
KINDS = "minari:ID or lerobot:FOLDER"
