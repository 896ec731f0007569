"""Every verdict is said in three lines, and each output opens with them."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from quarl import pipeline
from quarl.cli.show_verdict import verdict_text
from quarl.cli.terminal_verdict import print_verdict
from quarl.evidence.evidence import BackendEquality, Evidence
from quarl.exporter.export import ExportRequest
from quarl.verdict.formats.junit import junit_text
from quarl.verdict.formats.markdown import markdown_text
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Outcome, Verdict
from tests.support.release import GOOD, LIMITS, pairs

WRONG = BackendEquality("litert", "2.3", 1000, 2000, 3, None)
PASSED = judge(GOOD, LIMITS, policy="p")


def said(evidence: Evidence) -> tuple[str, str, str]:
    return three_lines(judge(evidence, LIMITS, policy="p"))


def test_a_pass_rests_on_its_episodes() -> None:
    answer, basis, then = said(GOOD)
    assert answer == "PASS: p may be released"
    assert basis.startswith("mean return 499.9 -> 499.9 over 400 pairs, a loss of at most 0.0992 ")
    assert "where 9.6 is allowed; failures 0 -> 0, a rise of at most 0.751 points" in basis
    assert "baseline set" in then


def test_a_wrong_integer_is_what_a_failure_rests_on() -> None:
    answer, basis, then = said(replace(GOOD, backends=(WRONG, GOOD.backends[1])))
    assert answer == "FAIL: p must not be released"
    assert basis == "equality_litert: 3 outputs, at most 0 outputs"
    assert "export again" in then


def test_a_loss_is_said_with_what_was_allowed() -> None:
    _, basis, then = said(replace(GOOD, paired=pairs(candidate_loss=12)))
    assert "a loss of at most 12.1 where 9.6 is allowed" in basis
    assert then.startswith("The policy has lost return")


def test_what_was_not_measured_is_named_with_what_gathers_it() -> None:
    answer, basis, then = said(replace(GOOD, paired=None))
    assert answer == "NOT PROVEN: p must not be released"
    assert basis == "mean_return: no paired episodes were played"
    assert "quarl parity" in then


@pytest.mark.parametrize("gain", [0.0, 0.01])
def test_nothing_is_called_lost_where_nothing_was_lost(gain: float) -> None:
    """A mean that rose, or stayed, was once called 'Mean return lost'."""
    tight = replace(LIMITS, margin=5e-5)
    verdict = judge(
        replace(GOOD, paired=pairs(candidate_loss=-gain, spread=0.5)), tight, policy="p"
    )
    assert verdict.answer is Outcome.NOT_PROVEN
    said = [str(three_lines(verdict)), verdict_text(verdict), markdown_text(verdict)]
    said += [junit_text(verdict), *(check.advice for check in verdict.checks)]
    assert not [text for text in said if "lost" in text.lower()]


@pytest.mark.parametrize("can_play", [True, False])
def test_a_verdict_without_episodes_says_what_it_rests_on(can_play: bool) -> None:
    verdict = judge(replace(GOOD, paired=None), LIMITS, policy="p", can_play=can_play)
    assert ("decisions only" in three_lines(verdict).answer) is not can_play
    assert three_lines(Verdict("empty", ())).then.startswith("nothing was judged")


def test_the_terminal_folds_figures_without_a_limit_and_says_how_many() -> None:
    folded = [check for check in PASSED.checks if check.outcome is Outcome.REPORTED]
    short, long = verdict_text(PASSED), verdict_text(PASSED, verbose=True)
    assert folded
    assert f"{len(folded)} figures without a limit are shown by -v" in short
    for check in folded:
        assert check.name not in short
        assert check.name in long
    for text in (short, long):
        assert str(three_lines(PASSED)) in text


def test_markdown_opens_with_the_three_lines() -> None:
    head = markdown_text(PASSED).splitlines()[:4]
    assert head[0] == "## quarl gate: PASS: p may be released"
    assert head[2].startswith("- rests on: mean return 499.9")
    assert head[3].startswith("- next: release it")


def on_a_terminal(verdict: Verdict, width: int, *, verbose: bool = False) -> str:
    stream = StringIO()
    console = Console(
        file=stream, force_terminal=True, width=width, highlight=False, color_system="standard"
    )
    print_verdict(verdict, console, verbose=verbose)
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_gets_colours_and_lines_that_fit(width: int) -> None:
    failing = judge(replace(GOOD, backends=(WRONG, GOOD.backends[1])), LIMITS, policy="p")
    for verdict, colour in ((PASSED, "\x1b[1;32m"), (failing, "\x1b[1;31m")):
        printed = on_a_terminal(verdict, width)
        assert f"{colour}{three_lines(verdict).answer}" in printed
        plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)
        assert max(map(len, plain.splitlines())) <= width
        words = " ".join(plain.split())
        assert "rests on" in words
        assert "equality_onnxruntime" in words or width == 40


def test_a_terminal_folds_figures_without_a_limit_too() -> None:
    assert "rank_test" not in on_a_terminal(PASSED, 120)
    assert "rank_test" in on_a_terminal(PASSED, 120, verbose=True)


def test_words_of_a_bundle_give_no_orders_to_the_terminal() -> None:
    evil = replace(PASSED, policy="\x1b[2J[red]p[/red]\r::error::")
    printed = on_a_terminal(evil, 200)
    assert "\x1b[2J" not in printed
    assert "[red]p[/red]" in printed


@pytest.mark.long
def test_a_command_that_writes_to_a_terminal_is_coloured_and_a_pipe_is_not(
    tmp_path: Path,
) -> None:
    bundle = pipeline.export(
        pipeline.import_source("cartpole_ppo"), tmp_path / "b", ExportRequest(rung=3)
    ).folder
    argv = [sys.executable, "-m", "quarl", "gate", str(bundle), "--no-history"]
    reader, writer = pty.openpty()
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writer)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal nobody writes to any more
        while part := os.read(reader, 1 << 16):
            seen += part
    os.close(reader)
    assert done.returncode == 5, done.stderr
    assert b"\x1b[1;33mNOT PROVEN" in seen
    piped = subprocess.run(argv, capture_output=True, timeout=120, check=False)
    assert b"\x1b" not in piped.stdout
