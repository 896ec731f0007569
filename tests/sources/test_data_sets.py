"""Observations from data sets that others record; the libraries themselves write them here."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from quarl import pipeline
from quarl.errors import InputError, ToolMissingError, UntrustedFileError
from quarl.exporter.export import ExportRequest
from quarl.sources.data_sets import MOST_OBSERVATIONS, is_data_set, read_data_set
from quarl.verdict.verdict import Outcome
from tests.conftest import need

BOX = spaces.Box(-np.inf, np.inf, (4,), np.float32)
PARTS = spaces.Dict(a=spaces.Box(-9, 9, (3,), np.float32), gear=spaces.Discrete(2))


def observations(seed: int, count: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


@pytest.fixture
def minari_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that writes a data set into Minari's folder, as its own library does."""
    need("minari", "h5py")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    import minari
    from minari.data_collector import EpisodeBuffer

    def write(name: str, space: Any, episodes: list[Any]) -> None:
        buffers = [
            EpisodeBuffer(
                id=number, seed=number, options=None, observations=obs, actions=[0] * count,
                rewards=[1.0] * count, terminations=[False] * count, truncations=[False] * count,
                infos=None,
            )
            for number, (obs, count) in enumerate(episodes)
        ]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            minari.create_dataset_from_buffers(
                name, buffers, observation_space=space, action_space=spaces.Discrete(2)
            )

    return write


def test_minari_gives_what_was_acted_on_and_its_episodes(minari_set: Any) -> None:
    drawn = [observations(k, 11 + k) for k in range(6)]
    minari_set("cart/test-v0", BOX, [(list(obs), len(obs) - 1) for obs in drawn])
    obs, episode = read_data_set("minari:cart/test-v0")
    np.testing.assert_array_equal(obs, np.concatenate([part[:-1] for part in drawn]))
    assert np.bincount(episode).tolist() == [len(part) - 1 for part in drawn]


def test_dicts_are_laid_out_as_the_environment_is_read(minari_set: Any) -> None:
    rng = np.random.default_rng(0)
    rows = [{"a": rng.normal(size=3).astype(np.float32), "gear": k % 2} for k in range(9)]
    parts = {"a": [row["a"] for row in rows], "gear": [row["gear"] for row in rows]}
    minari_set("cart/parts-v1", PARTS, [(parts, 8)])
    obs, _ = read_data_set("minari:cart/parts-v1")
    wanted = [[*row["a"], row["gear"] == 0, row["gear"] == 1] for row in rows[:-1]]  # type: ignore[misc]
    np.testing.assert_array_equal(obs, np.array(wanted, np.float32))


