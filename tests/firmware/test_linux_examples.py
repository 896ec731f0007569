"""The examples for Linux run: a loop between two pipes, and a ROS 2 node with a stand-in for rclpy
where it enters.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from quarl.bundle.release import Release
from quarl.exporter.export import ExportRequest, export_policy
from quarl.graph.reference import act
from quarl.importers import ImportOptions
from quarl.resources import firmware_dir
from quarl.sources.source import open_source
from tests.conftest import need
from tests.firmware.test_package import built

EXAMPLES = firmware_dir() / "examples"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    source = open_source("pendulum_sac", ImportOptions(), None)
    folder = tmp_path_factory.mktemp("linux") / "bundle"
    return export_policy(source, folder, ExportRequest(rung=1, packages=("cmake",)))


def test_the_loop_answers_each_reading_and_stops_the_motor_at_the_end(
    release: Release, tmp_path: Path
) -> None:
    need("cmake", "gcc")
    shutil.copytree(EXAMPLES / "linux_loop", tmp_path / "loop")
    shutil.copytree(release.folder / "packages/cmake", tmp_path / "loop" / "policy")
    program = built(tmp_path / "loop", tmp_path / "build", "-DCMAKE_C_FLAGS=-Wall -Werror") / "loop"
    readings = release.example.obs[:5]
    expected = act(release.quantized, readings)
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as loop:
        assert loop.stdin is not None
        assert loop.stdout is not None
        for reading, action in zip(readings, expected, strict=True):
            loop.stdin.write(" ".join(f"{value:.9g}" for value in reading) + "\n")
            loop.stdin.flush()
            answers = iter(loop.stdout.readline, "")
            told = next(float(line) for line in answers if float(line) != 0 or action[0] == 0)
            assert np.float32(told) == action[0]
        loop.stdin.write("not a reading\n")
        loop.stdin.close()
        assert float(loop.stdout.read().split()[-1]) == 0, "no torque without readings"
        assert loop.wait(20) == 0


class FakeNode:
    """What rclpy's Node gives a node, with a clock and topics in the test's hands."""

    parameters: dict[str, Any]
    seconds = 0.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.published: list[list[float]] = []
        self.errors: list[str] = []
        self.topics: dict[str, Callable[[Any], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self._values: dict[str, Any] = {}

    def declare_parameter(self, name: str, value: Any) -> None:
        self._values[name] = self.parameters.get(name, value)

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self._values[name])

    def create_publisher(self, kind: Any, topic: str, depth: int) -> Any:
        return SimpleNamespace(publish=lambda message: self.published.append(message.data))

    def create_subscription(
        self, kind: Any, topic: str, callback: Callable[[Any], None], depth: int
    ) -> None:
        self.topics[topic] = callback

    def create_timer(self, period_s: float, callback: Callable[[], None]) -> None:
        self.timers.append((period_s, callback))

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=int(self.seconds * 1e9)))

    def get_logger(self) -> Any:
        return SimpleNamespace(error=self.errors.append)


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The node's module, with rclpy and std_msgs replaced by what it uses of them."""
    message = type("Float32MultiArray", (), {"data": []})
    modules: dict[str, Any] = {
        "rclpy": SimpleNamespace(),
        "rclpy.node": SimpleNamespace(Node=FakeNode),
        "std_msgs": SimpleNamespace(),
        "std_msgs.msg": SimpleNamespace(Float32MultiArray=message),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(EXAMPLES / "ros2"))
    yield importlib.import_module("quarl_policy_node.node")
    for name in [name for name in sys.modules if name.startswith("quarl_policy_node")]:
        del sys.modules[name]


def test_the_node_publishes_the_action_of_the_newest_observation(
    release: Release, ros: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("cmake", "gcc")
    package = release.folder / "packages/cmake"
    build = built(package, tmp_path / "build", "-DBUILD_SHARED_LIBS=ON")
    parameters = {
        "library": str(next(build.glob("libql_policy.*"))),
        "contract": str(package / "contract.json"),
    }
    monkeypatch.setattr(FakeNode, "parameters", parameters, raising=False)
    node = ros.PolicyNode()
    ((period_s, tick),) = node.timers
    assert period_s == pytest.approx(0.05), "the contract's rate"
    tick()
    assert node.published == [], "nothing was observed yet"
    readings = release.example.obs[:4]
    for reading in readings:
        node.topics["observation"](SimpleNamespace(data=[float(v) for v in reading]))
        tick()
    expected = act(release.quantized, readings)
    np.testing.assert_array_equal(np.array(node.published, np.float32), expected)
    node.seconds = 1.0
    tick()
    assert len(node.published) == 4, "an old observation is not acted on"
    node.topics["observation"](SimpleNamespace(data=[0.0]))
    tick()
    assert node.errors == ["observation refused: 1 values, the policy observes 3"]
