"""The emulated Pi, built once per machine, and a fake Pi behind a real sshd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quarl.pi.root import EmulatedRoot, build_root
from quarl.resources import default_cache_dir
from tests.conftest import need
from tests.support.fake_pi import FakePi, sshd_program


@pytest.fixture(scope="session")
def pi_root() -> EmulatedRoot:
    """The root of the emulated Pi, from the user's cache or built there."""
    need("qemu-aarch64", "mmdebstrap", "gcc")
    return build_root(default_cache_dir())


@pytest.fixture(scope="module")
def fake_pi_server(
    pi_root: EmulatedRoot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakePi]:
    need("ssh", "ssh-keygen", sshd_program())
    pi = FakePi(tmp_path_factory.mktemp("pi"), pi_root)
    yield pi
    pi.close()


@pytest.fixture
def fake_pi(fake_pi_server: FakePi, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePi]:
    """A healthy fake Pi that `ssh fakepi` reaches; whatever a test did to it is undone."""
    monkeypatch.setenv("PATH", fake_pi_server.client())
    yield fake_pi_server
    fake_pi_server.restore()
