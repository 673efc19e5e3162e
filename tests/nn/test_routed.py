"""Routed networks, against one plain network per task whose channels are masked by hand."""

import pytest
import torch
from residual_backbone import Residual

from sfgsearch.errors import AllocationError, BackboneError, SFGSearchError
from sfgsearch.functional import random_masks
from sfgsearch.nn import (
    NetworkSpec,
    RoutedBuilder,
    RoutedConv,
    StreamLayout,
    Structure,
    complexity,
    routed_allocation,
    routed_structure,
)


def make_network(tiny, num_tasks, sharing=0.4, norm="batch", backbone=None, seed=0):
    spec = NetworkSpec(backbone, tiny.tasks(num_tasks), (2, 6, 6)) if backbone else tiny.spec(num_tasks, norm=norm)
    masks = {name: random_masks(width, num_tasks, sharing, tiny.seeded(seed)) for name, width in spec.filters.items()}
    network = spec.build(RoutedBuilder(masks, num_tasks, 2, spec.norm))
    tiny.randomise(network, seed)
    return spec, network, masks


def layers(network):
    return [module for module in network.modules() if isinstance(module, RoutedConv)]


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_every_task_has_a_masked_network(tiny, num_tasks, norm):
    spec, network, masks = make_network(tiny, num_tasks, norm=norm)
    predictions = network.eval()(tiny.images(spec))
    for task, name in enumerate(spec.task_names):
        features = tiny.images(spec)
        for layer, mask, pool in zip(layers(network), masks.values(), (2, 1, 1), strict=True):
            features = torch.nn.functional.conv2d(features, layer.conv.weight, layer.conv.bias, padding=1)
            features = layer.norms[task](features).relu()
            features[:, ~mask[task]] = 0
            features = torch.nn.functional.max_pool2d(features, pool)
        expected = network.heads[name].reader(features.mean((2, 3)))
        torch.testing.assert_close(predictions[name].reshape(expected.shape), expected)


def narrow(source, kept):
    """Return the state of a layer for some of its filters."""
    return {key: value[kept] if value.ndim else value for key, value in source.state_dict().items()}


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_task_is_a_narrower_plain_network(tiny, num_tasks):
    """What a task masks has no part in its prediction: a network without these filters predicts the same."""
    spec, network, masks = make_network(tiny, num_tasks)
    predictions = network.eval()(tiny.images(spec))
    for task, name in enumerate(spec.task_names):
        features, read = tiny.images(spec), torch.ones(2, dtype=torch.bool)
        for layer, mask, pool in zip(layers(network), masks.values(), (2, 1, 1), strict=True):
            kept = mask[task]
            norm = torch.nn.BatchNorm2d(int(kept.sum())).eval()
            norm.load_state_dict(narrow(layer.norms[task], kept))
            features = torch.nn.functional.conv2d(features, layer.conv.weight[kept][:, read], padding=1)
            features, read = torch.nn.functional.max_pool2d(norm(features).relu(), pool), kept
        reader = network.heads[name].reader
        expected = features.mean((2, 3)) @ reader.weight[:, read].T + reader.bias
        torch.testing.assert_close(predictions[name].reshape(expected.shape), expected)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_masked_channels_of_residual_networks_are_silent(tiny, num_tasks):
    """Blocks and additions pass on nothing that no mask below holds."""
    _, network, masks = make_network(tiny, num_tasks, sharing=0.0, backbone=Residual)
    image = torch.randn(3, 2, 6, 6, generator=tiny.seeded(1))
    backbone = network.backbone
    streams = backbone.blocks(backbone.stem((image,) * (num_tasks + 1)))
    inner = backbone.second(backbone.first(streams))
    total = backbone.add(streams, inner)
    for task in range(num_tasks):
        speaks = [stream[task].abs().sum((0, 2, 3)) > 0 for stream in (streams, inner, total)]
        stem, second = masks["stem"][task], masks["second"][task]
        assert not bool((speaks[0] & ~stem).any())
        assert not bool((speaks[1] & ~second).any())
        assert torch.equal(speaks[2], speaks[0] | speaks[1])
        assert bool(speaks[0].any())
    assert (streams[-1], total[-1]) == (None, None)


def task_loss(tiny, spec, network, task):
    name = spec.tasks[task].name
    return spec.tasks[task].negative_log_likelihood(network(tiny.images(spec, 8))[name], tiny.targets(spec, 8)[name])


def reaches(gradient):
    return gradient is not None and bool((gradient != 0).any())


