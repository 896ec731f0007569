"""The Raspberry Pi as a user meets it: ship for the emulated one, measure over SSH, judge the
deadline, bring the runtimes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tests.support.fake_pi import FakePi


def quarl(folder: Path, *arguments: str, code: int = 0) -> str:
    """Return what `quarl` printed, after it ended with the code."""
    done = subprocess.run(
        [sys.executable, "-m", "quarl", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout if code == 0 else done.stderr


def checks(folder: Path) -> dict[str, dict[str, object]]:
    return {
        check["name"]: check
        for check in json.loads((folder / "nav" / "verdict.json").read_text())["checks"]
    }


@pytest.mark.slow  # four minutes; tests/pi/test_ssh.py goes the whole way with a small policy
def test_a_policy_ships_for_the_emulated_pi_and_is_then_measured_over_ssh(
    fake_pi: FakePi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("ziglang")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    quarl(tmp_path, "ship", "nav_ppo", "--board", "raspberrypi_4", "--out", "nav")
    found = checks(tmp_path)
    for name in ("equality_pi_litert", "equality_pi_onnxruntime", "equality_pi_c"):
        assert (found[name]["outcome"], found[name]["found"]) == ("pass", 0)
    assert "budget_pi_decision_us" not in found  # an emulator has no time
    profile = json.loads((tmp_path / "nav" / "pi.raspberrypi_4.json").read_text())
    assert profile["kind"] == "emulated"
    assert {
        model["differing"] for model in profile["models"] if model["runtime"] != "tflite_runtime"
    } == {0}

    told = quarl(tmp_path, "profile", "nav", "--board", "raspberrypi_4", "--link", "ssh:fakepi")
    assert "measured on Raspberry Pi 4 Model B Rev 1.4" in told
    assert "the control period of" in told
    assert fake_pi.left_behind() == []
    quarl(tmp_path, "gate", "nav")
    deadline = checks(tmp_path)["budget_pi_decision_us"]
    assert (deadline["kind"], deadline["allowed"]) == ("measured", 100_000.0)

    fake_pi.vcgencmd('[ "$1" = get_throttled ] && echo throttled=0x50005\n')
    before = (tmp_path / "nav" / "pi.raspberrypi_4.json").read_bytes()
    told = quarl(
        tmp_path, "profile", "nav", "--board", "raspberrypi_4", "--link", "ssh:fakepi", code=4
    )
    assert "the run is invalid and not reported" in told
    assert (tmp_path / "nav" / "pi.raspberrypi_4.json").read_bytes() == before


@pytest.mark.long
def test_links_that_lead_nowhere_are_refused_before_any_work(tmp_path: Path) -> None:
    assert "no board is named" in quarl(
        tmp_path, "ship", "nav_ppo", "--link", "ssh:pi", "--out", "nav", code=2
    )
    told = quarl(
        tmp_path,
        "ship",
        "nav_ppo",
        "--board",
        "stm32h743",
        "--link",
        "ssh:pi",
        "--out",
        "nav",
        code=2,
    )
    assert "or serial:PORT" in told
    told = quarl(
        tmp_path,
        "ship",
        "nav_ppo",
        "--board",
        "raspberrypi_4",
        "--link",
        "serial:/dev/ttyACM0",
        "--out",
        "nav",
        code=2,
    )
    assert "is reached by emulated, ssh:USER@HOST or local" in told
    assert "must be ssh:USER@HOST" in quarl(tmp_path, "provision", "pi@host", code=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_boards_that_run_linux_are_listed(tmp_path: Path) -> None:
    assert "raspberrypi_zero2w" in quarl(tmp_path, "boards")
    listed = {board["name"]: board for board in json.loads(quarl(tmp_path, "boards", "--json"))}
    assert listed["raspberrypi_5"]["cpu"] == "cortex-a76"
