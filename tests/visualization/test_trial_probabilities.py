"""Group probabilities over training in both drawing libraries."""

import json
from dataclasses import replace

import numpy as np
import pytest
from trial_samples import SHAPES, sample_trial

from sfgsearch import visualization
from sfgsearch.visualization import matplotlib
from sfgsearch.visualization._style import group_colours


def expected(trial):
    """Return the means of shape (layers, epochs, groups)."""
    return np.array([[report.mean_probs[layer] for report in trial.history] for layer in trial.probabilities])


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_few_layers_have_a_panel_of_curves_each(tasks):
    trial = sample_trial(tasks, 4)
    figure = visualization.plot_probabilities(trial)
    curves = np.array([trace.y for trace in figure.data]).reshape(4, tasks + 1, 3)
    np.testing.assert_allclose(curves.transpose(0, 2, 1), expected(trial), rtol=1e-4)
    assert {trace.x for trace in figure.data} == {(1, 2, 3)}
    assert [trace.line.color for trace in figure.data[: tasks + 1]] == list(group_colours(trial.tasks).values())
    panels = matplotlib.plot_probabilities(trial).axes
    assert [axes.texts[0].get_text() for axes in panels] == list(trial.probabilities)
    lines = [[line.get_ydata() for line in axes.lines] for axes in panels]
    np.testing.assert_allclose(np.transpose(lines, (0, 2, 1)), expected(trial))


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_many_layers_become_rows_of_a_map_per_group(tasks):
    trial = sample_trial(tasks, 30)
    maps = [trace for trace in visualization.plot_probabilities(trial).data if trace.type == "heatmap"][: tasks + 1]
    values = np.array([one.z for one in maps])
    np.testing.assert_allclose(values.transpose(1, 2, 0), expected(trial), rtol=1e-3)
    assert [one.colorscale[-1][1] for one in maps] == list(group_colours(trial.tasks).values())
    images = [axes.images[0] for axes in matplotlib.plot_probabilities(trial).axes[: tasks + 1]]
    strengths = np.array([image.get_array() for image in images])
    np.testing.assert_allclose(np.square(strengths).transpose(1, 2, 0), expected(trial), rtol=1e-6)
    assert images[0].get_extent() == [0.5, 3.5, -0.5, 29.5]


def test_reports_and_what_is_stored_of_them_give_the_same_figure():
    trial = sample_trial(2, 4)
    stored = json.loads(json.dumps({"version": 1, "epochs": [report.to_dict() for report in trial.history]}))
    figures = [visualization.plot_probabilities(history) for history in (trial.history, stored)]
    assert figures[0] == figures[1]
    assert figures[0].data == visualization.plot_probabilities(trial).data


@pytest.mark.parametrize("epochs", [1, 40])
def test_any_number_of_epochs_will_do(epochs):
    for layers in (4, 30):
        trial = sample_trial(2, layers, epochs=epochs)
        first = visualization.plot_probabilities(trial).data[0]
        assert len(first.z[0] if first.type == "heatmap" else first.x) == epochs
        assert matplotlib.plot_probabilities(trial).axes


def test_methods_without_probabilities_say_so():
    trial = sample_trial(2, 4)
    fixed = replace(trial, history=[replace(report, mean_probs={}) for report in trial.history])
    (annotation,) = visualization.plot_probabilities(fixed).layout.annotations
    assert annotation.text == "This method has no group probabilities"
    assert annotation.text in [text.get_text() for text in matplotlib.plot_probabilities(fixed).axes[0].texts]


def test_all_shapes_are_named_by_trial():
    for tasks, layers in SHAPES:
        trial = sample_trial(tasks, layers)
        title = "Trial 7, learned-7: mean probability of every group over training"
        assert visualization.plot_probabilities(trial).layout.title.text == title
        assert matplotlib.plot_probabilities(trial).texts[0].get_text() == title
