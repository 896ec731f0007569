"""The wheel holds what git tracks, and the tool runs from it, far from the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
LARGE = (
    "models/pong_",
    "models/breakout_",
    "models/nav_dqn_large/policy",
)  # weights and frames that stay in the repository
STUDIES = "models/studies/"  # policies and results of the studies stay in the repository
FOLDERS = {
    "toolchain/quarl/": "quarl/",
    "targets/": "quarl/targets/",
    "models/": "quarl/models/",
    "firmware_harness/": "quarl/firmware_harness/",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"
    for name in _tracked():  # a build leaves folders behind; not in the checkout
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    argv = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(copy),
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--wheel-dir",
        str(folder),
    ]
    subprocess.run(argv, check=True, timeout=300)
    return next(folder.glob("quarl-*.whl"))


def test_the_wheel_holds_every_tracked_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    expected = set()
    for name in _tracked():
        for source, target in FOLDERS.items():
            is_large = name.startswith(LARGE) and name.endswith((".zip", ".npz", ".keras"))
            if name.startswith(source) and not is_large and not name.startswith(STUDIES):
                expected.add(target + name.removeprefix(source))
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_the_readme_of_the_wheel_has_no_relative_link(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    links = re.findall(r'\]\(([^)\s]+)\)|<img src="([^"]+)"', text)
    places = [page or picture for page, picture in links]
    assert len(places) > 20
    assert [place for place in places if not place.startswith("https://")] == []
    ours = [place for place in places if place.startswith(urls["Source"])]
    for place in ours:
        kind, path = re.fullmatch(r".*/(blob|raw)/main/([^#]+).*", place).groups()  # type: ignore[union-attr]
        assert (ROOT / path).exists(), place
        assert (kind == "raw") == path.endswith((".png", ".gif", ".svg"))


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_wheel_is_small_enough_to_install_anywhere(wheel: Path) -> None:
    assert wheel.stat().st_size < 5_000_000


def test_the_tool_runs_from_the_installed_wheel_outside_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--quiet",
            "--target",
            str(site),
            str(wheel),
        ],
        check=True,
        timeout=300,
    )
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from quarl.cli import main; main()"

    def quarl(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            argv,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
            env={**os.environ, "PYTHONPATH": ""},
        )

    names = {policy["name"] for policy in json.loads(quarl("policies", "--json").stdout)}
    assert {"nav_ppo", "cartpole_ppo", "pendulum_sac"} <= names
    quarl("export", "pendulum_sac", "--rung", "3", "--out", "bundle")
    assert (tmp_path / "bundle" / "model.tflite").is_file()


def test_every_package_folder_is_listed_for_the_wheel() -> None:
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {
        ".".join(path.parent.relative_to(ROOT / "toolchain").parts)
        for path in (ROOT / "toolchain" / "quarl").rglob("__init__.py")
    }
    assert found <= listed


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60
    ).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
