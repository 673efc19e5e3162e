"""Rows at equal multiply-adds beside those at the study's width: what is compared, shown, and said."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_studies import finalist, tasks_of
from rich.console import Console

from sfgsearch.comparison import Missing, Shortfall, compare
from sfgsearch.comparison._hypervolume import hypervolumes
from sfgsearch.reporting import comparison_tables

TASKS = tasks_of(2)
GOAL = 1000


def records(kind, name, trial, errors, macs, role="finalist"):
    made = [finalist(TASKS, kind, name, trial, seed, error, role) for seed, error in enumerate(errors, start=1)]
    return [replace(record, macs=macs, backbone={"name": "net", "width": macs / GOAL}) for record in made]


LEARNED = [
    *records("learned", "learned-9", 9, [0.30, 0.31, 0.33], 700),
    *records("learned", "learned-9", 9, [0.20, 0.21, 0.23], 1010, "matched"),
    *records("learned", "learned-9", 9, [0.30, 0.32, 0.32], 1000, "reversed"),
    *records("learned", "learned-9", 9, [0.21, 0.20, 0.23], 995, "shuffled"),
]
MANUAL = [
    *records("manual", "hard_sharing", 1, [0.25, 0.27, 0.27], 1000),
    *records("manual", "single_task", 2, [0.10, 0.11, 0.12], 2000),
    *records("manual", "single_task", 2, [0.40, 0.41, 0.44], 1021, "matched"),
    *records("manual", "late", 3, [0.26, 0.22, 0.25], 990),
]


def equal(extra=(), shortfall=None):
    return compare("demo", [*LEARNED, *MANUAL, *extra], [], shortfall, GOAL, matched=True)


def test_what_costs_the_same_is_compared():
    rows = [(row.name, row.macs, row.matched) for row in equal().compared]
    assert rows == [
        ("learned-9", 1010, True),
        ("learned-9 reversed", 1000, True),
        ("learned-9 shuffled", 995, True),
        ("late", 990, True),
        ("hard_sharing", 1000, True),
        ("single_task", 1021, False),  # the nearest that its channels allow
    ]
    assert [row.name for row in equal().native] == ["learned-9", "single_task", "late", "hard_sharing"]
    assert equal().best["learned"].error.mean == pytest.approx(0.64 / 3)


def test_at_the_studys_width_everything_is_compared_as_it_is():
    native = [record for record in (*LEARNED, *MANUAL) if record.role == "finalist"]
    comparison = compare("demo", native, [], None, GOAL)
    assert [row.name for row in comparison.compared] == ["learned-9", "single_task", "late", "hard_sharing"]
    assert [row.matched for row in comparison.compared] == [False, False, True, True]
    assert "whatever networks cost" in comparison.verdicts()[-1]


def test_learned_is_tested_against_all_others_and_searched_against_three():
    searched = records("searched", "searched-4", 4, [0.2, 0.25, 0.3], 1003)
    more = records("manual", "equal", 5, [0.5, 0.55, 0.52], 1001)
    comparison = equal([*searched, *more])
    others = [test.second[1] for test in comparison.tests_of("learned")]
    controls, manual = ["learned-9 reversed", "learned-9 shuffled"], ["late", "hard_sharing", "single_task", "equal"]
    assert others == ["searched-4", *controls, *manual]
    assert [test.second[1] for test in comparison.tests_of("searched")] == ["late", "hard_sharing", "single_task"]
    measured = {test.second[1] for test in comparison.tests if test.quantity != "relative_error"}
    assert measured == {"searched-4", "late"}, "the best of each kind"


def test_the_verdict_says_plainly_whom_learning_beats_and_that_it_may_lose():
    verdict, basis = equal().verdicts()
    assert verdict.startswith("SFG wins in part: learned-9 wins against learned-9 reversed (-10.0 ±")
    assert "is not told apart from learned-9 shuffled (+0.0 ±" in verdict
    assert "single_task (-20.3 ±" in verdict, "at equal cost: at its own width it wins"
    assert basis.startswith("Differences of the relative error in points, at the multiply-adds of hard sharing, 1k,")
    assert basis.endswith("Not within 2 %, for too few channels: single_task.")
    better = records("manual", "better", 6, [0.05, 0.07, 0.08], 1000)
    assert equal(better).verdicts()[0].startswith("SFG does not win: learned-9 wins against learned-9 reversed")
    assert "; loses to better (+14.7 ±1.4, p = 0.0026); is not told apart from" in equal(better).verdicts()[0]


def test_a_retraining_that_failed_at_either_width_is_named_once():
    lost = [Missing("manual", "late", 3, 4, role, "no memory") for role in ("matched", "finalist")]
    assert "without seed 4 of late, which failed." in equal(shortfall=Shortfall(tuple(lost))).verdicts()[0]
    assert "late (manual), trial 3, retrained at equal multiply-adds with seed 4: no memory" in map(str, lost)


def test_tables_mark_what_does_not_match():
    first, second = (table.to_rich(Console(width=300))[0] for table in comparison_tables(equal()))
    assert "at equal multiply-adds (1k)" in str(first.title)
    assert "at the study's width" in str(second.title)
    assert list(first.columns[-2].cells)[-1] == "1.02k*"
    assert next(iter(first.columns[-1].cells)) == "1.01"
    assert "* not within 2 %" in str(first.caption)
    assert not any("*" in str(cell) for column in second.columns for cell in column.cells)


def test_hypervolumes_are_the_share_of_points_that_are_dominated():
    comparison = equal()
    macs, found = hypervolumes(comparison.rows)
    assert macs == pytest.approx(2200)
    axis = (np.arange(500) + 0.5) / 500
    cost, error = np.meshgrid(axis, axis)
    for one in found:
        rows = [row for row in comparison.rows if row.kind == one.kind and row.inference == "retrained"]
        beaten = [(cost >= row.macs / macs) & (error >= row.error.mean) for row in rows]
        assert one.value == pytest.approx(np.any(beaten, axis=0).mean(), abs=0.003)
    assert [(one.kind, one.networks) for one in found] == [("learned", 2), ("manual", 4)]
