"""The comparison: contract, intervals and verdicts."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from sfgsearch.allocation import Allocation
from sfgsearch.comparison import Missing, Shortfall, compare
from sfgsearch.comparison._statistics import interval
from sfgsearch.records import ArchitectureRecord, MonteCarloRecord
from sfgsearch.reporting import comparison_tables, to_json


def finalist(kind, name, trial, seed, accuracy, error):
    return ArchitectureRecord(
        trial=trial,
        role="finalist",
        kind=kind,
        name=name,
        backbone={},
        image_shape=(1, 8, 8),
        tasks=[{"type": "classification", "name": "a", "num_classes": 3}],
        structure={"kind": "allocated", "assignments": {}, "separate": False},
        allocation=Allocation.equal({"conv1": 6}, ("a", "b")),
        seed=seed,
        epochs=1,
        parameters=10 * trial,
        macs=100 * trial,
        metrics={"validation": {"a/accuracy": accuracy}, "test": {"a/accuracy": accuracy}},
        units={"a/accuracy": "fraction"},
        scores={"validation": error, "test": error},
        training_seconds=1.0,
    )


def finalists(learned, manual):
    records = [finalist("manual", "equal", 2, seed, 1 - error, error) for seed, error in enumerate(manual)]
    return records + [finalist("learned", "learned-1", 1, seed, 1 - error, error) for seed, error in enumerate(learned)]


def relearned(record, error):
    sampled = MonteCarloRecord(
        samples=4,
        parameters=99,
        macs=4 * record.macs,
        metrics={split: {"a/accuracy": 1 - error, "a/uncertainty": 0.1} for split in ("validation", "test")},
        scores={"validation": error, "test": error},
    )
    units = {**record.units, "a/uncertainty": "nats"}
    return replace(record, role="relearned", macs=record.macs + record.seed, units=units, monte_carlo=sampled)


def test_what_was_learned_has_a_row_for_every_way_to_predict():
    retrained = finalists([0.1, 0.2], [0.15, 0.25])
    again = [relearned(record, 0.01) for record in retrained if record.kind == "learned"]
    comparison = compare("demo", retrained + again, [])
    rows = {row.name: row for row in comparison.rows}
    assert list(rows) == ["learned-1", "learned-1 derived", "learned-1 monte carlo", "equal"]
    assert [rows[name].inference for name in rows] == ["retrained", "derived", "monte_carlo", "retrained"]
    assert rows["learned-1 derived"].macs == 100  # 100 and 101 over the two seeds
    assert (rows["learned-1 monte carlo"].parameters, rows["learned-1 monte carlo"].macs) == (99, 400)
    assert rows["learned-1 monte carlo"].metrics["a/uncertainty"].mean == pytest.approx(0.1)
    assert comparison.verdicts() == compare("demo", retrained, []).verdicts()  # only equals are compared


def test_the_interval_is_students():
    values = [0.91, 0.93, 0.9, 0.95]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = interval(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_interval():
    assert interval([0.5]).half_width == 0


def test_the_object_is_the_contract():
    data = json.loads(json.dumps(compare("demo", finalists([0.1, 0.2], [0.3, 0.4]), []).to_dict()))
    assert data["study"] == "demo"
    assert [row["kind"] for row in data["rows"]] == ["learned", "manual"]
    row = data["rows"][0]
    assert (row["name"], row["seeds"], row["parameters"], row["macs"]) == ("learned-1", 2, 10, 100)
    assert row["metrics"]["a/accuracy"]["mean"] == pytest.approx(0.85)
    low, high = row["metrics"]["a/accuracy"]["ci95"]
    assert low < 0.85 < high


@pytest.mark.parametrize(
    ("learned", "manual", "outcome"),
    [
        ([0.10, 0.11, 0.12], [0.20, 0.22, 0.21], "SFG wins"),
        ([0.20, 0.22, 0.21], [0.10, 0.11, 0.12], "SFG loses"),
        ([0.10, 0.30, 0.20], [0.20, 0.15, 0.25], "No winner: learned-1 is not told apart from equal ("),
        ([0.10], [0.20], "learned-1 has too few seeds in common with equal (1)"),
    ],
)
def test_verdicts_follow_the_paired_interval(learned, manual, outcome):
    verdict, basis = compare("demo", finalists(learned, manual), []).verdicts()
    assert outcome in verdict
    assert f"paired over {len(learned)} seeds" in basis


def lost(kind, name, trial, seed=None, role="trial"):
    return Missing(kind, name, trial, seed, role, "no memory")


@pytest.mark.parametrize(
    ("missing", "end"),
    [
        ([], "p = 0.0033)."),
        ([lost("manual", "single_task", 7)], "p = 0.0033), without single_task, which failed."),
        ([lost("manual", "mine", 7, seed, "finalist") for seed in (1, 2)], "without mine, which failed."),
        ([lost("manual", "equal", 2, 3, "finalist")], "without seed 3 of equal, which failed."),
        (
            [lost("manual", "equal", 2, seed, "finalist") for seed in (3, 4)] + [lost("learned", "learned-5", 5)],
            "without seeds 3 and 4 of equal and learned-5, which failed.",
        ),
        ([lost("learned", "learned-1", 1, 3, "relearned"), lost("searched", "searched-9", 9)], "p = 0.0033)."),
    ],
)
def test_a_verdict_says_what_failed_and_is_missing_from_it(missing, end):
    shortfall = Shortfall(tuple(missing))
    verdict = compare("demo", finalists([0.10, 0.11, 0.12], [0.20, 0.22, 0.21]), [], shortfall).verdicts()[0]
    assert verdict.startswith("SFG wins: learned-1 wins against equal (-10.0 ±2.5, p = 0.0033)")
    assert verdict.endswith(end)


def test_a_kind_that_failed_whole_has_no_verdict_and_says_so_once_nothing_of_it_can_come():
    missing, rows = (lost("learned", "learned-1", 1, 3, "finalist"),), finalists([], [0.1, 0.2])
    found = compare("demo", rows, [], Shortfall(missing))
    assert found.verdicts() == ["No verdict on learned: without learned-1, which failed."]
    assert compare("demo", rows, [], Shortfall(missing, trials=1)).verdicts() == []


def test_pairing_by_seed_resolves_what_means_do_not():
    """Seeds that are hard for both hide the difference unless it is taken seed by seed."""
    hard = [0.1, 0.3, 0.5]
    rows = compare("demo", finalists([error - 0.02 for error in hard], [0.1, 0.301, 0.5]), [])
    learned, manual = (row.error for row in rows.rows)
    assert learned.low < manual.mean < learned.high
    assert "SFG wins" in rows.verdicts()[0]


def test_without_a_learned_finalist_there_is_no_verdict():
    assert compare("demo", finalists([], [0.1, 0.2]), []).verdicts() == []


def test_the_table_shows_the_main_metrics_and_the_object_all():
    organs = {"type": "segmentation", "name": "organs", "num_classes": 3, "classes": ["none", "liver", "bone"]}
    names = ("organs/dice", "organs/dice_liver", "organs/dice_bone", "organs/accuracy")
    metrics = {split: dict.fromkeys(names, 0.5) for split in ("validation", "test")}
    record = replace(
        finalist("learned", "learned-1", 1, 0, 0.5, 0.5),
        tasks=[organs],
        metrics=metrics,
        units=dict.fromkeys(names, "fraction"),
    )
    comparison = compare("demo", [record], [])
    assert set(comparison.to_dict()["rows"][0]["metrics"]) == set(names)
    (table,) = comparison_tables(comparison)[0].to_rich(Console(width=300))
    titles = [str(column.header) for column in table.columns]
    assert [title.split()[1] for title in titles if "organs" in title] == ["dice"]


def test_numbers_that_json_does_not_know_are_null():
    data = {"a": [1.5, float("inf")], "b": {"c": float("nan"), "d": "inf"}, "e": (2, None)}
    assert json.loads(to_json(data)) == {"a": [1.5, None], "b": {"c": None, "d": "inf"}, "e": [2, None]}
