"""Cross-stitch units and networks, against plain sums and plain networks."""

import pytest
import torch
from residual_backbone import Residual

from sfgsearch.errors import SFGSearchError
from sfgsearch.nn import (
    CrossStitch,
    CrossStitchBuilder,
    CrossStitchConv,
    NetworkSpec,
    Structure,
    complexity,
    cross_stitch_structure,
)


def make_network(tiny, num_tasks, per="channel", own=0.9, backbone=None, norm="batch"):
    spec = NetworkSpec(backbone, tiny.tasks(num_tasks), (2, 6, 6)) if backbone else tiny.spec(num_tasks, norm=norm)
    network = spec.build(CrossStitchBuilder(num_tasks, 2, spec.norm, per, own))
    return spec, network


def layers(network):
    return [module for module in network.modules() if isinstance(module, CrossStitchConv)]


def units(network):
    return [module for module in network.modules() if isinstance(module, CrossStitch)]


@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("space", [(4, 5), (2, 3, 4)])
def test_a_unit_is_the_sum_over_tasks(tiny, per, num_tasks, space):
    unit = CrossStitch(num_tasks, 6, per).double()
    tiny.randomise(unit)
    features = torch.randn(num_tasks, 2, 6, *space, dtype=torch.float64, generator=tiny.seeded(1))
    expected = torch.zeros_like(features)
    for task in range(num_tasks):
        for other in range(num_tasks):
            for channel in range(6):
                coefficient = unit.alpha[task, other, channel if per == "channel" else 0]
                expected[task, :, channel] += coefficient * features[other, :, channel]
    torch.testing.assert_close(unit(features), expected)


@pytest.mark.parametrize(
    ("num_tasks", "own", "expected"),
    [(1, 0.9, [[1]]), (2, 0.9, [[0.9, 0.1], [0.1, 0.9]]), (3, 0.5, [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])],
)
def test_coefficients_start_near_the_identity(num_tasks, own, expected):
    unit = CrossStitch(num_tasks, 4, "layer", own)
    torch.testing.assert_close(unit.alpha[: len(expected), :, 0], torch.tensor(expected, dtype=torch.float32))
    assert CrossStitch(num_tasks, 4, "channel", own).alpha.shape == (num_tasks, num_tasks, 4)


def test_an_unknown_granularity_is_refused():
    with pytest.raises(ValueError, match="per must be one of layer, channel, got 'filter'"):
        CrossStitch(2, 4, "filter")


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_without_mixing_the_tasks_have_plain_networks(tiny, num_tasks):
    """Every task's prediction is that of its own convolutions, norms and head, one after the other."""
    spec, network = make_network(tiny, num_tasks, own=1.0)
    with torch.no_grad():
        identity = [unit.alpha.clone() for unit in units(network)]
        tiny.randomise(network)
        for unit, alpha in zip(units(network), identity, strict=True):
            unit.alpha.copy_(alpha)
    predictions = network.eval()(tiny.images(spec))
    for task, name in enumerate(spec.task_names):
        first, second, third = (layer.tasks[task] for layer in layers(network))
        features = torch.nn.functional.max_pool2d(first(tiny.images(spec)), 2)
        features = third(second(features)).mean((2, 3))
        expected = network.heads[name].reader(features)
        torch.testing.assert_close(predictions[name].reshape(expected.shape), expected)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_units_follow_norm_and_activation(tiny, norm):
    _, network = make_network(tiny, 2, norm=norm)
    tiny.randomise(network)
    layer = layers(network.eval())[0]
    image = torch.randn(2, 2, 6, 6, generator=tiny.seeded(1))
    first, second = layer.tasks[0](image), layer.tasks[1](image)
    mixed = layer((image, image, image))
    alpha = layer.unit.alpha[..., None, None]
    torch.testing.assert_close(mixed[0], alpha[0, 0] * first + alpha[0, 1] * second)
    torch.testing.assert_close(mixed[1], alpha[1, 0] * first + alpha[1, 1] * second)
    assert mixed[2] is None


