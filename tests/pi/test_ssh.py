"""A Pi over SSH: every line of the real path through a real sshd, and what happens when something
breaks.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quarl.boards.linux import LinuxBoard, find_target
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.evidence.backends import compare_on_board
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs
from quarl.links.ssh import SshPi, connection_advice
from quarl.links.target import Target
from quarl.profiles.pi.measure import look as look_at
from quarl.profiles.pi.measure import profile_pi, version_remarks
from quarl.profiles.pi.report import PiProfile, pi_profile_from
from quarl.profiles.pi.request import Effort
from quarl.resources import default_cache_dir, targets_dir
from tests.support.fake_pi import FakePi, dropping_proxy
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for

QUICK = Effort(warm_up_s=0.05, seconds=0.2, samples=50)
DURING_THE_RUN = 'case "$SSH_ORIGINAL_COMMAND" in *agent.py*) {} ;; esac'


def pi4() -> LinuxBoard:
    board = find_target("raspberrypi_4", targets_dir())
    assert isinstance(board, LinuxBoard)
    return board


def job() -> tuple[Policy, QuantPolicy, np.ndarray]:  # type: ignore[type-arg]
    policy, quantized = sample("argmax_mlp", 3)
    return policy, quantized, observations(policy, np.random.default_rng(1), 40)


def measure(effort: Effort = QUICK) -> PiProfile:
    policy, quantized, obs = job()
    return profile_pi(
        workload_for(quantized, obs, pi4(), policy),
        pi4(),
        SshPi("fakepi"),
        default_cache_dir(),
        effort,
    )


def look() -> dict[str, object]:
    """Ask the smallest thing there is; the second try after a fault."""
    with SshPi("fakepi") as pi:
        pi.push({"file": b"content"})
        return dict(pi.ask({"ask": "look"}).fields)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(fake_pi: FakePi) -> Iterator[None]:
    yield
    assert fake_pi.left_behind() == []


def test_a_policy_is_measured_and_compared_through_every_line_of_the_real_path(
    fake_pi: FakePi,
) -> None:
    profile = measure()
    assert (profile.link, profile.kind, profile.machine.model) == (
        "ssh",
        "measured",
        "Raspberry Pi 4 Model B Rev 1.4",
    )
    assert [(model.runtime, model.precision) for model in profile.models] == [
        ("litert", "float32"),
        ("litert", "int8"),
        ("onnxruntime", "float32"),
        ("onnxruntime", "int8"),
        ("c", "int8"),
    ]
    for model in profile.models:
        assert model.latency is not None
        assert model.memory is not None
        assert model.before is not None
        assert 1 <= len(model.latency.samples_us) <= QUICK.samples
        assert model.memory.runtime_bytes > 0
        assert model.before.clock_hz == (None if model.runtime == "c" else 1_500_345_728)
        if model.precision == "int8":
            assert (model.observations, model.differing) == (40, 0)
            assert model.outputs_sha256 == model.expected_sha256
            assert model.decision is not None
    assert json.loads(pi_profile_from(profile.to_json(), "pi.json").to_json()) == json.loads(
        profile.to_json()
    )
    text = " ".join(profile.sentences())
    assert "governor ondemand" in text
    assert "control period of 100,000 us (10 Hz)" in text
    assert {"pi_decision_us", "pi_litert_p99_us", "pi_onnxruntime_model_memory_bytes"} <= {
        figure.name for figure in profile.figures
    }
    _, quantized, obs = job()
    equal = compare_on_board(
        workload_for(quantized, obs, pi4()),
        Target(pi4(), "ssh:fakepi"),
        integer_outputs(quantized, obs),
    )
    assert [(backend.backend, backend.outputs, backend.differing) for backend in equal] == [
        ("pi_litert", 200, 0),
        ("pi_onnxruntime", 200, 0),
        ("pi_c", 200, 0),
    ]


def test_a_changed_host_key_is_refused_whatever_the_configuration_says(
    fake_pi: FakePi, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fake_pi.client("StrictHostKeyChecking no", known=fake_pi.other_host_key())
    monkeypatch.setenv("PATH", path)
    with pytest.raises(DeviceError, match="host key is not the one you know"):
        look()
    monkeypatch.setenv("PATH", fake_pi.client())
    assert look()["machine"] == "aarch64"


def test_an_unknown_host_key_is_refused(fake_pi: FakePi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", fake_pi.client("StrictHostKeyChecking accept-new", known=""))
    with pytest.raises(DeviceError, match="connect once by hand"):
        look()


def test_a_connection_dropped_during_the_push_leaves_nothing_and_the_next_try_works(
    fake_pi: FakePi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", fake_pi.client(dropping_proxy(tmp_path, fake_pi.port, 200_000)))
    with SshPi("fakepi") as pi, pytest.raises(DeviceError, match="the connection was lost"):
        pi.push({"model": bytes(1_000_000)})
    assert fake_pi.left_behind() == []
    monkeypatch.setenv("PATH", fake_pi.client())
    assert look()["machine"] == "aarch64"


def test_a_connection_dropped_during_the_run_is_told_and_the_next_try_works(
    fake_pi: FakePi,
) -> None:
    fake_pi.fault(DURING_THE_RUN.format("kill -9 $PPID; exit"))
    with pytest.raises(DeviceError, match="the connection was lost"):
        look()
    fake_pi.fault("")
    assert look()["machine"] == "aarch64"


def test_what_a_lost_run_left_is_removed_by_a_later_one(fake_pi: FakePi) -> None:
    old, new = (fake_pi.temporary / f"quarl-run-{name}" for name in ("aaaaaaaaaa", "bbbbbbbbbb"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "agent.py").write_text("")
    long_ago = time.time() - 13 * 3600
    os.utime(old, (long_ago, long_ago))
    look()
    assert (old.exists(), new.exists()) == (False, True)  # another run's may still be at work
    shutil.rmtree(new)


def test_a_full_disk_stops_the_push_and_leaves_nothing(fake_pi: FakePi) -> None:
    fake_pi.fault("trap '' XFSZ; ulimit -f 100")
    with (
        pytest.raises(DeviceError, match="did not arrive whole, nothing of them is left"),
        SshPi("fakepi") as pi,
    ):
        pi.push({"model": bytes(1_000_000)})
    fake_pi.fault("")
    assert look()["machine"] == "aarch64"


def test_a_machine_of_another_architecture_is_refused(fake_pi: FakePi) -> None:
    fake_pi.python(f'exec {sys.executable} "$@"\n')
    with pytest.raises(DeviceError, match="must be aarch64"):
        measure()


def test_another_board_than_the_one_named_is_refused(fake_pi: FakePi) -> None:
    policy, quantized, obs = job()
    board = find_target("raspberrypi_5", targets_dir())
    assert isinstance(board, LinuxBoard)
    with pytest.raises(
        InputError,
        match=r"has a cortex-a72 \(Raspberry Pi 4 Model B Rev 1.4\), raspberrypi_5 a cortex-a76",
    ):
        profile_pi(
            workload_for(quantized, obs, board, policy),
            board,
            SshPi("fakepi"),
            default_cache_dir(),
            QUICK,
        )


def test_a_missing_runtime_is_named_with_what_brings_it(fake_pi: FakePi) -> None:
    fake_pi.packages(None)
    with pytest.raises(
        ToolMissingError, match="lacks ai-edge-litert and onnxruntime: quarl provision ssh:fakepi"
    ):
        measure()


def test_a_runtime_of_another_version_is_warned_about(fake_pi: FakePi, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for path in fake_pi.site.resolve().iterdir():
        if path.name.startswith("ai_edge_litert-"):
            (site / "ai_edge_litert-2.2.9.dist-info").mkdir()
            (site / "ai_edge_litert-2.2.9.dist-info" / "METADATA").write_text(
                "Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 2.2.9\n"
            )
        else:
            (site / path.name).symlink_to(path)
    fake_pi.packages(site)
    with SshPi("fakepi") as pi:
        pi.push({})
        _, versions, _ = look_at(pi, pi4())
    (remark,) = version_remarks(versions)
    assert remark.startswith("WARNING: ai-edge-litert is 2.2.9 on the Pi and 2.3")


def test_a_killed_agent_is_told_from_a_lost_connection(fake_pi: FakePi) -> None:
    fake_pi.python("kill -9 $$\n")
    with pytest.raises(DeviceError, match=r"agent was killed \(signal 9\).*memory"):
        look()
    fake_pi.restore()
    assert look()["machine"] == "aarch64"


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ("0x50005", "0x50005", "under-voltage"),
        ("0x0", "0x40000", "throttled at some moment"),
    ],
)
def test_a_run_that_was_throttled_is_refused(
    fake_pi: FakePi, first: str, then: str, words: str
) -> None:
    seen = fake_pi.folder / "seen"
    seen.unlink(missing_ok=True)
    fake_pi.vcgencmd(
        f'[ "$1" = get_throttled ] || exit 1\nif [ -e {seen} ]; then echo throttled={then}; '
        f"else : >{seen}; echo throttled={first}; fi\n"
    )
    with pytest.raises(
        DeviceError, match=rf"the run is invalid and not reported: .*{words}"
    ) as error:
        measure(Effort(warm_up_s=0.01, seconds=0.01, samples=2))
    assert error.value.exit_code == 4


def test_the_command_line_refuses_what_no_shell_must_see() -> None:
    for host in ("", "-oProxyCommand=true", "pi@host; rm", "pi@host\nother"):
        with pytest.raises(InputError, match="must be ssh:USER@HOST"):
            SshPi(host)


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("ssh: Could not resolve hostname pi: Name or service not known", "cannot be reached"),
        ("ssh: connect to host pi port 22: Connection refused", "cannot be reached"),
        ("pi@host: Permission denied (publickey).", "the login was refused"),
        ("Host key verification failed.", "not known yet"),
        ("client_loop: send disconnect: Broken pipe", "the connection was lost"),
        ("", "the connection was lost"),
    ],
)
def test_what_ssh_complains_of_becomes_what_to_do(words: str, meaning: str) -> None:
    assert meaning in connection_advice(words)
