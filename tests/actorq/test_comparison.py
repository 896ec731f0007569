"""Three kinds of speed-up, each from its own numbers; and the model of saturation."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from quarl.actorq.comparison import cost_rows, predicted_wall_s, ratio, speed_ups, threshold_of
from quarl.actorq.markdown_page import write_markdown
from quarl.actorq.measure import StepCost, break_even
from quarl.actorq.page import write_page
from quarl.actorq.record import read_record
from quarl.actorq.saturation import Costs, costs_of, limits_of, steps_per_s
from quarl.actorq.tables import Measured, machines_of, tables_of
from quarl.cli.verbs.actorq_page import actorq_page
from quarl.errors import InputError
from tests.conftest import need
from tests.support.records import record_of

INT8 = [record_of("int8", 1.0, seed) for seed in (1, 2)]
FP32 = [record_of("fp32", 4.0, seed) for seed in (1, 2)]


def test_data_collection_and_fixed_steps_are_different_numbers() -> None:
    (gain,) = speed_ups([*INT8, *FP32], {})
    assert gain.kind == "fp32"
    assert gain.collection.value == pytest.approx(4.0)
    assert gain.fixed_steps_cpu.value == pytest.approx((5 + 40) / (5 + 10))
    assert gain.fixed_steps_cpu_raw.value == pytest.approx((5 + 40) / (5 + 10))
    assert gain.fixed_steps_wall.value == pytest.approx(1.0)  # these made-up runs waited
    assert gain.threshold_cpu is None


def test_a_learner_that_waited_does_not_change_the_ratio_with_equal_learners() -> None:
    waited = [replace(r, learner=replace(r.learner, cpu_s=50.0)) for r in FP32]
    (gain,) = speed_ups([*INT8, *waited], {})
    assert gain.fixed_steps_cpu.value == pytest.approx(3.0)
    assert gain.fixed_steps_cpu_raw.value == pytest.approx((50 + 40) / (5 + 10))


def test_the_formula_predicts_who_is_waited_for() -> None:
    assert predicted_wall_s(INT8[0]) == pytest.approx(5.0)  # the learner: 100 steps of 50 ms
    assert predicted_wall_s(FP32[0]) == pytest.approx(
        20.0
    )  # the actors: 10,000 of 4 ms, two of them


def test_a_threshold_is_reached_by_the_policy_the_actors_play() -> None:
    (gain,) = speed_ups([*INT8, *FP32], {"small": 61.0})
    # int8 plays 61 or 62 at its third point, the floats of the others 59 or 58 there
    assert gain.threshold_cpu is not None
    assert gain.threshold_cpu.value == pytest.approx(4 / 3)
    assert gain.threshold_wall is not None
    assert gain.threshold_wall.value == pytest.approx(4 / 3)
    (never,) = speed_ups([*INT8, *FP32], {"": 1_000.0})
    assert never.threshold_cpu is None


def test_runs_are_compared_within_a_case_only() -> None:
    other = [replace(r, case=replace(r.case, pull_every=30)) for r in FP32]
    assert speed_ups([*INT8, *other], {}) == ()


def test_costs_are_compared_on_one_machine_and_returns_on_all() -> None:
    there = [replace(r, case=replace(r.case, machine="another, 8 processors")) for r in FP32]
    assert speed_ups([*INT8, *there], {}) == ()
    tasks, *_ = tables_of([*INT8, *FP32, *there], {}, [])
    assert [row[3] for row in tasks.rows] == ["2", "4"], "seeds of int8 and of fp32"
    assert "on another" in there[0].case.title
    assert machines_of([*INT8, *there]) == (
        "2 runs on a machine that is not known, 2 runs on another, 8 processors"
    )


def test_an_interval_needs_more_than_one_seed() -> None:
    assert math.isnan(ratio([2.0], [1.0]).low)
    spread = ratio([2.0, 4.0, 3.0], [1.0, 1.0, 1.0])
    assert spread.low < 3.0 < spread.high


def test_the_cost_of_a_step_is_the_cpu_time_shared_out_without_waiting() -> None:
    costs = cost_rows(FP32[0])
    assert costs["step (inference, environment, noise)"] == pytest.approx(4_000)
    assert sum(costs.values()) == pytest.approx(4_000)


@pytest.mark.parametrize(
    ("steps", "worth"),
    [
        ({64: (10, 10), 128: (20, 12), 256: (40, 15)}, 128),
        ({64: (10, 5), 128: (20, 12), 256: (40, 15)}, 64),
        ({64: (10, 10), 128: (20, 19), 256: (40, 39)}, None),
        ({64: (20, 10), 128: (20, 20), 256: (40, 15)}, 256),
    ],
)
def test_the_break_even_width_is_that_from_which_int8_always_gains(
    steps: dict[int, tuple[float, float]], worth: int | None
) -> None:
    costs = [
        StepCost(width, name, us, us)
        for width, (fp32, int8) in steps.items()
        for name, us in (
            ("fp32", fp32),
            ("LiteRT fp32", fp32 + 1),
            ("torch fp32", 99),
            ("int8", int8),
        )
    ]
    assert break_even(costs) == worth


def test_each_part_is_full_where_its_calls_take_all_its_time() -> None:
    costs = Costs(
        step_s=1e-4,
        learner_step_s=0.01,
        steps_per_learner_step=400.0,
        insert_s=1e-3,
        sample_s=1e-3,
        insert_every=100,
        batches_a_call=1,
        policy_bytes=10**6,
        pull_every=300,
    )
    limits = limits_of(costs)
    assert limits.learner == pytest.approx(4.0)  # 40,000 steps a second, an actor makes 10,000
    assert limits.store == pytest.approx(1 / (10_000 * (1e-5 + 2.5e-6)))
    assert limits.network == pytest.approx(1.25e9 / (1e6 * 10_000 / 300))
    assert limits.first == "learner"
    assert limits_of(costs, shards=2).store == pytest.approx(2 * limits.store)
    assert steps_per_s(costs, 2) == pytest.approx(20_000)
    assert steps_per_s(costs, 100) == pytest.approx(40_000)


def test_costs_are_those_of_a_run() -> None:
    costs = costs_of(INT8[0], 1)
    assert costs.step_s == pytest.approx(1e-3)
    assert costs.learner_step_s == pytest.approx(0.05)
    assert costs.insert_s == pytest.approx(0.001)  # 0.2 s for 100 inserts and 100 samples
    assert costs.policy_bytes == 100_000


@pytest.mark.long
def test_the_page_shows_all_of_it_and_loads_nothing(tmp_path: Path) -> None:
    need("matplotlib", "jinja2")
    measured = Measured(
        "CartPole",
        tuple(StepCost(64, n, 1, 1) for n in ("int8", "fp32", "torch fp32")),
        "a machine",
    )
    more = [replace(r, case=replace(r.case, actors=4)) for r in INT8]
    write_page([*INT8, *FP32, *more], {"": 61.0}, [measured], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for words in (
        "3.00",
        "Break-even width",
        "data collection",
        "fixed steps",
        "threshold",
        "learner steps",
    ):
        assert words in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    numbers = json.loads((tmp_path / "page.json").read_text())
    assert numbers["speed_ups"][0]["collection"]["value"] == pytest.approx(4.0)
    first = text
    write_page([*INT8, *FP32, *more], {"": 61.0}, [measured], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == first


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run of quarl actorq that has ended"):
        read_record(tmp_path)


def test_a_threshold_is_that_of_its_recipe_or_of_all() -> None:
    case = INT8[0].case
    assert threshold_of({"small": 2.0, "": 1.0}, case) == 2.0
    assert threshold_of({"": 1.0}, case) == 1.0
    assert threshold_of({"other": 1.0}, case) is None


@pytest.mark.long
def test_the_page_in_markdown_has_its_figures_beside_it(tmp_path: Path) -> None:
    need("matplotlib", "jinja2")
    often = [replace(r, case=replace(r.case, pull_every=30)) for r in (INT8[0], FP32[0])]
    write_markdown([*INT8, *FP32, *often], {"small": 61.0}, [], tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| small | 256 x 256 x 256 | int8 | 2 | 10,000 | 100 | 21.5 ± 6.4 |" in text
    assert "## What int8 actors gain: three numbers that are never mixed" in text
    drawn = re.findall(r"\]\((images/[^)]*)\)", text)
    assert len(set(drawn)) == 7  # costs; over CPU, steps and wall time in both cases
    assert all((tmp_path / name).read_text().startswith("<svg") for name in drawn)


def test_a_threshold_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--threshold a=b: b is not a number"):
        actorq_page([], tmp_path / "page.md", ["small=61", "a=b"])


def test_runs_that_differ_in_their_actors_tell_what_several_collect() -> None:
    few, many = (
        replace(
            INT8[0], case=replace(INT8[0].case, actors=actors), actors=INT8[0].actors[:1] * actors
        )
        for actors in (1, 3)
    )
    (table,) = [t for t in tables_of([few, many], {}, []) if "several actors" in t.title]
    assert [row[2] for row in table.rows] == ["1", "3"]
    assert float(table.rows[1][4]) == pytest.approx(3.0), "three made-up actors that share nothing"
    assert all("several actors" not in t.title for t in tables_of(INT8, {}, []))
