"""The numbers behind figures of whole studies."""

import math

import optuna
import pytest
from made_up_studies import add_trial, make_study, tasks_of
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from sfgsearch.visualization._scales import log_ticks, spans_decades, tick_text, tick_texts
from sfgsearch.visualization.data import (
    best_allocations,
    budget_curves,
    comparison_panels,
    pareto_data,
    tuning,
)
from sfgsearch.visualization.figures._comparison import panel_titles
from sfgsearch.visualization.figures._pareto import ParetoPoint, pareto_front

ERRORS = {"learned": [0.1, 0.2], "searched": [0.3, 0.3], "manual": [0.2, 0.4]}


def point(macs, value):
    return ParetoPoint("x", "learned", "retrained", macs, value, value, value, 1)


def test_panels_hold_what_the_comparison_measured():
    made = make_study(ERRORS, relearned=0.1)
    error, accuracy, angle = comparison_panels(made.comparison)
    assert (error.title, error.unit, error.higher_is_better) == ("relative error", "%", False)
    assert (accuracy.title, accuracy.axis) == ("task_0 accuracy", "%, higher is better")
    assert (angle.title, angle.axis) == ("task_1 mae", "degrees, lower is better")
    by_name = {one.name: one for one in error.points}
    assert by_name["learned-3"].mean == pytest.approx(15)
    assert by_name["learned-3 derived"].mean == pytest.approx(25)
    assert {one.inference for one in error.points} == {"retrained", "derived", "monte_carlo"}
    row = made.comparison.rows[0]
    assert angle.points[0].low == pytest.approx(row.metrics["task_1/mae"].low)
    assert accuracy.points[0].high == pytest.approx(100 * row.metrics["task_0/accuracy"].high)


def test_nobody_on_the_front_is_beaten_and_everyone_off_it_is():
    points = [point(1, 9), point(2, 5), point(3, 6), point(4, 2), point(4, 3), point(5, 2)]
    front = pareto_front(points, higher_is_better=False)
    assert [(one.macs, one.value) for one in front] == [(1, 9), (2, 5), (4, 2)]
    for one in points:
        beaten = any(o.macs <= one.macs and o.value <= one.value and o != one for o in points)
        assert (one in front) != beaten
    upside_down = [point(one.macs, -one.value) for one in points]
    assert [one.macs for one in pareto_front(upside_down, higher_is_better=True)] == [1, 2, 4]


def test_the_front_is_one_of_finalists_or_of_trials_before_there_are_any():
    made = make_study(ERRORS)
    data = pareto_data(made.study, made.comparison)
    assert data.is_of_finalists
    assert set(data.front) <= set(data.finalists)
    assert sorted(one.value for one in data.finalists) == pytest.approx([15, 30, 30])
    before = pareto_data(made.study)
    assert not before.is_of_finalists
    assert set(before.front) <= set(before.trials)
    assert len(before.trials) == 6


def test_a_task_can_be_chosen():
    made = make_study(ERRORS)
    data = pareto_data(made.study, made.comparison, "task_1/mae")
    assert (data.unit, data.higher_is_better) == ("degrees", False)
    assert {one.name: one.value for one in data.finalists}["learned-3"] == pytest.approx(6)
    assert data.trials[0].value == pytest.approx(made.study.trials[0].user_attrs["validation/task_1/mae"])
    with pytest.raises(ValueError, match="task_0/accuracy"):
        pareto_data(made.study, made.comparison, "task_0/mae")


def test_the_best_of_each_kind_is_the_comparisons_or_the_best_trial():
    made = make_study(ERRORS, tasks=3, layers=30)
    best = best_allocations(made.study, made.comparison)
    assert [one.kind for one in best] == ["learned", "searched", "manual"]
    assert [one.trial for one in best] == [3, 4, 5]
    assert best[0].error == pytest.approx(0.15)
    assert len(best[0].allocation.layers) == 30
    errors = {trial.number: trial.user_attrs["relative_error"] for trial in made.study.trials}
    for one in best_allocations(made.study):
        same = [number for number in errors if made.study.trials[number].params["kind"] == one.kind]
        assert one.trial == min(same, key=errors.get)
        assert not one.is_tested


