"""Group probabilities of single filters in both drawing libraries."""

import math

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection, PolyCollection
from trial_samples import sample_trial

from sfgsearch import visualization
from sfgsearch.visualization import matplotlib
from sfgsearch.visualization._colours import group_colours
from sfgsearch.visualization.data import simplex
from sfgsearch.visualization.data._lattice import Lattice
from sfgsearch.visualization.data._simplex import density, histogram, in_triangle


def barycentric(places):
    """Return the simplex points (K, 3) of places in a triangle, from its three corner equations."""
    corners = np.array([[0, 1, 0.5], [0, 0, math.sqrt(3) / 2], [1, 1, 1]])
    return np.linalg.solve(corners, np.column_stack([places, np.ones(len(places))]).T).T


def test_places_in_the_triangle_tell_the_probabilities():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    np.testing.assert_allclose(barycentric(in_triangle(probs)), probs, atol=1e-12)
    assert in_triangle(np.eye(3)).tolist() == [[0, 0], [1, 0], [0.5, math.sqrt(3) / 2]]


def test_density_is_highest_where_filters_are():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet((60, 20, 20), 400)
    found = density(probs, 40)
    row, column = np.unravel_index(found.argmax(), found.shape)
    x, y = in_triangle(probs).mean(0)
    assert abs((column + 0.5) / 40 - x) < 0.06
    assert abs((row + 0.5) / 40 - y) < 0.06
    assert found.max() == 1
    assert found[35, 5] < 0.01, "far from all filters"


def test_a_uniform_density_does_not_fade_along_the_borders():
    found = density(np.random.default_rng(0).dirichlet(np.ones(3), 200_000), 40)
    border, middle = found[1, 5:35].mean(), found[8:12, 15:25].mean()
    assert border / middle == pytest.approx(1, abs=0.1)


def test_entropy_is_that_of_the_layer_in_nats():
    groups = torch.distributions.Categorical(torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]))
    (layer,) = simplex({"conv": groups.probs}).layers
    assert layer.entropy == pytest.approx(float(groups.entropy().mean()), rel=1e-6)
    assert layer.caption == "2 filters, 0.75 nats"


def test_filters_that_may_be_off_lie_where_they_are_when_they_are_not():
    (layer,) = simplex({"conv1": [[0.45, 0.0, 0.45], [0.01, 0.03, 0.0]]}, ["a", "b"]).layers
    assert layer.probs.tolist() == [pytest.approx([0.5, 0.0, 0.5]), pytest.approx([0.25, 0.75, 0.0])]
    assert layer.caption.startswith("2 filters (1 off), ")


@pytest.mark.parametrize("layers", [1, 4, 30])
def test_two_tasks_are_points_in_triangles(layers):
    trial = sample_trial(2, layers)
    everything = np.concatenate(list(trial.probabilities.values()))
    figure = visualization.plot_simplex(trial)
    lattice = Lattice(layers, 880 - 2 * 24, math.sqrt(3) / 2)
    points = [trace for trace in figure.data if trace.customdata is not None]
    assert [trace.marker.color for trace in points] == list(group_colours(trial.tasks).values())
    seen = 0
    for group, trace in enumerate(points):
        for x, y, (layer, number, text) in zip(trace.x, trace.y, trace.customdata, strict=True):
            index = list(trial.probabilities).index(layer)
            corner = np.array(lattice.corner(index))
            (probs,) = barycentric((np.array([[x, y]]) - corner) / lattice.side)
            np.testing.assert_allclose(probs, trial.probabilities[layer][number], atol=1e-3)
            assert probs.argmax() == group
            assert float(text.split()[-1]) == pytest.approx(probs[2], abs=0.006)
            seen += 1
    assert seen == len(everything)
    axes = matplotlib.plot_simplex(trial).axes[0]
    scatters = [found for found in axes.collections if isinstance(found, PathCollection)]
    counts = [len(one.get_offsets()) for one in scatters[::2]]
    assert counts == np.bincount(everything.argmax(1), minlength=3).tolist()
    lattice = Lattice(layers, 800 - 2 * 20, math.sqrt(3) / 2)
    first = trial.probabilities["conv1"]
    places = np.array(lattice.corner(0)) + lattice.side * in_triangle(first)
    drawn = np.concatenate([one.get_offsets() for one in scatters[::2]])
    assert all(np.abs(drawn - place).sum(1).min() < 1e-9 for place in places)


@pytest.mark.parametrize("layers", [4, 30])
def test_one_task_is_a_histogram_per_layer(layers):
    trial = sample_trial(1, layers)
    expected = [histogram(probs[:, 0]) for probs in trial.probabilities.values()]
    bars = visualization.plot_simplex(trial).data
    drawn = np.array([[part for _, part in bar.customdata] for bar in bars]).reshape(layers, 2, 10)
    np.testing.assert_allclose(np.concatenate([drawn[:, 1], drawn[:, 0]], axis=1), expected)
    polygons = [one for one in matplotlib.plot_simplex(trial).axes[0].collections if isinstance(one, PolyCollection)]
    heights = [np.ptp(path.vertices[:, 1]) for path in polygons[0].get_paths()]  # of the upper ten bins, by layer
    parts = np.array(expected)
    scaled = parts[:, 10:] / parts.max(1, keepdims=True)
    np.testing.assert_allclose(np.reshape(heights, (layers, 10)) / max(heights), scaled / scaled.max(), atol=1e-9)


def test_histograms_count_every_filter_once():
    parts = histogram(np.array([0.0, 0.049, 0.5, 1.0]))
    assert parts.sum() == 1
    assert parts[[0, 10, 19]].tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(("tasks", "layers"), [(3, 4), (5, 30)])
def test_more_tasks_are_maps_of_layers_against_probability(tasks, layers):
    trial = sample_trial(tasks, layers)
    expected = [[histogram(probs[:, group]) for probs in trial.probabilities.values()] for group in range(tasks + 1)]
    maps = visualization.plot_simplex(trial).data
    np.testing.assert_allclose([one.z for one in maps], expected, rtol=1e-4)
    images = [axes.images[0] for axes in matplotlib.plot_simplex(trial).axes[: tasks + 1]]
    np.testing.assert_allclose(np.square([image.get_array() for image in images]), expected, atol=1e-9)


def test_tensors_and_names_of_tasks_will_do():
    probs = {"conv": torch.tensor([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]])}
    named = visualization.plot_simplex(probs, tasks=["age", "gender"])
    assert {trace.name for trace in named.data if trace.showlegend} == {"age", "gender", "shared"}
    numbered = visualization.plot_simplex(probs)
    assert {trace.name for trace in numbered.data if trace.showlegend} == {"task 1", "task 2", "shared"}
    assert "no group probabilities" in visualization.plot_simplex({}).layout.annotations[0].text
