"""Bringing runtimes to a Pi: from a folder of wheels, offline, whole or not at all."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from quarl.errors import DeviceError, InputError
from quarl.links.local import LocalPi
from quarl.links.pi import sha256_of
from quarl.links.provision import provision
from quarl.links.ssh import SshPi
from quarl.pi.wheels import LOCKS, WheelSet, lock_file
from tests.support.fake_pi import FakePi


def wheel(folder: Path, name: str = "onnxruntime-0.0.1-py3-none-any.whl", padding: int = 0) -> Path:
    """Write a wheel of nothing that says it is a runtime."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("onnxruntime/__init__.py", "#" * padding)
        archive.writestr(
            "onnxruntime-0.0.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: onnxruntime\nVersion: 0.0.1\n",
        )
    return folder


def test_wheels_become_an_environment_of_their_own(fake_pi: FakePi, tmp_path: Path) -> None:
    fake_pi.packages(None)
    brought = provision(SshPi("fakepi"), wheel(tmp_path / "wheels"))
    assert brought.target == str(fake_pi.site)
    assert brought.runtimes == {"onnxruntime": "0.0.1"}
    assert (fake_pi.site / "pyvenv.cfg").is_file()
    assert fake_pi.left_behind() == []
    again = provision(SshPi("fakepi"), wheel(tmp_path / "wheels"))
    assert again == brought
    assert [path.name for path in fake_pi.site.parent.iterdir()] == ["pi"]


@pytest.mark.slow
@pytest.mark.parametrize("wheels", LOCKS)
def test_the_locked_wheels_are_brought_to_a_pi_that_has_none(
    fake_pi: FakePi, wheels: WheelSet
) -> None:
    fake_pi.packages(None)
    brought = provision(SshPi("fakepi"), None, wheels)
    locked = dict(
        line.split(" ")[0].split("==")
        for line in lock_file(wheels).read_text().splitlines()
        if "==" in line
    )
    assert brought.runtimes == locked
    shutil.rmtree(brought.target)


def test_a_disk_that_fills_up_keeps_the_old_environment_and_leaves_nothing(
    fake_pi: FakePi, tmp_path: Path
) -> None:
    fake_pi.packages(None)
    provision(SshPi("fakepi"), wheel(tmp_path / "wheels"))
    larger = wheel(tmp_path / "larger", padding=3_000_000)
    fake_pi.fault(
        'case "$SSH_ORIGINAL_COMMAND" in *agent.py*) trap "" XFSZ; ulimit -f 2000 ;; esac'
    )
    with pytest.raises(DeviceError, match="File too large"):
        provision(SshPi("fakepi"), larger)
    fake_pi.fault("")
    assert [path.name for path in fake_pi.site.parent.iterdir()] == ["pi"]
    assert fake_pi.left_behind() == []
    with SshPi("fakepi") as pi:
        pi.push({})
        assert pi.ask({"ask": "look"}).fields["runtimes"] == {"onnxruntime": "0.0.1"}


def test_wheels_for_another_machine_are_refused(fake_pi: FakePi, tmp_path: Path) -> None:
    folder = wheel(tmp_path / "wheels", "onnxruntime-0.0.1-cp311-cp311-manylinux_2_28_x86_64.whl")
    with pytest.raises(InputError, match=r"x86_64\.whl, which are for other machines"):
        provision(SshPi("fakepi"), folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no wheels"):
        provision(SshPi("fakepi"), tmp_path / "empty")


def test_a_machine_that_is_no_pi_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="64-bit Raspberry Pi OS"):
        provision(LocalPi(), wheel(tmp_path / "wheels"))


def test_a_wheel_that_arrives_damaged_is_not_unpacked(fake_pi: FakePi, tmp_path: Path) -> None:
    data = (wheel(tmp_path / "wheels") / "onnxruntime-0.0.1-py3-none-any.whl").read_bytes()
    target = str(fake_pi.home / "place")
    with SshPi("fakepi") as pi:
        pi.push({"a.whl": data})
        request = {
            "ask": "install",
            "target": target,
            "wheels": [{"file": "a.whl", "sha256": sha256_of(b"other")}],
        }
        with pytest.raises(DeviceError, match=r"a\.whl arrived damaged"):
            pi.ask(request)
    assert not list(fake_pi.home.glob("*place*"))