def test_a_budget_counts_all_trials_and_falls():
    study, tasks = optuna.create_study(), tasks_of(1)
    for error, state, seconds in (
        (0.5, TrialState.COMPLETE, 10),
        (0.0, TrialState.PRUNED, 5),
        (0.6, TrialState.COMPLETE, 20),
        (0.4, TrialState.COMPLETE, 30),
        (0.0, TrialState.FAIL, 40),
    ):
        add_trial(study, "learned", error, tasks=tasks, state=state, seconds=seconds)
    add_trial(study, "manual", 0.9, tasks=tasks, state=TrialState.PRUNED)
    (curve,) = budget_curves(study)
    assert curve.trials == (1, 4, 5)
    assert curve.seconds == (10, 65, 105)
    assert curve.errors == (0.5, 0.4, 0.4)
    assert curve.improved == (True, True, False)


def test_importance_is_told_of_learned_trials_only_and_only_of_enough():
    few = tuning(make_study({}, trials=9).study)
    assert (few.trials, few.importances) == (9, None)
    assert "9 of at least 10" in few.remark
    assert {one.name for one in few.slices} == {"lr", "prior.family", "temperature.schedule", "temperature.end"}
    enough = tuning(make_study({}, trials=40).study)
    assert enough.trials == 40
    assert sum(enough.importances.values()) == pytest.approx(1)
    by_name = {one.name: one for one in enough.slices}
    assert "kind" not in by_name
    assert len(by_name["temperature.end"].values) < 40, "only trials with a falling temperature have an end"
    assert by_name["lr"].is_log
    assert by_name["prior.family"].categories == ["linear", "uniform"]


def test_what_matters_is_found_among_noise_and_other_kinds():
    study, tasks = optuna.create_study(), tasks_of(1)
    distribution = FloatDistribution(0, 1)
    for index in range(60):
        params = {
            "learned.kl_weight": ((7 * index % 60) / 60, distribution),
            "learned.lr": ((11 * index % 60) / 60, distribution),
        }
        add_trial(study, "learned", 0.1 + params["learned.kl_weight"][0], tasks=tasks, params=params)
        add_trial(study, "searched", 5.0, tasks=tasks)
    found = tuning(study)
    assert found.trials == 60
    assert list(found.importances) == ["kl_weight", "lr"]
    assert found.importances["kl_weight"] > 0.8


def test_a_parameter_that_few_trials_have_is_left_out_of_importances():
    study, tasks = optuna.create_study(), tasks_of(1)
    for index in range(20):
        params = {"learned.lr": (index / 20, FloatDistribution(0, 1))}
        if index < 5:
            params["learned.prior.first"] = (index / 5, FloatDistribution(0, 1))
        add_trial(study, "learned", 0.1 + index / 20, tasks=tasks, params=params)
    found = tuning(study)
    assert list(found.importances) == ["lr"]
    assert [one.name for one in found.slices] == ["lr", "prior.first"]
    assert "without 1 that fewer than 10 have" in found.remark


@pytest.mark.parametrize("values", [(0.02, 0.1), (3, 9), (1, 1000), (1e3, 5e9), (0.04, 0.05)])
def test_logarithmic_ticks_are_few_round_and_inside(values):
    ticks = log_ticks(values)
    assert 1 <= len(ticks) <= 8
    assert all(values[0] / 1.2 <= tick <= values[1] * 1.2 for tick in ticks)
    assert all(float(tick_text(tick)) == pytest.approx(tick) for tick in ticks if tick < 1000)
    assert (tick_text(2_000_000), tick_text(500_000)) == ("2M", "500k")


