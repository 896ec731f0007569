"""What messages about data sets, contracts, environments and shipped policies advise is done."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, QuarlError
from quarl.importers import ImportOptions
from quarl.sources import data_sets, observations
from quarl.sources.contract_file import with_contract_file
from quarl.sources.data_sets import read_data_set
from quarl.sources.in_memory import env_spec, normalizer_of
from quarl.sources.normalizer_file import read_normalizer
from quarl.sources.source import open_source, recipe_folder
from quarl.sources.spaces import action_from
from tests.conftest import need
from tests.sources.test_data_sets import lerobot_set
from tests.sources.test_data_sets import observations as rows

ROOT = Path(__file__).parents[2]


def refused(run: Any, advice: str) -> str:
    with pytest.raises(QuarlError) as caught:
        run()
    assert advice in str(caught.value)
    return str(caught.value)


def test_packages_are_installed_by_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    text = "".join(file.read_text() for file in (ROOT / "toolchain" / "quarl").rglob("*.py"))
    named = set(re.findall(r"pip install '?quarl\[(\w+)\]", text))
    assert {"sb3", "tf", "hub", "minari", "lerobot"} <= named <= set(extras)


def test_a_data_set_with_episodes_is_given(tmp_path: Path, monkeypatch: Any) -> None:
    need("pyarrow")
    robot = lerobot_set(tmp_path / "robot", [rows(0, 9)] * 3, "v2.1")
    assert len(read_data_set(f"lerobot:{robot}")[0]) == 27
    inside = next((robot / "data").rglob("*.parquet"))
    refused(lambda: read_data_set(f"lerobot:{inside}"), "give its folder, with meta/info.json")
    monkeypatch.setattr(data_sets, "MOST_FILES", 2)
    refused(lambda: read_data_set(f"lerobot:{robot}"), "give a part of it")
    inside.unlink()
    assert len(read_data_set(f"lerobot:{robot}")[0]) == 18


@pytest.mark.parametrize(
    ("bad", "advice", "good"),
    [
        (
            '[observation]\nspace = "image:8x8x3"\nnames = ["a"]\n',
            "a picture has no names or units: omit them",
            '[observation]\nspace = "image:8x8x3"\n',
        ),
        (
            '[action]\nspace = "box:2"\nlow = [-1.0, -1.0]\n',
            "action.low and action.high belong together: give both",
            '[action]\nspace = "box:2"\nlow = [-1.0, -1.0]\nhigh = [1.0, 1.0]\n',
        ),
    ],
)
def test_a_contract_is_mended_as_advised(bad: str, advice: str, good: str, tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text(bad)
    refused(lambda: with_contract_file(ImportOptions(), path), advice)
    path.write_text(good)
    options = with_contract_file(ImportOptions(), path)
    assert options.observation is not None or options.action_space is not None


def test_bounds_are_one_pair_or_one_for_each_value() -> None:
    refused(lambda: action_from("box:3:-1..1,0..5", "--action"), "give one pair or 3")
    assert action_from("box:3:-1..1", "--action").high == (1.0,) * 3
    assert action_from("box:3:-1..1,0..5,0..1", "--action").high == (1.0, 5.0, 1.0)


def test_objects_are_given_as_the_messages_say() -> None:
    refused(lambda: env_spec(3), "give a gymnasium id, an environment, or a function")  # type: ignore[arg-type]
    assert env_spec("CartPole-v1") is not None
    refused(lambda: normalizer_of(3), "give a VecNormalize, a Normalizer, or the path of an .npz")
    known = normalizer_of(normalizer_of_npz())
    assert known.mean == (0.0, 0.0)


def normalizer_of_npz() -> Any:
    from quarl.graph.contract import Normalizer

    return Normalizer((0.0, 0.0), (1.0, 1.0), 1e-8, 10.0)


def test_statistics_are_the_file_of_vecnormalize_or_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "statistics.pkl"
    path.write_bytes(b"\x80\x04]\x94.")
    text = refused(lambda: read_normalizer(path), "the file written by VecNormalize.save")
    names = re.search(r"mean, var, epsilon, clip_obs", text)
    assert names is not None
    values = dict(zip(names[0].split(", "), ([0.0], [1.0], 1e-8, 10.0), strict=True))
    np.savez(tmp_path / "statistics.npz", **values)  # type: ignore[arg-type]
    assert read_normalizer(tmp_path / "statistics.npz").mean == (0.0,)


def test_a_policy_is_given_by_a_path_or_a_shipped_name() -> None:
    text = refused(
        lambda: open_source("no_such_policy", ImportOptions(), None), "give a path, or one of"
    )
    assert "nav_ppo" in text
    assert open_source("nav_ppo", ImportOptions(), None).name == "nav_ppo"
    text = refused(lambda: recipe_folder("no_such_policy"), "give one of")
    assert "nav_ppo" in text
    assert recipe_folder("nav_ppo").name == "nav_ppo"


def test_too_many_observations_are_thinned(monkeypatch: Any) -> None:
    policy = open_source("nav_ppo", ImportOptions(), None).policy
    monkeypatch.setattr(observations, "MOST_VALUES", 100_000)
    with pytest.raises(InputError, match=r"take every (\d+)th of each episode") as caught:
        observations.check_amount(policy, 9_000, Path("obs.npz"))
    step = re.search(r"take every (\d+)th", str(caught.value))
    assert step is not None
    observations.check_amount(policy, 9_000 // int(step[1]), Path("obs.npz"))


def test_weights_that_are_missing_are_restored(tmp_path: Path) -> None:
    folder = tmp_path / "nav_ppo"
    shutil.copytree(recipe_folder("nav_ppo"), folder)
    weights = folder / "policy.zip"
    content = weights.read_bytes()
    weights.unlink()
    refused(lambda: open_source(str(folder), ImportOptions(), None), "restore them, or train it")
    weights.write_bytes(content)
    assert open_source(str(folder), ImportOptions(), None).name == "nav_ppo"
