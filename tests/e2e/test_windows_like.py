"""The main verbs in a Python that lacks what Windows lacks: no POSIX-only module, no fork, no
folder that is opened, nothing moved while it is open.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIKE = Path(__file__).parents[1] / "support" / "windows_like"


def quarl(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "quarl", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "PYTHONPATH": str(LIKE)},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("windows")


def test_the_stand_in_hides_what_windows_lacks() -> None:
    text = (
        "import builtins, sys; names = {'__name__': 'quarl.x'}\n"
        "os = __import__('os', names); assert not hasattr(os, 'fork') and os.name == 'nt'\n"
        "try: __import__('fcntl', names)\n"
        "except ModuleNotFoundError: print('hidden')\n"
        "import fcntl"
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(LIKE)},
    )
    assert done.stdout.strip() == "hidden", done.stderr


def test_the_chain_of_verbs(folder: Path) -> None:
    quarl(folder, "import", "cartpole_ppo")
    for _ in range(2):  # the second one replaces a bundle
        quarl(folder, "export", "cartpole_ppo", "--rung", "1", "--out", "bundle")
    assert (folder / "bundle" / "model.tflite").is_file()
    assert not list(folder.glob(".quarl-*")), "nothing is left beside it"
    quarl(folder, "profile", "bundle")
    quarl(folder, "parity", "bundle", "--episodes", "20")
    quarl(folder, "gate", "bundle", "--junit", "gate.xml", code=5)
    quarl(folder, "report", "bundle", "--card", "README.md")
    assert (folder / "bundle" / "report.html").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("boards",),
        ("policies",),
        ("history",),
        ("play", "cartpole_ppo", "--episodes", "2"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_verb_runs(folder: Path, arguments: tuple[str, ...]) -> None:
    assert quarl(folder, *arguments)


def test_a_link_inside_a_bundle_is_refused(folder: Path) -> None:
    quarl(folder, "export", "pendulum_sac", "--rung", "1", "--out", "linked")
    contract = folder / "linked" / "contract.json"
    contract.rename(folder / "elsewhere.json")
    contract.symlink_to(folder / "elsewhere.json")
    quarl(folder, "profile", "linked", code=2)
