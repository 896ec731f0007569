"""The doctor names what is missing and what gives it."""

from __future__ import annotations

import sys
from importlib.metadata import requires

import pytest

from quarl.cli.doctor import EXTRAS, PACKAGES, examine, install_command
from quarl.errors import InputError


def test_everything_that_is_missing_comes_with_a_remedy() -> None:
    findings = {finding.name: finding for finding in examine()}
    assert findings["python"].version
    assert findings["numpy"].version
    assert all(bool(finding.version) != bool(finding.remedy) for finding in findings.values())


def test_every_extra_that_a_remedy_names_can_be_installed() -> None:
    assert {extra for *_, extra in PACKAGES if extra} == set(EXTRAS)


@pytest.mark.parametrize(
    ("extra", "package"),
    [
        ("sb3", "stable-baselines3"),
        ("tf", "tensorflow-cpu"),
        ("atari", "ale-py"),
        ("firmware", "ziglang"),
    ],
)
def test_the_command_installs_the_packages_of_the_extra_into_this_python(
    extra: str, package: str
) -> None:
    argv = install_command(extra, tuple(requires("quarl") or ()))
    assert argv[:4] == [sys.executable, "-m", "pip", "install"]
    assert any(word.startswith(package) for word in argv[4:])
    assert not any(word.startswith(("numpy", "ruff", ";")) for word in argv[4:])


def test_an_unknown_extra_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="sb3, tf, atari, firmware"):
        install_command("everything", tuple(requires("quarl") or ()))


def test_the_emulators_are_named_with_the_cores_that_only_they_have() -> None:
    findings = {finding.name: finding for finding in examine()}
    assert findings["qemu-system-arm"].purpose == "runs firmware for cortex-m55, cortex-m85"
    assert findings["qemu-system-riscv32"].purpose == "runs firmware for hazard3"
