"""The emulated Pi: every core answers as the integer reference does, and instructions are counted
exactly; a time is never taken.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl.boards.linux import LinuxBoard, find_target
from quarl.cli.doctor import examine, install
from quarl.errors import InputError, ToolMissingError
from quarl.evidence.backends import compare_on_board
from quarl.graph.reference import integer_outputs
from quarl.links.pi_link import open_pi_link
from quarl.links.qemu_user import EmulatedPi
from quarl.links.target import Target
from quarl.pi.root import EmulatedRoot
from quarl.profiles.linux_computer import BACKENDS
from quarl.profiles.pi.measure import profile_pi
from quarl.profiles.pi.report import instructions_from
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for

BOARDS = ("raspberrypi_3b", "raspberrypi_4", "raspberrypi_5")  # one of each core


def board_named(name: str) -> LinuxBoard:
    board = find_target(name, targets_dir())
    assert isinstance(board, LinuxBoard)
    return board


@pytest.mark.every(3)
@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(
    ("policy_name", "rung"),
    [("squashed", 3), pytest.param("small_images", 3, marks=pytest.mark.slow)],
)
def test_every_core_answers_like_the_reference_in_every_runtime(
    pi_root: EmulatedRoot, name: str, policy_name: str, rung: int
) -> None:
    need("ziglang")
    policy, quantized = sample(policy_name, rung)
    obs = observations(policy, np.random.default_rng(3), 30)
    board = board_named(name)
    found = compare_on_board(
        workload_for(quantized, obs, board),
        Target(board, "emulated"),
        integer_outputs(quantized, obs),
    )
    assert tuple(backend.backend for backend in found) == BACKENDS
    assert [backend.differing for backend in found] == [0, 0, 0]
    assert all(
        backend.outputs == 30 * policy.contract.action.count
        and "outputs SHA-256" in backend.version
        for backend in found
    )
    assert len({backend.version.rpartition(" ")[2] for backend in found}) == 1  # one digest


@pytest.mark.slow
def test_instructions_are_counted_and_no_time_is_kept(pi_root: EmulatedRoot) -> None:
    need("ziglang")
    policy, quantized = sample("argmax_mlp", 3)
    obs, board, cache = (
        observations(policy, np.random.default_rng(3), 20),
        board_named("raspberrypi_5"),
        default_cache_dir(),
    )
    profile = profile_pi(
        workload_for(quantized, obs, board, policy),
        board,
        EmulatedPi(board.cpu, pi_root, cache),
        cache,
    )
    assert (profile.kind, profile.link) == ("emulated", "emulated")
    for model in profile.models:
        assert (model.latency, model.decision, model.memory, model.load_us) == (
            None,
            None,
            None,
            None,
        )
        assert model.instructions is not None
        assert 0 < model.instructions.typical_invoke <= model.instructions.typical
    old = profile.model("tflite_runtime", "int8")
    assert old is not None
    assert old.largest_difference <= 2  # its own arithmetic, which is named
    assert any(
        "tflite_runtime 2.14.0 computes by another arithmetic" in sentence
        for sentence in profile.sentences()
    )
    own, litert = profile.model("c", "int8"), profile.model("litert", "int8")
    assert own is not None
    assert litert is not None
    assert own.instructions is not None
    assert litert.instructions is not None
    assert len(set(own.instructions.per_inference[1:])) <= 3  # nothing but the data's own branches
    assert own.instructions.typical <= 0.5 * litert.instructions.typical_invoke  # no interpreter
    assert {figure.kind for figure in profile.figures} == {"emulated"}
    assert "pi_decision_us" not in {figure.name for figure in profile.figures}


def test_the_cost_of_the_marks_is_taken_off() -> None:
    empty = [(5, 100), (6, 110), (5, 120), (6, 130)]
    call = [(1, 1000), (3, 1050), (4, 1560), (2, 1630)]
    counted = instructions_from([*empty, *call])
    assert (counted.per_inference, counted.of_invoke) == ((600,), (500,))
    assert instructions_from([*empty, (1, 1000), (2, 1510), (0, 1600)]).per_inference == (500,)
    with pytest.raises(ValueError, match="1 marks 1 and 0 marks 2"):
        instructions_from([*empty, (1, 1000)])


def test_an_emulated_pi_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ToolMissingError, match="quarl doctor --install pi-emulator"):
        open_pi_link(None, board_named("raspberrypi_4"))


def test_the_doctor_says_whether_the_emulated_pi_is_there_and_installs_it(
    pi_root: EmulatedRoot, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    found = {finding.name: finding for finding in install("pi-emulator")}["pi-emulator"]
    assert (found.version, found.remedy) == (pi_root.folder.name, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    missing = {finding.name: finding for finding in examine()}["pi-emulator"]
    assert "quarl doctor --install pi-emulator" in missing.remedy


def test_an_unknown_link_is_refused() -> None:
    with pytest.raises(InputError, match="reached by emulated, ssh:USER@HOST or local"):
        open_pi_link("serial:/dev/ttyUSB0", board_named("raspberrypi_4"))