@pytest.mark.parametrize("values", [(1e-6, 1), (1e-5, 1e-3), (0.02, 0.2), (0.04, 0.05), (1e3, 5e9)])
@pytest.mark.parametrize("length", [80, 190])
def test_labels_of_short_logarithmic_axes_stay_apart(values, length):
    ticks = log_ticks(values, length)
    assert ticks
    assert set(ticks) <= set(log_ticks(values)) | {3 * 10**power for power in range(-6, 10)}
    places = [length * math.log(tick / values[0]) / math.log(1.15**2 * values[1] / values[0]) for tick in ticks]
    halves = [3 * len(tick_text(tick)) for tick in ticks]  # a letter of this size is about six pixels wide
    for left, right, half, next_half in zip(places, places[1:], halves, halves[1:], strict=False):
        assert right - next_half > left + half + 4


def test_a_logarithmic_axis_of_one_value_has_a_tick():
    assert log_ticks([0.012]) == log_ticks([0.012], 80) == [0.012]


def test_small_ticks_are_powers_of_ten_and_close_ones_are_told_apart():
    assert [tick_text(tick) for tick in (1e-5, 2e-4, 0.001, 0.05, 200)] == ["1e-5", "2e-4", "0.001", "0.05", "200"]
    assert tick_texts([31.2, 31.21, 31.22]) == ["31.2", "31.21", "31.22"]
    assert tick_texts([10_230, 10_240]) == ["10230", "10240"]
    assert tick_texts([1000, 2000]) == ["1k", "2k"]


def test_titles_that_are_too_long_name_the_task_above_the_metric():
    panels = comparison_panels(make_study(ERRORS).comparison)
    assert panel_titles(panels, 30)[2] == ("task_1 mae", "degrees, lower is better")
    assert panel_titles(panels, 20) == [
        ("relative error", "% ↓"),
        ("task_0", "accuracy, % ↑"),
        ("task_1", "mae, degrees ↓"),
    ]
    assert panel_titles(panels, 8)[1] == ("task_0", "accurac…")


def test_finalists_are_written_with_their_interval_in_equal_decimals():
    error, accuracy, angle = comparison_panels(make_study({"learned": [0.1, 0.12, 0.11]}).comparison)
    assert error.points[0].written(error.unit) == "11.0 ±2.5 %"
    assert angle.points[0].written(angle.unit) == "4.40 ±0.99 degrees"
    (single,) = comparison_panels(make_study({"learned": [0.1]}).comparison)[1].points
    assert single.written(accuracy.unit) == "95.0 %"


def test_an_axis_is_logarithmic_over_decades_of_positive_numbers():
    assert spans_decades([1, 10])
    assert not spans_decades([1, 9])
    assert not spans_decades([0, 10])
    assert not spans_decades([])


def test_tuning_may_be_that_of_searched_trials():
    study, described = optuna.create_study(), tasks_of(2)
    names = ("searched.curve.first", "searched.curve.bend")
    for index in range(12):
        params = {name: (index / 12 if name == names[0] else 0.5, FloatDistribution(0.0, 1.0)) for name in names}
        add_trial(study, "searched", 0.1 + 0.01 * index, tasks=described, params=params)
        add_trial(study, "learned", 0.5, tasks=described, params={"learned.lr": (0.1, FloatDistribution(0.0, 1.0))})
    found = tuning(study, "searched")
    assert set(found.importances) == {"curve.first", "curve.bend"}
    assert found.importances["curve.first"] > 0.6
    assert found.remark == "PED-ANOVA over 12 searched trials"
    assert tuning(study, "refined").remark == "No parameter of refined trials was tuned: there are none yet"


def test_refined_trials_are_a_curve_of_their_own_which_begins_with_the_learned_time():
    study, described = optuna.create_study(), tasks_of(2)
    for kind, start in (("learned", None), ("learned", None), ("searched", None), ("searched", "0, 1")):
        add_trial(study, kind, 0.3, tasks=described, seconds=10.0, start=start)
    curves = {curve.kind: curve for curve in budget_curves(study)}
    assert list(curves) == ["learned", "searched", "refined"]
    assert (curves["searched"].seconds, curves["refined"].seconds) == ((10.0,), (30.0,))
