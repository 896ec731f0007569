"""How often and by how much two policies act otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.evidence.agreement import compare_actions, compare_choices

SOURCE = np.array([[0.0, 1.0, 5.0], [2.0, 1.9, 0.0], [0.0, 0.0, -1.0], [7.0, 3.0, 0.0]], np.float32)


def test_agreement_counts_equal_choices_and_weighs_them_by_what_is_at_stake() -> None:
    candidate = np.array(
        [[0, 1, 5], [1, 2, 0], [3, 3, 0], [7, 3, 0]], np.int8
    )  # the second differs, where only 0.1 is at stake
    result = compare_choices(SOURCE, candidate, output_step=0.5)
    assert (result.observations, result.agreement, result.first_difference) == (4, 0.75, 1)
    assert result.weighted_agreement == pytest.approx(8 / 8.1)
    assert (result.source_tie_rate, result.candidate_tie_rate) == (0.25, 0.25)
    assert (result.clear_observations, result.clear_agreement) == (2, 1.0)
    assert result.median_gap_steps == pytest.approx((4 + 0.1) / 2 / 0.5)


def test_a_difference_where_the_gap_is_clear_is_told_apart() -> None:
    candidate = np.array([[9, 1, 5], [2, 1, 0], [3, 3, 0], [7, 3, 0]], np.int8)
    result = compare_choices(SOURCE, candidate, output_step=0.5)
    assert (result.agreement, result.clear_agreement) == (0.75, 0.5)


def test_a_candidate_without_a_step_has_no_gap_in_steps() -> None:
    result = compare_choices(SOURCE, SOURCE, output_step=0.0)
    assert (
        result.agreement,
        result.weighted_agreement,
        result.median_gap_steps,
        result.first_difference,
    ) == (1.0, 1.0, None, None)


def test_a_gap_nowhere_leaves_no_clear_observations() -> None:
    result = compare_choices(np.zeros((3, 2)), np.zeros((3, 2)), output_step=0.1)
    assert (result.clear_observations, result.clear_agreement, result.weighted_agreement) == (
        0,
        None,
        1.0,
    )


def test_action_errors_are_in_environment_units_and_as_a_share_of_the_range() -> None:
    source = np.array([[0.0, 10.0], [1.0, -10.0]], np.float32)
    candidate = np.array([[0.1, 10.0], [1.0, -7.0]], np.float32)
    result = compare_actions(source, candidate, (-1.0, -10.0), (1.0, 10.0))
    assert result.mean_error == pytest.approx((0.05, 1.5))
    assert result.max_error == pytest.approx((0.1, 3.0))
    assert result.mean_share == pytest.approx((0.05 + 0.15) / 4)
    assert result.max_share == pytest.approx(0.15)
    assert (result.worst_observation, result.worst_value) == (1, 1)


def test_an_infinite_range_that_the_source_does_not_span_gives_no_share() -> None:
    result = compare_actions(np.zeros((2, 1)), np.ones((2, 1)), (-math.inf,), (math.inf,))
    assert (result.mean_share, result.max_share, result.mean_error) == (None, None, (1.0,))


@pytest.mark.parametrize("shape", [(0, 3), (4,), (3, 2)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="two equal shapes"):
        compare_choices(SOURCE, np.zeros(shape), output_step=0.1)
