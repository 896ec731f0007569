"""Observation statistics are read as data, VecNormalize's pickles too."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Normalizer
from quarl.sources.normalizer_file import convert_vecnormalize, read_normalizer, write_normalizer
from tests.conftest import need
from tests.support.bombs import bomb_pickle, zip_bytes

NORMALIZER = Normalizer((0.1, -2.0, 1e9), (1 / 3, 4.0, 0.0), 1e-8, 10.0)
ARRAYS = {"mean": np.zeros(2), "var": np.ones(2), "epsilon": 1e-8, "clip_obs": 10.0}


def written(folder: Path, **changes: Any) -> Path:
    values = {name: value for name, value in {**ARRAYS, **changes}.items() if value is not None}
    np.savez(folder / "norm.npz", **values)
    return folder / "norm.npz"


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    write_normalizer(tmp_path / "n.npz", NORMALIZER)
    assert read_normalizer(tmp_path / "n.npz") == NORMALIZER
    assert [file.name for file in tmp_path.iterdir()] == ["n.npz"]


def test_the_same_statistics_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_normalizer(tmp_path / name, NORMALIZER)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_float32_compressed_and_one_element_arrays_are_read(tmp_path: Path) -> None:
    values = {
        "mean": np.array([0.5, 2], np.float32),
        "var": np.array([1, 2]),
        "epsilon": np.array([1e-3]),
        "clip_obs": np.int64(5),
    }
    np.savez_compressed(tmp_path / "n.npz", **values)
    assert read_normalizer(tmp_path / "n.npz") == Normalizer((0.5, 2.0), (1.0, 2.0), 1e-3, 5.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"clip_obs": None},
            "lacks clip_obs; --obs-norm needs an .npz with mean, var, epsilon, clip_obs",
        ),
        ({"var": np.ones(3)}, r"mean \(2,\), var \(3,\)"),
        ({"mean": np.zeros((2, 1)), "var": np.ones((2, 1))}, "one number per feature"),
        ({"epsilon": np.ones(2)}, "one number"),
        ({"mean": np.array(["a", "b"])}, "mean: holds <U1, only plain numbers"),
        ({"mean": np.array([0, np.nan])}, "mean must be finite"),
        ({"var": np.array([1, -1])}, ">= 0"),
        ({"var": np.zeros(2), "epsilon": 0.0}, "divide by zero"),
        ({"clip_obs": 0.0}, "clip_obs finite and > 0"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_normalizer(written(tmp_path, **changes))


def test_python_objects_inside_are_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(UntrustedFileError, match="mean: holds Python objects"):
        read_normalizer(written(tmp_path, mean=np.array([1.0, None], object)))


def npy(header: str, body: bytes) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(3,)", "(-1,)", "(-1, -2)", "(99999999, 99999999, 99999999)"]
)
def test_an_array_that_claims_more_than_it_has_is_refused(shape: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["mean.npy"] = npy(
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}", bytes(16)
    )
    (tmp_path / "forged.npz").write_bytes(zip_bytes(members))
    with pytest.raises(InputError, match=r"mean: (claims|not a NumPy array)"):
        read_normalizer(tmp_path / "forged.npz")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00",
        npy("{'descr': ", b""),
        npy("[1]", b""),
        npy("__import__('os')", b""),
    ],
)
def test_a_member_that_is_no_array_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "n.npz").write_bytes(zip_bytes({f"{name}.npy": data for name in ARRAYS}))
    with pytest.raises(InputError, match=r"mean: (not a NumPy array|claims)"):
        read_normalizer(tmp_path / "n.npz")


def test_a_member_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UntrustedFileError, match="at most 1,048,576 are read"):
        read_normalizer(written(tmp_path, mean=np.zeros(200_000)))


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", np.zeros(2))
    with pytest.raises(InputError, match="not a complete zip"):
        read_normalizer(tmp_path / "mean.npy")
    with pytest.raises(InputError, match="no such file"):
        read_normalizer(tmp_path / "nothing.npz")


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_normalizer(tmp_path / "missing" / "n.npz", NORMALIZER)
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_normalizer(tmp_path / "taken", NORMALIZER)
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_a_pickle_is_read_and_never_run(tmp_path: Path) -> None:
    source = tmp_path / "vecnormalize.pkl"
    source.write_bytes(bomb_pickle(tmp_path / "ran"))
    with pytest.raises(InputError, match="VecNormalize"):
        convert_vecnormalize(source, tmp_path / "n.npz")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "n.npz").exists()


def vecnormalize(space: Any, **options: Any) -> Any:
    need("stable_baselines3")
    import gymnasium
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    class Toy(gymnasium.Env[Any, Any]):
        observation_space = space
        action_space = gymnasium.spaces.Discrete(2)

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return self.observation_space.sample(), 0.0, False, False, {}

    env = VecNormalize(DummyVecEnv([Toy]), **options)
    env.reset()
    for _ in range(20):
        env.step(np.array([0]))
    return env


def test_the_conversion_normalises_as_vecnormalize_does(tmp_path: Path) -> None:
    need("stable_baselines3")
    from gymnasium.spaces import Box

    env = vecnormalize(
        Box(np.array([-1, -1000, 5], np.float32), np.array([1, 1000, 6], np.float32)),
        clip_obs=1.5,
        epsilon=1e-4,
    )
    env.save(str(tmp_path / "v.pkl"))
    normalizer = convert_vecnormalize(tmp_path / "v.pkl", tmp_path / "n.npz")
    assert read_normalizer(tmp_path / "n.npz") == read_normalizer(tmp_path / "v.pkl") == normalizer
    obs = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32) * 1000
    assert np.array_equal(normalizer.apply(obs).astype(np.float32), env.normalize_obs(obs))


def test_pickles_that_hold_no_vector_statistics_are_refused(tmp_path: Path) -> None:
    need("stable_baselines3")
    from gymnasium.spaces import Box, Dict

    unit = Box(-1, 1, (2,), np.float32)
    cases: list[tuple[Any, str]] = [
        (vecnormalize(unit, norm_obs=False), "normalises rewards only"),
        (vecnormalize(Dict({"a": unit})), "normalises a Dict of observations"),
        (vecnormalize(Box(-1, 1, (2, 3), np.float32)), r"observations of shape \(2, 3\)"),
    ]
    path, out = tmp_path / "v.pkl", tmp_path / "n.npz"
    for env, message in cases:
        env.save(str(path))
        with pytest.raises((InputError, UnsupportedError), match=message):
            convert_vecnormalize(path, out)
    path.write_bytes(pickle.dumps({"mean": 1}))
    with pytest.raises(InputError, match="holds a dict"):
        convert_vecnormalize(path, out)
    path.write_bytes(b"\x80\x04garbage")
    with pytest.raises(InputError, match="not a pickle of VecNormalize"):
        convert_vecnormalize(path, out)
    assert not out.exists()


def test_a_converted_file_is_plain_data(tmp_path: Path) -> None:
    write_normalizer(tmp_path / "n.npz", NORMALIZER)
    with np.load(io.BytesIO((tmp_path / "n.npz").read_bytes()), allow_pickle=False) as found:
        assert sorted(found) == ["clip_obs", "epsilon", "mean", "var"]
