"""Figures know their noise and their machine; what a board allows becomes a budget as soon as there
is a profile of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.boards.microcontroller import find_board
from quarl.bundle.limits import Limits
from quarl.bundle.release import Release
from quarl.exporter.export import ExportRequest
from quarl.profiles.emulated import FirmwareProfile, LayerCost
from quarl.profiles.host import Latency, Memory, ModelProfile, Profile
from quarl.profiles.measure import Measurements
from quarl.resources import targets_dir
from quarl.verdict.budgets import figures_of, with_board, with_profiles
from tests.support.workloads import subject_of

BOARD = "nucleo_l4r5zi"
STEADY = tuple([10.0] * 100)
UNSTEADY = tuple([10.0] * 80 + [15.0] * 20)  # the last of five rounds was half as fast again
FIRMWARE_PROFILE = FirmwareProfile(
    subject=subject_of(None, BOARD),
    board=BOARD,
    cpu="cortex-m4",
    clock_hz=120_000_000,
    link="unicorn",
    compiler="zig",
    contract_sha256="0" * 64,
    multiply_accumulates=1,
    flash_bytes=12_520,
    table_bytes=9_000,
    ram_bytes=456,
    arena_bytes=256,
    stack_bytes=360,
    layers=(
        LayerCost("a", "ql_dense", 10, None, 1),
        LayerCost("b", "ql_table_s8", 5, None, 1),
        LayerCost("c", "ql_dense", 7, None, 1),
    ),
    instructions=14_000,
    cycles=None,
    cycle_assumptions="",
    act_instructions=14_249,
    act_cycles=None,
    compared=8,
    differing=0,
)


def host_profile(samples_us: tuple[float, ...]) -> Profile:
    latency = Latency(20.0, samples_us, 1, 10)
    model = ModelProfile("litert", "2.3.0", "int8", 1000, 5.0, latency, Memory(1, 2, 3))
    return Profile(
        subject_of(None, None),
        "measured",
        "A CPU",
        2,
        "Linux",
        {},
        "0" * 64,
        1,
        {"int8": 1, "float32": 4},
        (model,),
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Release:
    return pipeline.export(
        pipeline.import_source("pendulum_sac"),
        tmp_path / "p",
        ExportRequest(rung=0, limits=Limits(random_return=-1230.0)),
    )


def test_a_bundle_has_the_sizes_of_its_artifacts_and_the_figures_of_its_profiles(
    bundle: Release,
) -> None:
    assert {figure.name for figure in figures_of(bundle, Measurements())} == {
        "model_tflite_bytes",
        "model_onnx_bytes",
    }
    measurements = Measurements(host_profile(STEADY), FIRMWARE_PROFILE)
    figures = {figure.name: figure for figure in figures_of(bundle, measurements)}
    assert (figures["firmware_ram_bytes"].value, figures["firmware_instructions"].value) == (
        816,
        14_249,
    )
    assert (figures["firmware_instructions"].kind, figures["firmware_instructions"].where) == (
        "emulated",
        "nucleo_l4r5zi",
    )
    assert (
        figures["firmware_ql_dense_instructions"].value,
        figures["firmware_ql_table_s8_instructions"].value,
    ) == (17, 5)
    assert (figures["litert_p50_us"].where, figures["model_tflite_bytes"].where) == ("A CPU", "")


@pytest.mark.parametrize(("samples_us", "noise"), [(STEADY, 0.0), (UNSTEADY, 0.5)])
def test_the_noise_of_a_measured_time_is_what_the_rounds_of_its_run_differ_by(
    bundle: Release, samples_us: tuple[float, ...], noise: float
) -> None:
    measurements = Measurements(host_profile(samples_us))
    figures = {figure.name: figure for figure in figures_of(bundle, measurements)}
    assert figures["litert_p50_us"].noise == pytest.approx(noise)


def test_memory_and_control_period_are_budgets_once_there_is_a_firmware_profile(
    bundle: Release,
) -> None:
    asked = Limits(budgets={"firmware_flash_bytes": 100_000.0})
    bundle = replace(bundle, manifest=replace(bundle.manifest, board="nucleo_l4r5zi"))
    assert with_profiles(asked, bundle, Measurements()) == asked
    budgets = with_profiles(asked, bundle, Measurements(firmware=FIRMWARE_PROFILE)).budgets
    assert budgets["firmware_flash_bytes"] == 100_000  # the user's own stays
    assert budgets["firmware_ram_bytes"] == find_board("nucleo_l4r5zi", targets_dir()).ram.bytes
    assert bundle.contract.step_hz is not None
    assert budgets["firmware_latency_us"] == pytest.approx(1e6 / bundle.contract.step_hz)


def test_a_board_asks_for_its_own_answers_too_and_without_a_control_rate_for_no_deadline() -> None:
    board = find_board("nucleo_l4r5zi", targets_dir())
    asked = with_board(Limits(), board, None)
    assert asked.backends[-1] == "firmware"
    assert set(asked.budgets) == {"firmware_flash_bytes", "firmware_ram_bytes"}
    assert with_board(asked, replace(board, clock_hz=1), None) == asked
