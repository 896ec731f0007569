"""A board on a serial port, as a user meets it: the Black Pill's own image on an emulated STM32F4
behind a real pty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.boards.microcontroller import find_board
from quarl.bundle.release import Release
from quarl.exporter.export import ExportRequest
from quarl.firmware.build import build_image
from quarl.profiles.device import DeviceProfile, device_profile_from
from quarl.profiles.figure import Figure
from quarl.profiles.platforms import platform_of
from quarl.profiles.workload import release_workload
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.e2e.conftest import Quarl
from tests.support.serial_line import Line, emulated_uart
from tests.support.workloads import subject_of

BOARD = "stm32f411_blackpill"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Release:
    need("ziglang", "elftools", "serial", "qemu-system-arm")
    folder = tmp_path_factory.mktemp("serial") / "cartpole"
    return pipeline.export(
        pipeline.import_source("cartpole_ppo"),
        folder,
        ExportRequest(rung=0, board=find_board(BOARD, targets_dir())),
    )


@pytest.fixture(scope="module")
def port(bundle: Release) -> Iterator[str]:
    board = find_board(BOARD, targets_dir())
    tree = release_workload(bundle, platform_of(board)).firmware
    elf = build_image(tree.image_files(board, "uart"), board, default_cache_dir())
    with emulated_uart("netduinoplus2", elf) as path:
        yield path


def test_a_profile_over_the_line_says_what_was_compared_and_claims_no_time_where_nothing_counts(
    bundle: Release, port: str, quarl: Quarl
) -> None:
    done = quarl("profile", bundle.folder, "--board", BOARD, "--link", f"serial:{port}", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["board"], found["differing"], found["counter"], found["cycles"]) == (
        BOARD,
        0,
        "none",
        [],
    )
    assert found["compared"] > 0
    assert (
        device_profile_from((bundle.folder / f"device.{BOARD}.json").read_bytes(), "device").figures
        == ()
    )


def test_parity_over_the_line_compares_the_board_itself(
    bundle: Release, port: str, quarl: Quarl
) -> None:
    done = quarl("parity", bundle.folder, "--episodes", "2", "--link", f"serial:{port}", "--json")
    assert done.returncode == 0, done.stderr
    backends = {backend["backend"]: backend for backend in json.loads(done.stdout)["backends"]}
    assert backends["firmware"]["version"] == f"{BOARD} on {port}"
    assert backends["firmware"]["differing"] == 0


def test_a_cable_pulled_in_the_middle_ends_with_code_4_and_writes_nothing(
    bundle: Release, port: str, quarl: Quarl, tmp_path: Path
) -> None:
    (bundle.folder / f"device.{BOARD}.json").unlink(missing_ok=True)
    with Line(port, cut_after=500) as line:
        done = quarl("profile", bundle.folder, "--board", BOARD, "--link", f"serial:{line.path}")
    assert done.returncode == 4
    assert "the serial port was lost in the middle of the run" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bundle.folder / f"device.{BOARD}.json").exists()


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (
            ["--board", BOARD, "--link", "serial:/dev/nothing"],
            4,
            "/dev/nothing: cannot open the serial port",
        ),
        (["--board", BOARD, "--link", "serial:"], 2, "serial:/dev/ttyACM0 or serial:COM3"),
        (["--board", BOARD, "--link", "usb"], 2, "or serial:PORT"),
        (["--board", BOARD, "--flash", "pyocd"], 2, "only a real board is flashed"),
        (
            ["--board", "mps3_an547", "--link", "serial:/dev/null", "--flash", "pyocd"],
            2,
            "cannot be flashed by pyocd",
        ),
        (
            ["--board", BOARD, "--link", "serial:/dev/null", "--flash", "jlink"],
            2,
            "must be one of pyocd, openocd",
        ),
        (["--link", "serial:/dev/null"], 2, "no board is named"),
    ],
)
def test_what_cannot_be_done_is_said_before_or_with_the_right_code(
    bundle: Release, quarl: Quarl, options: list[str], code: int, words: str
) -> None:
    done = quarl("profile", bundle.folder, *options)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (
        code,
        True,
        False,
    ), done.stderr


def test_cycles_of_a_real_counter_are_measured_figures_and_nothing_else_is() -> None:
    measured = DeviceProfile(
        subject=subject_of(None, BOARD),
        board=BOARD,
        cpu="cortex-m4",
        port="/dev/ttyACM0",
        core_hz=16_000_000,
        compiler="zig",
        flashed_by="",
        contract_sha256="0" * 64,
        flash_bytes=9000,
        ram_bytes=400,
        counter="DWT",
        what="decision",
        cycles=(1600, 1700, 1650),
        repeated=0,
        compared=3,
        differing=0,
    )
    assert measured.latency_us == (
        pytest.approx(103.125),
        pytest.approx(106.1875),
        pytest.approx(106.25),
    )
    assert measured.figures == (
        Figure("device_cycles", 1700.0, "", "measured"),
        Figure("device_latency_us", 106.25, "us", "measured"),
    )
    assert device_profile_from(measured.to_json(), "device.json") == measured