def lerobot_set(folder: Path, episodes: list[NDArray[np.float32]], version: str) -> Path:
    """Write the tables and the description of a LeRobot data set of that format."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    total = sum(map(len, episodes))
    features = {"observation.state": {"dtype": "float32", "shape": [4], "names": list("abcd")}}
    info = {"codebase_version": version, "total_frames": total, "features": features}
    chunk = folder / "data" / "chunk-000"
    chunk.mkdir(parents=True)
    (folder / "meta").mkdir()
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    tables = [
        pa.table(
            {
                "observation.state": pa.array(list(obs), pa.list_(pa.float32(), 4)),
                "action": pa.array([[0.0]] * len(obs), pa.list_(pa.float32())),
                "episode_index": pa.array([number] * len(obs), pa.int64()),
            }
        )
        for number, obs in enumerate(episodes)
    ]
    if version == "v2.1":
        for number, table in enumerate(tables):
            parquet.write_table(table, chunk / f"episode_{number:06d}.parquet")
    else:
        parquet.write_table(pa.concat_tables(tables), chunk / "file-000.parquet")
    return folder


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot_gives_the_state_and_its_episodes(tmp_path: Path, version: str) -> None:
    need("pyarrow")
    drawn = [observations(k, 5 + k) for k in range(4)]
    folder = lerobot_set(tmp_path / "robot", drawn, version)
    obs, episode = read_data_set(f"lerobot:{folder}")
    np.testing.assert_array_equal(obs, np.concatenate(drawn))
    assert np.bincount(episode).tolist() == [5, 6, 7, 8]


def test_a_table_of_more_values_than_memory_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("pyarrow")
    folder = lerobot_set(tmp_path / "robot", [observations(1, 5)], "v3.0")
    monkeypatch.setattr("quarl.sources.data_sets.MOST_TABLE_VALUES", 19)
    with pytest.raises(UntrustedFileError, match="up to 20 values in a column, at most 19"):
        read_data_set(f"lerobot:{folder}")


def test_an_episode_that_is_damaged_is_one_message(minari_set: Any, tmp_path: Path) -> None:
    drawn = [observations(k, 11) for k in range(3)]
    minari_set("cart/damaged-v0", BOX, [(list(obs), len(obs) - 1) for obs in drawn])
    (file,) = tmp_path.rglob("main_data.hdf5")
    import h5py

    with h5py.File(file, "r+") as opened:
        del opened["episode_1/observations"]
    with pytest.raises(InputError, match="minari:cart/damaged-v0: an episode cannot be read"):
        read_data_set("minari:cart/damaged-v0")


def test_a_long_data_set_is_thinned_evenly(tmp_path: Path) -> None:
    need("pyarrow")
    drawn = [observations(k, MOST_OBSERVATIONS) for k in range(3)]
    obs, episode = read_data_set(f"lerobot:{lerobot_set(tmp_path / 'robot', drawn, 'v3.0')}")
    assert abs(len(obs) - MOST_OBSERVATIONS) < 9
    assert np.ptp(np.bincount(episode)) <= 1


def test_a_policy_is_judged_by_the_decisions_of_a_data_set(tmp_path: Path) -> None:
    need("pyarrow")
    shipped = pipeline.import_source("cartpole_ppo")
    assert shipped.observations is not None
    with np.load(shipped.observations[0]) as arrays:
        met = arrays["obs"]
    folder = lerobot_set(tmp_path / "robot", np.array_split(met, 20), "v3.0")
    source = replace(shipped, env=None, recipe=None, observations=None)
    request = ExportRequest(calibration=Path(f"lerobot:{folder}"))
    verdict = pipeline.ship(source, tmp_path / "out", request).verdict
    assert verdict.decisions_only
    assert verdict.answer in (Outcome.PASS, Outcome.NOT_PROVEN, Outcome.FAIL)
    names = {check.name for check in verdict.checks if check.outcome.is_judged}
    assert {"weighted_agreement", "decisions", "clipped_inputs"} <= names


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("minari:no/such-v0", "minari download no/such-v0"),
        ("minari:../../etc-v0", "as in minari list local"),
        ("minari:" + "x" * 5000, "as in minari list local"),
        ("lerobot:nowhere", "meta/info.json"),
    ],
)
def test_what_is_not_there_is_named(word: str, said: str) -> None:
    need("minari")
    with pytest.raises(InputError, match=said) as refused:
        read_data_set(word)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("damage", ["info", "table", "pictures"])
def test_a_damaged_data_set_is_named(tmp_path: Path, damage: str) -> None:
    need("pyarrow")
    folder = lerobot_set(tmp_path / "robot", [observations(0, 9)], "v3.0")
    info = folder / "meta" / "info.json"
    if damage == "info":
        info.write_text("[" * 9000)
    elif damage == "pictures":
        info.write_text(info.read_text().replace("observation.state", "observation.images.top"))
    else:
        table = folder / "data" / "chunk-000" / "file-000.parquet"
        table.write_bytes(table.read_bytes()[:-40])
    with pytest.raises(InputError):
        read_data_set(f"lerobot:{folder}")


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ToolMissingError, match=r"quarl\[minari\]"):
        read_data_set("minari:a/b-v0")


def test_a_path_is_no_data_set() -> None:
    assert is_data_set("minari:a-v0")
    assert is_data_set("lerobot:./robot")
    assert not is_data_set("obs.npz")
    assert not is_data_set("lerobot")
