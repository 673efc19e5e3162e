"""Fused networks against loops written by hand, and the places where features are fused."""

import pytest
import torch
from lockstep_references import BACKBONES, spec_of

from sfgsearch.graph import stage_ends
from sfgsearch.nn import Structure, build_nddr, complexity, nddr_structure, reestimate_statistics

STAGES = {
    "vgg": (("conv1", "norm1", "relu1", "pool1"), ("conv2", "norm2", "relu2"), ("conv3", "norm3", "relu3")),
    "resnet": (("stem", "norm", "relu", "stage1_block1"), ("stage2_block1",), ("stage3_block1",)),
}


def fused(layer, features, training):
    """Return what every task reads: a product with all tasks' channels, normalised and rectified."""
    number, channels = len(features), features[0].shape[1]
    weight = layer.convolution.weight.flatten(1)
    norm, found = layer.norm, []
    for task in range(number):
        own = slice(task * channels, (task + 1) * channels)
        blocks = weight[own].split(channels, 1)
        mixed = sum(torch.einsum("kc,bcij->bkij", block, x) for block, x in zip(blocks, features, strict=True))
        mean, variance = norm.running_mean[own], norm.running_var[own]
        if training:
            mean, variance = mixed.mean((0, 2, 3)), mixed.var((0, 2, 3), unbiased=False)
        mixed = (mixed - mean[:, None, None]) / (variance[:, None, None] + norm.eps).sqrt()
        found.append((mixed * norm.weight[own][:, None, None] + norm.bias[own][:, None, None]).clamp_min(0))
    return found


def by_hand(name, network, images):
    features = [images] * len(network.copies)
    for stage, layer in zip(STAGES[name], network.reading.layers, strict=True):
        for path in stage:
            pairs = zip(network.copies, features, strict=True)
            features = [copy.get_submodule(path)(x) for copy, x in pairs]
        features = fused(layer, features, network.training)
    return [head(own) for head, own in zip(network.ordered_heads, features, strict=True)]


def make_network(tiny, spec):
    network = build_nddr(spec, generator=tiny.seeded(0))
    tiny.randomise(network)
    return network.double()


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("num_tasks", [2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_features_are_fused_where_stages_end(tiny, name, num_tasks, training):
    spec = spec_of(name, num_tasks)
    network, images = make_network(tiny, spec).train(training), tiny.images(spec).double()
    found, expected = list(network(images).values()), by_hand(name, network, images)
    parameters = list(network.parameters())
    gradients = [
        torch.autograd.grad(sum(prediction.square().sum() for prediction in predictions), parameters)
        for predictions in (found, expected)
    ]
    for one, other in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * max(1.0, float(other.detach().abs().max())))


@pytest.mark.parametrize(("own", "other"), [(0.9, 0.05), (0.5, 0.25)])
def test_fusing_starts_diagonal(own, other):
    (*_, layer) = build_nddr(spec_of("vgg", 3), own).reading.layers
    blocks = layer.convolution.weight.view(3, 6, 3, 6)
    for task in range(3):
        for read in range(3):
            expected = torch.eye(6) * (own if task == read else other)
            torch.testing.assert_close(blocks[task, :, read], expected)


def test_a_single_task_has_nothing_to_fuse():
    assert len(build_nddr(spec_of("vgg", 1)).reading.layers) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg", [(4, 3, 3), (5, 3, 3), (6, 3, 3)]),  # after the pool
        ("resnet", [(4, 8, 8), (8, 4, 4), (16, 2, 2)]),  # after blocks, shortcuts included
    ],
)
def test_stages_end_where_resolution_or_width_change(name, expected):
    assert [tuple(end.meta["val"].shape[1:]) for end in stage_ends(spec_of(name, 2).analysis)] == expected


def test_no_shortcut_passes_by_the_end_of_a_stage():
    """A layer of a dense network reads all features before it, so that only what is joined can be fused."""
    ends = stage_ends(spec_of("concatenation", 2).analysis)
    assert [end.name.startswith("cat") for end in ends[1:]] == [True] * len(ends[1:])
    assert ends[-1].meta["val"].shape[1] == sum(spec_of("concatenation", 2).filters.values())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_structure_rebuilds_the_network(tiny, name):
    spec = spec_of(name, 2)
    network, images = make_network(tiny, spec).float(), tiny.images(spec)
    reestimate_statistics(network, [images, images + 1])
    again = Structure.from_dict(nddr_structure().to_dict()).build(spec)
    again.load_state_dict(network.state_dict())
    expected, found = network.eval()(images), again(images)
    assert all(torch.equal(found[task], expected[task]) for task in spec.task_names)


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_the_cost_is_that_of_all_networks_and_of_what_fuses(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    cost = complexity(build_nddr(spec), spec.image_shape)
    shapes = ((7, 2, 36, 9), (6, 7, 9, 9), (5, 6, 9, 9))  # filters, input channels, pixels, and pixels after the pool
    outputs = sum(task.outputs for task in spec.tasks)
    fusing = sum((num_tasks * filters) ** 2 for filters, *_ in shapes)
    norms = 2 * sum(num_tasks * filters for filters, *_ in shapes)
    own = sum(filters * channels * 9 + 2 * filters for filters, channels, *_ in shapes)
    assert cost.parameters == num_tasks * own + fusing + norms + outputs * (5 + 1)
    convolutions = sum(filters * channels * 9 * pixels for filters, channels, pixels, _ in shapes)
    mixing = sum((num_tasks * filters) ** 2 * pixels for filters, *_, pixels in shapes)
    assert cost.macs == num_tasks * convolutions + mixing + 5 * outputs