def rows(gradient):
    return (gradient != 0).flatten(1).any(1)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_loss_reaches_the_filters_that_its_task_holds_and_no_other(tiny, num_tasks, norm):
    spec, network, masks = make_network(tiny, num_tasks, norm=norm)
    for task in range(num_tasks):
        network.zero_grad()
        task_loss(tiny, spec, network, task).backward()
        for layer, mask in zip(layers(network), masks.values(), strict=True):
            assert torch.equal(rows(layer.conv.weight.grad), mask[task])


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_a_loss_reaches_norms_and_blocks_of_its_own_task_only(tiny, num_tasks):
    spec, network, masks = make_network(tiny, num_tasks, backbone=Residual)
    for task in range(num_tasks):
        network.zero_grad()
        task_loss(tiny, spec, network, task).backward()
        for layer in layers(network):
            assert [reaches(norm.weight.grad) for norm in layer.norms] == [t == task for t in range(num_tasks)]
        blocks = network.backbone.blocks.blocks
        assert [reaches(block.conv.weight.grad) for block in blocks] == [t == task for t in range(num_tasks)]
        assert torch.equal(rows(blocks[task].conv.weight.grad), masks["stem"][task])


def test_filters_of_several_tasks_receive_the_sum_of_their_losses(tiny):
    gradients = []
    for tasks in ([0], [1], [0, 1]):
        spec, network, _ = make_network(tiny, 2)
        sum(task_loss(tiny, spec, network, task) for task in tasks).backward()
        gradients.append(layers(network)[0].conv.weight.grad)
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2])


def test_the_image_is_convolved_once(tiny):
    spec, network, _ = make_network(tiny, 3)
    shapes = ((7, 2, 36, 1), (6, 7, 9, 3), (5, 6, 9, 3))  # filters, input channels, pixels and passes of every layer
    read = sum(head.reader.weight.numel() for head in network.heads.values())
    macs = sum(filters * channels * 9 * pixels * passes for filters, channels, pixels, passes in shapes)
    assert complexity(network, spec.image_shape).macs == macs + read


@pytest.mark.parametrize("backbone", [None, Residual])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_structures_rebuild_networks(tiny, num_tasks, backbone):
    spec, network, masks = make_network(tiny, num_tasks, backbone=backbone)
    again = Structure.from_dict(routed_structure(masks).to_dict()).build(spec)
    for layer, mask in zip(layers(again), masks.values(), strict=True):
        assert torch.equal(layer.masks.bool(), mask)
    again.load_state_dict(network.state_dict())
    expected, found = network.eval()(tiny.images(spec)), again(tiny.images(spec))
    assert all(torch.equal(found[name], expected[name]) for name in spec.task_names)


def test_filters_count_by_how_many_tasks_hold_them():
    masks = {"conv": torch.tensor([[1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 1]], dtype=torch.bool)}
    (layer,) = routed_allocation(masks, ("digit", "angle", "colour")).layers
    assert layer.counts == (1, 1, 1, 2)


@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"conv1": torch.ones(2, 6)},
        {"conv1": torch.ones(3, 7)},
        {"conv1": torch.ones(2, 7) * torch.tensor([[0], [1]])},
    ],
)
def test_masks_that_do_not_fit_are_refused(tiny, masks):
    with pytest.raises(AllocationError, match=r"'conv1' needs masks of shape \(2, 7\)"):
        tiny.spec(2).build(RoutedBuilder({name: mask.bool() for name, mask in masks.items()}, 2, 2))


def test_masks_of_unknown_layers_are_refused(tiny):
    spec, _, masks = make_network(tiny, 2)
    with pytest.raises(AllocationError, match="no layer 'conv9'"):
        spec.build(RoutedBuilder({**masks, "conv9": masks["conv1"]}, 2, 2))
    with pytest.raises(SFGSearchError, match="needs masks"):
        Structure("task_routing", {"masks": {}}).build(spec)


def test_blocks_on_top_of_anything_but_a_layer_are_refused():
    with pytest.raises(BackboneError, match="per_stream"):
        RoutedBuilder({}, 2, 2).per_stream(StreamLayout.full(4, 3), lambda _channels: None)


def test_volumes_are_masked_alike(tiny):
    spec = tiny.spec(2, dimensions=3)
    masks = {name: random_masks(width, 2, 0.4, tiny.seeded(0)) for name, width in spec.filters.items()}
    network = spec.build(RoutedBuilder(masks, 2, 3, spec.norm))
    tiny.randomise(network)
    streams = network.backbone((tiny.images(spec),) * 3)
    for task in range(2):
        speaks = streams[task].abs().sum((0, 2, 3, 4)) > 0
        assert bool(speaks.any())
        assert not bool((speaks & ~masks["conv3"][task]).any())
