"""What spoils a run on a Pi and what only belongs beside its figures; and how the agent reads the
files that tell.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quarl.pi import agent
from quarl.profiles.pi.health import Health, remarks, spoiling
from tests.support.fake_pi import PI_FILES

GOOD = Health(0, 1_500_345_728, 1_500_000_000, 1_500_000_000, "performance", 48.2, 52, 0.4)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def firmware(throttled: str | None) -> Any:
    answers = {"get_throttled": throttled, "measure_clock arm": "frequency(48)=1500345728"}
    return lambda question: None if throttled is None else answers[question]


@pytest.mark.parametrize(
    ("answer", "bits"),
    [
        ("throttled=0x0", 0),
        ("throttled=0x50005", 0x50005),
        (None, None),
        ("error=1 error_msg=x", None),
    ],
)
def test_the_agent_reads_what_a_pi_tells_of_itself(
    tmp_path: Path, answer: str | None, bits: int | None
) -> None:
    found = agent.health(write(tmp_path, PI_FILES), firmware(answer))
    clock = None if answer is None else 1_500_345_728
    assert Health(**found) == Health(
        bits, clock, 1_500_000_000, 1_500_000_000, "ondemand", 48.199, 52, 0.42
    )


def test_what_a_machine_does_not_tell_is_none(tmp_path: Path) -> None:
    assert Health(**agent.health(tmp_path, firmware(None))) == Health(*[None] * 8)
    empty = write(tmp_path, {"sys/class/thermal/thermal_zone0/temp": "", "proc/loadavg": ""})
    assert Health(**agent.health(empty, firmware(None))) == Health(*[None] * 8)


def test_the_agent_names_the_machine(tmp_path: Path) -> None:
    cpuinfo = (
        "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd08\n\nprocessor\t: 1\nCPU "
        "part\t: 0xd08\nModel\t\t: Raspberry Pi 4\n"
    )
    found = agent.machine(
        write(
            tmp_path,
            {"proc/cpuinfo": cpuinfo, "proc/meminfo": "MemTotal:     948280 kB\nMemFree: 1 kB\n"},
        )
    )
    assert (found["model"], found["cpu_part"], found["cpu_features"]) == (
        "Raspberry Pi 4",
        "0xd08",
        ["asimd", "fp"],
    )
    assert found["memory_bytes"] == 948280 * 1024
    found = agent.machine(write(tmp_path, PI_FILES))
    assert found["model"] == "Raspberry Pi 4 Model B Rev 1.4"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {}, None),
        ({"throttled": 0x50000}, {"throttled": 0x50000}, None),  # an old story
        ({"throttled": 0x50005}, {"throttled": 0x50005}, "under-voltage .before the run"),
        ({}, {"throttled": 0x2}, "the clock is capped .after the run"),
        ({}, {"throttled": 0x80000}, "the soft temperature limit is reached at some moment"),
        ({"throttled": 0x10000}, {"throttled": 0x50000}, "throttled at some moment"),
        ({"throttled": None}, {"throttled": None}, None),
        ({}, {"clock_hz": 1_450_000_000}, None),
        ({}, {"clock_hz": 1_200_000_000}, "clock went from 1,500 MHz to 1,200 MHz"),
        (
            {"clock_hz": None},
            {"clock_hz": None, "highest_clock_hz": 600_000_000},
            "from 1,500 MHz to 600 MHz",
        ),
        ({}, {"swapped_pages": 53}, "pages swapped by the machine: 1"),
        ({"swapped_pages": None}, {"swapped_pages": 53}, None),
    ],
)
def test_a_throttled_slowed_or_swapped_run_is_spoilt(
    before: dict[str, Any], after: dict[str, Any], words: str | None
) -> None:
    found = spoiling(replace(GOOD, **before), replace(GOOD, **after))
    if words is None:
        assert found == ()
    else:
        assert re.search(words, found[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"throttled": 0x50000}, "since it was started the Pi has known: under-voltage, throttled"),
        ({"throttled": None}, "does not tell whether it was throttled"),
        ({"governor": "ondemand"}, "governor ondemand"),
        ({"temperature_c": 80.5}, "80.5 C at the end"),
        ({"load": 2.5}, "load 2.5"),
    ],
)
def test_what_does_not_spoil_is_said_beside_the_figures(change: dict[str, Any], words: str) -> None:
    assert remarks(GOOD, GOOD) == ()
    (found,) = remarks(replace(GOOD, **change), replace(GOOD, **change))
    assert words in found
