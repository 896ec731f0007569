"""Every check the gate can make is explained, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarl.bundle.rung_result import Attempt, RungResult
from quarl.errors import InputError
from quarl.evidence.agreement import WorstDecision
from quarl.evidence.drift import StateDrift
from quarl.evidence.evidence import DisturbedEpisodes, Evidence
from quarl.rollouts.robustness import DISTURBANCES
from quarl.verdict.explanations import EXPLANATIONS, explain
from quarl.verdict.judge import judge
from quarl.verdict.regression import compare_with_baseline
from tests.support.release import GOOD, LIMITS
from tests.verdict.test_judge import BOX_AGREEMENT, SOURCELESS

WORST = (WorstDecision(17, (1.0,), (0.0,), 0.25),)


def all_checks() -> set[str]:
    """Return the names of all checks that verdicts of every kind make."""
    assert GOOD.paired is not None
    disturbed = tuple(
        DisturbedEpisodes(name, GOOD.paired.source, GOOD.paired.candidate) for name in DISTURBANCES
    )
    verdicts = [
        judge(replace(GOOD, robustness=disturbed), LIMITS, policy="p"),
        judge(
            replace(GOOD, agreement=BOX_AGREEMENT),
            replace(LIMITS, robustness_margin=0.1),
            policy="p",
        ),
        judge(SOURCELESS, replace(LIMITS, backends=("litert", "firmware")), policy="p"),
        judge(Evidence(), LIMITS, policy="p"),
        judge(
            replace(GOOD, refused=(RungResult(3, "wide head", 1, 0.0, attempt=Attempt(1, 0.5)),)),
            LIMITS,
            policy="p",
        ),
        judge(replace(GOOD, drift=StateDrift(500, 8, 0.01, 0.01, 0.1)), LIMITS, policy="p"),
        *(
            judge(
                replace(GOOD, agreement=agreement, paired=None, worst=WORST),
                LIMITS,
                policy="p",
                can_play=False,
            )
            for agreement in (GOOD.agreement, BOX_AGREEMENT)
        ),
    ]
    regressions = compare_with_baseline(verdicts[0], verdicts[0].checks)
    return {check.name for verdict in verdicts for check in verdict.checks} | {
        check.name for check in regressions
    }


CHECKS = all_checks()


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_every_check_has_an_explanation(name: str) -> None:
    found = explain(name)
    assert found.covers(name)
    assert min(len(found.meaning), len(found.limit), len(found.remedy)) > 15


def test_every_explanation_has_a_check_or_a_figure() -> None:
    figures = {
        f"budget_firmware_{name}"
        for name in ("flash_bytes", "ram_bytes", "stack_bytes", "latency_us", "instructions")
    }
    assert not [
        entry.name
        for entry in EXPLANATIONS
        if not any(entry.covers(name) for name in CHECKS | figures | {"signature"})
    ]


def test_a_check_of_its_own_comes_before_its_family() -> None:
    names = [entry.name for entry in EXPLANATIONS]
    for place, entry in enumerate(EXPLANATIONS):
        assert not any(
            before.endswith("*") and entry.name.startswith(before[:-1]) for before in names[:place]
        )


def test_a_misspelt_check_is_named_with_what_it_may_mean() -> None:
    with pytest.raises(InputError, match="did you mean mean_return"):
        explain("mean_retrun")
