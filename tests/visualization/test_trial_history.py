"""The course of trainings in both drawing libraries."""

from dataclasses import replace

import pytest
from trial_samples import sample_trial

from sfgsearch import visualization
from sfgsearch.visualization import matplotlib
from sfgsearch.visualization._style import task_colours


def by_panel(figure):
    """Return names and values of the curves of every panel of a plotly figure, by its title."""
    titles = [annotation.text[3:-4] for annotation in figure.layout.annotations]  # in bold
    axes = dict.fromkeys(trace.yaxis or "y" for trace in figure.data)
    return {
        title: {trace.name: trace.y for trace in figure.data if (trace.yaxis or "y") == axis}
        for title, axis in zip(titles, axes, strict=True)
    }


def test_every_quantity_is_shown_in_its_unit():
    trial = sample_trial(3, 4)
    figure = visualization.plot_history(trial)
    panels = by_panel(figure)
    rounded = {"abs": 1e-4, "rel": 1e-4}
    losses = panels["training loss and objective"]
    assert list(losses) == ["age", "gender", "race", "all tasks"]
    assert losses["age"] == pytest.approx([report.task_losses["age"] for report in trial.history], **rounded)
    assert losses["all tasks"] == pytest.approx([report.loss for report in trial.history], **rounded)
    errors = [100 * report.score for report in trial.history]
    assert panels["validation relative error"]["all tasks"] == pytest.approx(errors, **rounded)
    accuracies = panels["validation accuracy"]
    assert list(accuracies) == ["gender", "race"]
    expected = [100 * report.metrics["race/accuracy"] for report in trial.history]
    assert accuracies["race"] == pytest.approx(expected, **rounded)
    assert panels["validation mae"]["age"] == pytest.approx([r.metrics["age/mae"] for r in trial.history], **rounded)
    units = [figure.layout[f"yaxis{n}"].title.text for n in ("", 2, 3, 4)]
    assert units == ["nats per image", "%", "years", "%"]


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_both_libraries_show_the_same(tasks):
    trial = sample_trial(tasks, 4)
    panels = by_panel(visualization.plot_history(trial))
    twins = matplotlib.plot_history(trial).axes
    assert [axes.texts[0].get_text() for axes in twins] == list(panels)
    for axes, curves in zip(twins, panels.values(), strict=True):
        for line, values in zip(axes.lines, curves.values(), strict=True):
            assert list(line.get_xdata()) == [1, 2, 3]
            assert line.get_ydata() == pytest.approx(values, rel=1e-4)
    losses = [line.get_color() for line in twins[0].lines[:-1]]
    assert losses == list(task_colours(trial.tasks).values())


def test_weights_of_tasks_are_shown_where_they_are_learned():
    trial = sample_trial(2, 4)
    assert "learned weight of the task's loss" not in by_panel(visualization.plot_history(trial))
    learned = [replace(report, task_weights={"age": 1.0, "gender": 1.0 + report.epoch}) for report in trial.history]
    panels = by_panel(visualization.plot_history(replace(trial, history=learned)))
    assert panels["learned weight of the task's loss"] == {"age": (1, 1, 1), "gender": (1, 2, 3)}


def test_a_headline_leaves_out_other_metrics():
    trial = replace(sample_trial(3, 4), headline=("age/mae", "gender/accuracy"))
    assert list(by_panel(visualization.plot_history(trial))["validation accuracy"]) == ["gender"]


def test_metrics_of_plain_reports_are_plain_numbers_unless_units_are_given():
    history = sample_trial(2, 4).history
    accuracy = history[-1].metrics["gender/accuracy"]
    plain = by_panel(visualization.plot_history(history))["validation accuracy"]["gender"][-1]
    assert plain == pytest.approx(accuracy, rel=1e-4)
    in_percent = by_panel(visualization.plot_history(history, units={"gender/accuracy": "fraction"}))
    assert in_percent["validation accuracy"]["gender"][-1] == pytest.approx(100 * accuracy, rel=1e-4)


def test_no_epoch_is_said():
    assert visualization.plot_history([]).layout.annotations[0].text == "No epoch has come to its end"
    assert matplotlib.plot_history([]).axes[0].texts[0].get_text() == "No epoch has come to its end"


def test_a_single_epoch_is_a_point():
    figure = visualization.plot_history(sample_trial(2, 4, epochs=1))
    assert {trace.mode for trace in figure.data} == {"markers"}
