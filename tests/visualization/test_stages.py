"""Large networks by stage: few rows, nothing lost, and small networks as they are."""

from dataclasses import replace

import numpy as np
import pytest
from trial_samples import sample_trial

from sfgsearch import visualization
from sfgsearch._stages import by_stage, layers_below, stages_of
from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.errors import StudyError
from sfgsearch.visualization import matplotlib as twins

RESNET = [
    "conv1",
    *(f"layer{stage}.{block}.conv{one}" for stage in (1, 2, 3, 4) for block in range(3) for one in (1, 2)),
]
DENSE = [f"features.block{block}.layer{layer}.conv" for block in (1, 2, 3, 4) for layer in range(30)]


def named(trial, names):
    """Return a sample with other names of layers."""
    renamed = dict(zip(trial.probabilities, names, strict=True))
    layers = [replace(layer, name=renamed[layer.name]) for layer in trial.allocation.layers]
    history = [
        replace(report, mean_probs={renamed[name]: probs for name, probs in report.mean_probs.items()})
        for report in trial.history
    ]
    probabilities = {renamed[name]: probs for name, probs in trial.probabilities.items()}
    allocation = Allocation(trial.allocation.groups, tuple(layers))
    return replace(trial, allocation=allocation, probabilities=probabilities, history=history)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (RESNET[:20], RESNET[:20]),
        (RESNET, ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        (DENSE, [f"features.block{block}" for block in (1, 2, 3, 4)]),
        (["stem", *(f"blocks.{i // 5}.{i % 5}" for i in range(30))], ["stem", *(f"blocks.{i}" for i in range(6))]),
        ([f"conv{i}" for i in range(25)], [f"conv{i} to conv{i + 2}" for i in range(0, 24, 3)] + ["conv24"]),
    ],
)
def test_stages_are_modules_or_runs_of_neighbours(names, expected):
    found = stages_of(names)
    assert list(found) == expected
    assert [name for layers in found.values() for name in layers] == names


def test_layers_that_are_mixed_are_each_in_one_stage():
    mixed = [f"{module}.{index}" for index in range(15) for module in ("left", "right")]
    found = stages_of(mixed)
    assert sorted(name for layers in found.values() for name in layers) == sorted(mixed)
    assert len(found) <= 20


def test_a_stage_has_all_filters_of_its_layers_and_their_means():
    layers = [LayerAllocation(name, (1, 2, 3), (0.2, 0.3, 0.5), 1.0) for name in RESNET]
    layers[1] = LayerAllocation(RESNET[1], (10, 0, 20), (0.5, 0.25, 0.25), 0.4)
    staged = by_stage(Allocation(("a", "b", "shared"), tuple(layers)))
    first = staged.layer("layer1")
    assert first.counts == (15, 10, 35)
    np.testing.assert_allclose(first.mean_probs, np.array([15 + 6, 7.5 + 9, 7.5 + 15]) / 60)
    assert first.mean_entropy == pytest.approx((30 * 0.4 + 30 * 1.0) / 60)
    assert sum(layer.num_filters for layer in staged.layers) == sum(layer.num_filters for layer in layers)


def test_layers_of_a_module_a_stage_or_all_are_found_and_others_refused():
    assert layers_below(RESNET, "layer1.0") == ["layer1.0.conv1", "layer1.0.conv2"]
    assert layers_below(RESNET, "") == RESNET
    assert layers_below([f"conv{i}" for i in range(25)], "conv0 to conv2") == ["conv0", "conv1", "conv2"]
    with pytest.raises(StudyError, match="no layer is in 'layer'; the network has conv1, layer1, "):
        layers_below(RESNET, "layer")


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_figures_of_120_layers_name_stages_and_stay_small(tasks):
    trial = named(sample_trial(tasks, len(DENSE)), DENSE)
    drawn = visualization.plot_allocation(trial)
    assert list(drawn.layout.yaxis.ticktext) == list(stages_of(DENSE))
    assert len(drawn.data[0].x) == 120, "every layer is drawn"
    for name in ("allocation", "probabilities", "simplex"):
        figure = getattr(twins, f"plot_{name}")(trial)
        assert len(figure.axes) <= 20
        assert figure.get_size_inches()[1] * figure.dpi < 1000


def test_large_stages_draw_some_filters_by_the_names_of_their_layers():
    probs = {name: np.random.default_rng(0).dirichlet([1, 1, 1], 40) for name in DENSE}
    figure = visualization.plot_simplex(probs)
    points = [text for trace in figure.data if trace.type == "scatter" for text in trace.hovertext or ()]
    assert 0 < len(points) <= 4 * 512
    assert points[0].startswith("features.block1.layer")
    assert ", filter " in points[0]


def test_a_part_of_a_trial_is_shown_layer_by_layer():
    part = named(sample_trial(2, len(DENSE)), DENSE).part("features.block3.layer7")
    assert visualization.plot_allocation(part).layout.yaxis.ticktext == ("features.block3.layer7.conv",)
    assert list(part.probabilities) == list(part.history[0].mean_probs) == ["features.block3.layer7.conv"]
