"""0 only through one path: whatever an environment, a pipe or a defect does, a CI is not told that
a release passed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quarl import pipeline
from tests.e2e.conftest import Quarl

ROOT = Path(__file__).parents[2]
ENV = "tests.support.hostile_envs:Hostile-v0"


@pytest.fixture(scope="module")
def policy() -> Path:
    return pipeline.import_source("cartpole_ppo").file


def hostile(act: str, when: str) -> list[str]:
    return ["--env", ENV, "--env-arg", f"act={act}", "--env-arg", f"when={when}"]


@pytest.mark.every(3)
@pytest.mark.parametrize("when", ["make", "reset", "step", "close"])
@pytest.mark.parametrize("act", ["leave", "leave with success", "custom"])
def test_an_environment_that_leaves_is_bad_input(
    quarl: Quarl, policy: Path, tmp_path: Path, act: str, when: str
) -> None:
    done = quarl(
        "ship", policy, *hostile(act, when), "--rung", "0", "--out", "out",
        "--junit", "gate.xml", env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Hostile-v0" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("act", ["leave", "leave with success", "custom"])
def test_a_module_that_leaves_when_it_is_imported_is_bad_input(
    quarl: Quarl, policy: Path, act: str
) -> None:
    done = quarl(
        "export", policy, "--env", ENV, "--rung", "0", "--out", "out",
        env={"PYTHONPATH": str(ROOT), "HOSTILE_IMPORT": act},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "importing tests.support.hostile_envs failed" in done.stderr


@pytest.mark.parametrize("when", ["make", "step"])
def test_an_environment_that_ends_the_process_is_no_success(
    quarl: Quarl, policy: Path, tmp_path: Path, when: str
) -> None:
    done = quarl(
        "ship", policy, *hostile("leave at once", when), "--rung", "0", "--out", "out",
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 70
    assert "ended before quarl was done" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_defect_is_70_with_a_traceback_and_how_to_report_it(quarl: Quarl, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import quarl.resources\ndef broken(): raise RuntimeError('a defect')\n"
        "quarl.resources.targets_dir = broken\n"
    )
    done = quarl("boards", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 70
    assert "RuntimeError: a defect" in done.stderr
    assert "SECURITY.md" not in done.stdout
    assert "report it" in done.stderr.splitlines()[-1]


def test_a_full_disk_behind_standard_output_is_no_success(quarl: Quarl, bundle_copy: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "quarl", "gate", bundle_copy, "--no-history"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "standard output cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_went_away_does_not_turn_no_into_yes(bundle_copy: Path) -> None:
    (bundle_copy / "parity.json").unlink()
    argv = [sys.executable, "-m", "quarl", "gate", str(bundle_copy), "--no-history", "--json"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, timeout=300, check=False)
    os.close(write)
    assert done.returncode == 5


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_standard_stream_changes_no_answer(bundle_copy: Path, closed: int) -> None:
    redirect = {0: "<&-", 1: ">&-", 2: "2>&-"}[closed]
    script = f'"$0" -m quarl gate "$1" --no-history {redirect}'
    argv = ["bash", "-c", script, sys.executable, str(bundle_copy)]
    done = subprocess.run(argv, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_home_the_verdict_stands(quarl: Quarl, bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pwd\ndef nobody(*a): raise KeyError('no such user')\npwd.getpwuid = nobody\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "QUARL_HISTORY")
    }
    for verb in (["gate", str(bundle_copy)], ["history"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-m", "quarl", *verb],
            env={**environment, "PYTHONPATH": f"{tmp_path}"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert done.returncode == (2 if verb == ["history"] else 0), (verb, done.stderr)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing_and_its_children_end(
    tmp_path: Path, sent: signal.Signals
) -> None:
    argv = [sys.executable, "-m", "quarl", "export", "cartpole_ppo", "--out", "out"]
    started = subprocess.Popen(
        argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert started.stderr is not None
    assert "exporting" in started.stderr.readline()
    started.send_signal(sent)
    _, errors = started.communicate(timeout=120)
    assert started.returncode == 128 + sent, errors
    assert "stopped" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_is_ended_leaves_nothing(bundle_copy: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = (bundle_copy / "profile.json").read_bytes()
    started = subprocess.Popen(
        [sys.executable, "-m", "quarl", "profile", str(bundle_copy)],
        env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(scratch.glob("quarl-profile-*")):
        assert started.poll() is None
        time.sleep(0.05)
    started.terminate()
    _, errors = started.communicate(timeout=120)
    assert started.returncode == 128 + signal.SIGTERM, errors
    assert list(scratch.iterdir()) == []
    assert (bundle_copy / "profile.json").read_bytes() == before


def test_a_killed_run_takes_its_child_with_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "quarl", "export", "cartpole_ppo", "--out", "out"]
    started = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    assert "exporting" in started.stderr.readline()
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    started.kill()
    started.communicate(timeout=60)
    for child in children:
        for _ in range(200):
            if not Path(f"/proc/{child}").exists() or _is_zombie(child):
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"process {child} is still there")


def _is_zombie(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("verb", ["export", "ship"])
def test_what_an_environment_prints_is_not_on_standard_output(
    quarl: Quarl, policy: Path, verb: str
) -> None:
    done = quarl(
        verb, policy, *hostile("print", "step"), "--rung", "0", "--out", "out", "--json",
        *(["--episodes", "149", "--no-history"] if verb == "ship" else []),
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode in (0, 1, 5), done.stderr
    json.loads(done.stdout)
    for words in ("a line of the environment", "a line of the descriptor", "a line of C"):
        assert words in done.stderr