def reached(tiny, spec, network, task):
    """Return which tasks' convolutions get a gradient from one task's loss, by layer."""
    network.zero_grad()
    name = spec.tasks[task].name
    loss = spec.tasks[task].negative_log_likelihood(network(tiny.images(spec))[name], tiny.targets(spec)[name])
    loss.backward()
    weights = [[networks[0].weight for networks in layer.tasks] for layer in layers(network)]
    return [[w.grad is not None and bool((w.grad != 0).any()) for w in row] for row in weights]


@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("backbone", [None, Residual])
@pytest.mark.parametrize("num_tasks", [2, 3])
def test_a_loss_reaches_the_networks_of_all_tasks_through_the_units(tiny, num_tasks, backbone, per):
    spec, network = make_network(tiny, num_tasks, per, backbone=backbone)
    for task in range(num_tasks):
        assert all(all(row) for row in reached(tiny, spec, network, task))


@pytest.mark.parametrize("backbone", [None, Residual])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_without_mixing_a_loss_reaches_its_own_network_only(tiny, num_tasks, backbone):
    spec, network = make_network(tiny, num_tasks, own=1.0, backbone=backbone)
    for task in range(num_tasks):
        assert all(row == [other == task for other in range(num_tasks)] for row in reached(tiny, spec, network, task))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_residual_networks_have_a_block_per_task_and_rebuild(tiny, num_tasks):
    spec, network = make_network(tiny, num_tasks, "layer", backbone=Residual)
    tiny.randomise(network)
    assert len(network.backbone.blocks.blocks) == num_tasks
    again = Structure.from_dict(cross_stitch_structure("layer").to_dict()).build(spec)
    again.load_state_dict(network.state_dict())
    expected, found = network.eval()(tiny.images(spec)), again(tiny.images(spec))
    assert all(torch.equal(found[name], expected[name]) for name in spec.task_names)


def test_a_structure_with_an_unknown_granularity_is_refused(tiny):
    with pytest.raises(SFGSearchError, match="'cross_stitch' cannot be built"):
        Structure("cross_stitch", {"per": "filter"}).build(tiny.spec(2))


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_the_cost_is_that_of_all_networks_and_their_units(tiny, num_tasks):
    spec, network = make_network(tiny, num_tasks)
    shapes = ((7, 2, 36), (6, 7, 9), (5, 6, 9))  # filters, input channels and pixels of every layer
    readers = [head.reader for head in network.heads.values()]
    weights = sum(filters * channels * 9 for filters, channels, _ in shapes)
    norms = sum(2 * filters for filters, _, _ in shapes)
    coefficients = sum(filters for filters, _, _ in shapes)
    cost = complexity(network, spec.image_shape)
    own = num_tasks * (weights + norms) + sum(reader.weight.numel() + len(reader.bias) for reader in readers)
    assert cost.parameters == own + num_tasks**2 * coefficients
    convolutions = sum(filters * channels * 9 * pixels for filters, channels, pixels in shapes)
    mixing = sum(filters * pixels for filters, _, pixels in shapes)
    read = sum(reader.weight.numel() for reader in readers)
    assert cost.macs == num_tasks * convolutions + num_tasks**2 * mixing + read


def test_volumes_are_mixed_alike(tiny):
    spec = tiny.spec(2, dimensions=3)
    network = spec.build(CrossStitchBuilder(2, 3, spec.norm, own=1.0)).eval()
    name = spec.task_names[1]
    features = tiny.images(spec)
    for layer, pool in zip(layers(network), (2, 1, 1), strict=True):
        features = torch.nn.functional.max_pool3d(layer.tasks[1](features), pool)
    expected = network.heads[name].reader(features.mean((2, 3, 4)))
    torch.testing.assert_close(network(tiny.images(spec))[name].reshape(expected.shape), expected)
