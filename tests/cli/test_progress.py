"""What a stage says of itself in a log."""

from __future__ import annotations

import pytest

from quarl.cli.progress import LogLines


def test_a_log_gets_a_line_every_ten_seconds_with_unit_rate_and_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    log = LogLines("comparing nav_ppo with its source", lambda: now)
    for step in range(61):
        now = 100.0 + step / 2
        log(step * 5, 1200)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"comparing nav_ppo with its source: {done} of 1,200 episodes, 10 a second, about "
        f"{left} s left"
        for done, left in ((100, 110), (200, 100), (300, 90))
    ]


def test_a_part_that_begins_anew_has_a_rate_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    log = LogLines("fetching weights", lambda: now)
    now = 9.0
    log(1000, 1000)
    log(0, 400)
    now = 19.0
    log(100, 400)
    assert capsys.readouterr().err == (
        "fetching weights: 100 of 400 bytes, 10 a second, about 30 s left\n"
    )
