"""Group probabilities of single filters in both drawing libraries."""

import math

import numpy as np
import pytest
import torch
from trial_samples import sample_trial

from sfgsearch import visualization
from sfgsearch.visualization import matplotlib
from sfgsearch.visualization._style import group_colours
from sfgsearch.visualization.data import layer_simplex
from sfgsearch.visualization.figures._simplex import density, histogram, in_triangle


def barycentric(points):
    """Return the simplex points (K, 3) of points in a triangle, from its three corner equations."""
    corners = np.array([[0, 1, 0.5], [0, 0, math.sqrt(3) / 2], [1, 1, 1]])
    return np.linalg.solve(corners, np.column_stack([points, np.ones(len(points))]).T).T


def test_points_in_the_triangle_tell_the_probabilities():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    np.testing.assert_allclose(barycentric(in_triangle(probs)), probs, atol=1e-12)
    assert in_triangle(np.eye(3)).tolist() == [[0, 0], [1, 0], [0.5, math.sqrt(3) / 2]]


def test_density_is_highest_where_filters_are():
    probs = np.random.default_rng(0).dirichlet((60, 20, 20), 400)
    found = density(probs, 40)
    row, column = np.unravel_index(found.argmax(), found.shape)
    x, y = in_triangle(probs).mean(0)
    assert abs((column + 0.5) / 40 - x) < 0.06
    assert abs((row + 0.5) / 40 * math.sqrt(3) / 2 - y) < 0.06
    assert found.max() == 1
    assert found[39, 5] < 1e-4, "far from all filters"


def test_a_uniform_density_does_not_fade_along_the_borders():
    found = density(np.random.default_rng(0).dirichlet(np.ones(3), 200_000), 40)
    border, middle = found[1, 5:35].mean(), found[8:12, 15:25].mean()
    assert border / middle == pytest.approx(1, abs=0.2)


def test_entropy_is_that_of_the_layer_in_nats():
    groups = torch.distributions.Categorical(torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]))
    layer = layer_simplex("conv", groups.probs)
    assert layer.entropy == pytest.approx(float(groups.entropy().mean()), rel=1e-6)
    assert layer.caption == "2 filters, 0.75 nats"


def test_filters_that_may_be_off_lie_where_they_are_when_they_are_not():
    layer = layer_simplex("conv1", [[0.45, 0.0, 0.45], [0.01, 0.03, 0.0]])
    assert layer.probs.tolist() == [pytest.approx([0.5, 0.0, 0.5]), pytest.approx([0.25, 0.75, 0.0])]
    assert layer.caption.startswith("2 filters (1 off), ")


@pytest.mark.parametrize("layers", [1, 4, 20])
def test_two_tasks_are_points_in_triangles(layers):
    trial = sample_trial(2, layers)
    colours = group_colours(trial.tasks)
    figure = visualization.plot_simplex(trial)
    points = [trace for trace in figure.data if trace.type == "scatter" and trace.hovertext]
    axes = matplotlib.plot_simplex(trial).axes
    assert len(axes) == layers
    for index, (layer, expected) in enumerate(trial.probabilities.items()):
        mine = [trace for trace in points if trace.xaxis == f"x{index + 1 if index else ''}"]
        seen = np.concatenate([barycentric(np.column_stack([trace.x, trace.y])) for trace in mine])
        texts = [text for trace in mine for text in trace.hovertext]
        numbers = [int(text.split("filter ")[1].split(":")[0]) for text in texts]
        assert sorted(numbers) == list(range(len(expected)))
        np.testing.assert_allclose(seen, expected[numbers], atol=1e-4)
        assert all(text.startswith(f"{layer}, ") for text in texts)
        for trace in mine:
            preferred = barycentric(np.column_stack([trace.x, trace.y])).argmax(1)
            assert set(preferred) == {list(colours).index(trace.legendgroup)}
            assert trace.marker.color == colours[trace.legendgroup]
        drawn = np.concatenate([line.get_xydata() for line in axes[index].lines])
        for point in in_triangle(expected):
            assert np.abs(drawn - point).sum(1).min() < 1e-9


@pytest.mark.parametrize("layers", [4, 20])
def test_one_task_is_a_histogram_per_layer(layers):
    trial = sample_trial(1, layers)
    bars = [trace for trace in visualization.plot_simplex(trial).data if trace.type == "bar"]
    axes = matplotlib.plot_simplex(trial).axes
    for index, probs in enumerate(trial.probabilities.values()):
        expected = histogram(probs[:, 0])
        upper, lower = bars[2 * index : 2 * index + 2]
        np.testing.assert_allclose([*lower.width, *upper.width], expected, rtol=1e-5)
        assert (upper.legendgroup, lower.legendgroup) == ("age", "shared")
        above, below = axes[index].collections
        heights = [np.ptp(path.vertices[:, 1]) for part in (below, above) for path in part.get_paths()]
        np.testing.assert_allclose(heights, expected, atol=1e-9)


def test_histograms_count_every_filter_once():
    parts = histogram(np.array([0.0, 0.049, 0.5, 1.0]))
    assert parts.sum() == 1
    assert parts[[0, 10, 19]].tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(("tasks", "layers"), [(3, 4), (5, 20)])
def test_more_tasks_are_maps_of_layers_against_probability(tasks, layers):
    trial = sample_trial(tasks, layers)
    expected = [[histogram(probs[:, group]) for probs in trial.probabilities.values()] for group in range(tasks + 1)]
    maps = visualization.plot_simplex(trial).data[: tasks + 1]
    np.testing.assert_allclose([one.z for one in maps], expected, rtol=1e-3)
    images = [axes.images[0] for axes in matplotlib.plot_simplex(trial).axes[: tasks + 1]]
    np.testing.assert_allclose(np.square([image.get_array() for image in images]), expected, atol=1e-9)


def test_tensors_and_names_of_tasks_will_do():
    probs = {"conv": torch.tensor([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]])}
    named = visualization.plot_simplex(probs, tasks=["age", "gender"])
    assert {trace.name for trace in named.data if trace.showlegend} == {"age", "gender", "shared"}
    numbered = visualization.plot_simplex(probs)
    assert {trace.name for trace in numbered.data if trace.showlegend} == {"task 1", "task 2", "shared"}
    assert "no group probabilities" in visualization.plot_simplex({}).layout.annotations[0].text
