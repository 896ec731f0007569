"""Calibration observations: refused where no range can be measured from them, described by what
they cover.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, UntrustedFileError
from quarl.files.npz import npz_bytes
from quarl.graph.contract import Action, Contract, Observation
from quarl.quantize.calibration import MIN_OBSERVATIONS, calibrate, coverage, read_observations

VECTOR = Contract(
    Observation((3,), "float32", "vector", ("x", "y", "speed")), Action("discrete", 2)
)
IMAGE = Contract(Observation((2, 8, 8), "uint8", "chw"), Action("discrete", 2))


def obs(count: int = 40) -> Any:
    return np.random.default_rng(0).normal(0, 1, (count, 3)).astype(np.float32)


def frames(count: int = 20) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 2, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_]
)
def test_any_plain_numbers_are_kept_as_they_are(dtype: Any) -> None:
    values = (obs() * 3).clip(0).astype(dtype)
    made = calibrate(values, VECTOR, np.arange(40) // 10)
    assert made.obs.dtype == dtype
    assert made.episode_count == 4


@pytest.mark.parametrize("count", [MIN_OBSERVATIONS - 1, MIN_OBSERVATIONS])
def test_a_few_observations_are_too_few(count: int) -> None:
    if count == MIN_OBSERVATIONS:
        assert len(calibrate(obs(count), VECTOR).obs) == count
        return
    with pytest.raises(InputError, match=f"{count} observations, at least {MIN_OBSERVATIONS}"):
        calibrate(obs(count), VECTOR)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((40, 4)),
        np.zeros(40),
        np.zeros((40, 3, 1)),
        np.zeros(()),
        np.zeros((0, 3)),
        np.zeros(3),
    ],
)
def test_observations_of_another_shape_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match=r"shape|0 observations"):
        calibrate(values, VECTOR)


@pytest.mark.parametrize(
    "values",
    [obs().astype(str), obs().astype(complex), obs().astype(object), obs().astype("M8[s]")],
)
def test_observations_that_are_no_real_numbers_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match="calibration: observations of type"):
        calibrate(values, VECTOR)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_counted_and_refused(bad: float) -> None:
    values = obs()
    values[3, 1] = values[7, 0] = bad
    with pytest.raises(InputError, match="2 of 120 values are NaN or infinite"):
        calibrate(values, VECTOR)


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_infinite_for_every_target() -> None:
    values = obs().astype(np.float64)
    values[0, 0] = 1e39
    with pytest.raises(InputError, match="1 of 120 values are NaN or infinite"):
        calibrate(values, VECTOR)


def test_observations_that_never_change_are_refused() -> None:
    with pytest.raises(InputError, match="all 40 observations are the same"):
        calibrate(np.tile(obs(1), (40, 1)), VECTOR)


def test_images_must_be_pixels() -> None:
    assert len(calibrate(frames(), IMAGE).obs) == 20
    with pytest.raises(InputError, match="images are float32"):
        calibrate(frames().astype(np.float32) / 255, IMAGE)


def test_coverage_names_the_features_that_never_moved() -> None:
    values = obs()
    values[:, 1] = 7
    found = coverage(calibrate(values, VECTOR, np.arange(40) // 20), VECTOR)
    assert (found.observations, found.episodes, found.constant_features) == (40, 2, ("y",))
    nameless = Contract(Observation((3,), "float32", "vector"), VECTOR.action)
    assert coverage(calibrate(values, nameless), nameless).constant_features == ("feature 1",)
    assert coverage(calibrate(values, nameless), nameless).episodes == 0
    assert coverage(calibrate(frames(), IMAGE), IMAGE).constant_features == ()


def test_coverage_counts_the_observations_that_differ() -> None:
    values = obs()
    values[30:] = values[29]  # the policy stood still
    assert coverage(calibrate(values, VECTOR), VECTOR).distinct == 30
    screens = np.repeat(frames(), 2, axis=0)
    assert coverage(calibrate(screens, IMAGE), IMAGE).distinct == len(frames())


def written(folder: Path, **arrays: Any) -> Path:
    path = folder / "calibration.npz"
    path.write_bytes(npz_bytes({name: np.asarray(array) for name, array in arrays.items()}))
    return path


def test_a_file_of_observations_is_read(tmp_path: Path) -> None:
    made = read_observations(
        written(tmp_path, obs=obs(), episode=np.arange(40, dtype=np.int32) // 8), VECTOR
    )
    np.testing.assert_array_equal(made.obs, obs())
    assert made.episode_count == 5
    assert read_observations(written(tmp_path, obs=obs()), VECTOR).episode_count == 0


def test_one_array_alone_is_a_file_of_observations(tmp_path: Path) -> None:
    path = tmp_path / "obs.npy"
    np.save(path, obs())
    np.testing.assert_array_equal(read_observations(path, VECTOR).obs, obs())


@pytest.mark.parametrize("split", [",", ";", "\t"])
def test_a_table_is_read_by_its_names(tmp_path: Path, split: str) -> None:
    names = VECTOR.observation.names or ("a", "b", "c")
    contract = replace(VECTOR, observation=replace(VECTOR.observation, names=names))
    table = obs()[:, ::-1]  # its columns are in another order
    lines = [split.join([*names[::-1], "episode"])]
    lines += [
        split.join([*(repr(float(v)) for v in row), str(place // 8)])
        for place, row in enumerate(table)
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines))
    made = read_observations(path, contract)
    np.testing.assert_array_equal(made.obs, obs().astype(np.float32))
    assert made.episode_count == 5
    path.write_text("\n".join(split.join(repr(float(v)) for v in row) for row in obs()))
    bare = read_observations(path, contract)  # without names, in the order of the contract
    np.testing.assert_array_equal(bare.obs, obs().astype(np.float32))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no file of observations"),
        ("\n\n", "has no rows"),
        ("1,2,3\n1,2\n", "line 2 is not 3 numbers"),
        ("1,2,3\n1,x,3\n", "line 2 is not 3 numbers"),
        ("a,b,c\n\n1,2,3,4", "line 3 is not 3 numbers"),
    ],
)
def test_a_damaged_table_is_refused_by_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_observations(path, VECTOR)


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"observations": obs()}, r"holds observations, needs an array `obs`"),
        (
            {"obs": obs(), "episode": np.zeros(39, np.int32)},
            "40 observations, but `episode` has shape",
        ),
        ({"obs": obs(), "episode": np.int32(0)}, "40 observations, but `episode` has shape"),
        ({"obs": obs(), "episode": np.full(40, np.nan)}, "`episode` holds float64"),
        ({"obs": np.float32(1)}, "shape"),
        ({"obs": np.zeros((40, 4))}, r"shape \(4,\), the contract says \(3,\)"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, arrays: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        read_observations(written(tmp_path, **arrays), VECTOR)


def test_frames_of_a_plain_game_are_no_bomb(tmp_path: Path) -> None:
    """Stacked frames of Pong shrink 250 times."""
    still = np.zeros((400, 2, 84, 84), np.uint8)
    still[:, :, 40, 40] = np.arange(400)[:, None] % 256
    path = written(tmp_path, obs=still)
    assert still.nbytes > 300 * path.stat().st_size
    game = Contract(Observation((2, 84, 84), "uint8", "chw"), VECTOR.action)
    np.testing.assert_array_equal(read_observations(path, game).obs, still)


def test_pickled_observations_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", obs=np.array([{"a": 1}] * 40, dtype=object), allow_pickle=True)
    with pytest.raises(UntrustedFileError, match="Python objects"):
        read_observations(tmp_path / "a.npz", VECTOR)
