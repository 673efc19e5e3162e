"""Cross-stitch networks against loops written by hand, and against plain networks."""

import copy
import functools

import pytest
import torch
from lockstep_references import BACKBONES, SIZES, cross_stitched, spec_of
from torch import nn

from sfgsearch.backbones import vgg_small
from sfgsearch.errors import SFGSearchError
from sfgsearch.graph import LockstepNetwork, Reading
from sfgsearch.nn import (
    CrossStitch,
    MultiTaskNetwork,
    NetworkSpec,
    Structure,
    build_cross_stitch,
    complexity,
    cross_stitch_structure,
    reestimate_statistics,
)
from sfgsearch.tasks import Classification, DenseRegression, Segmentation


def make_network(tiny, spec, per="channel", own=0.9):
    """Build a network with random numbers, coefficients included."""
    network = build_cross_stitch(spec, per, own, tiny.seeded(0))
    tiny.randomise(network)
    return network.double()


def without_mixing(tiny, spec):
    network = build_cross_stitch(spec, own=1.0, generator=tiny.seeded(0))
    tiny.randomise(network.copies)
    return network.double()


def images_of(tiny, spec):
    return tiny.images(spec).double()


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("training", [True, False])
def test_layers_read_mixed_features(tiny, name, num_tasks, per, training):
    spec = spec_of(name, num_tasks)
    network = make_network(tiny, spec, per).train(training)
    images = images_of(tiny, spec)
    found, expected = list(network(images).values()), cross_stitched(name, network, images)
    parameters = list(network.parameters())
    gradients = [
        torch.autograd.grad(sum(prediction.square().sum() for prediction in predictions), parameters)
        for predictions in (found, expected)
    ]
    for one, other in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * max(1.0, float(other.detach().abs().max())))


class Apart(Reading):
    """Copies that do not read each other."""

    def sources(self, layer, copy):
        del layer
        return (copy,)

    def forward(self):
        return lambda _layer, values, _copies: values


def plain_networks(network):
    """Return copies of what every task has of its own, as plain networks."""
    heads = zip(network.tasks, network.ordered_heads, strict=True)
    parts = zip(network.copies, heads, strict=True)
    return [MultiTaskNetwork(*copy.deepcopy((own, {task: head}))) for own, (task, head) in parts]


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
def test_copies_that_do_not_read_each_other_are_plain_networks(tiny, name, num_tasks):
    """Exactly, with all that training changes."""
    spec = spec_of(name, num_tasks)
    mixed = make_network(tiny, spec)
    network = LockstepNetwork(spec.analysis, mixed.copies, mixed.ordered_heads, spec.task_names, Apart())
    plain = plain_networks(network)
    for mode in (True, False):
        found = network.train(mode)(images_of(tiny, spec))
        for (task, prediction), member in zip(found.items(), plain, strict=True):
            assert torch.equal(prediction, member.train(mode)(images_of(tiny, spec))[task])
    for own, member in zip(network.copies, plain, strict=True):
        expected = member.backbone.state_dict()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in own.state_dict().items())


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
def test_without_mixing_the_tasks_have_plain_networks(tiny, name, num_tasks):
    spec = spec_of(name, num_tasks)
    network = without_mixing(tiny, spec).eval()
    for (task, prediction), member in zip(network(images_of(tiny, spec)).items(), plain_networks(network), strict=True):
        torch.testing.assert_close(prediction, member.eval()(images_of(tiny, spec))[task], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("num_tasks", "own", "expected"),
    [(1, 0.9, [[1]]), (2, 0.9, [[0.9, 0.1], [0.1, 0.9]]), (3, 0.5, [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])],
)
def test_coefficients_start_near_the_identity(num_tasks, own, expected):
    analysis = spec_of("vgg", num_tasks).analysis
    for alpha in CrossStitch(analysis, "layer", own).alphas:
        torch.testing.assert_close(alpha[: len(expected), :, 0], torch.tensor(expected, dtype=torch.float32))
    shapes = [tuple(alpha.shape) for alpha in CrossStitch(analysis, "channel", own).alphas]
    assert shapes == [(num_tasks, num_tasks, filters) for filters in (4, 5, 6)]


def test_an_unknown_granularity_is_refused():
    with pytest.raises(ValueError, match="per must be one of layer, channel, got 'filter'"):
        CrossStitch(spec_of("vgg", 2).analysis, "filter")


def reached(tiny, spec, network, task):
    """Return for every copy of the backbone whether a task's loss has a gradient in all its parameters, and in any."""
    network.zero_grad()
    name = spec.tasks[task].name
    predictions, targets = network.float()(tiny.images(spec)), tiny.targets(spec)
    spec.tasks[task].negative_log_likelihood(predictions[name], targets[name]).backward()
    found = [[p.grad is not None and bool((p.grad != 0).any()) for p in own.parameters()] for own in network.copies]
    return [(all(own), any(own)) for own in found]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("num_tasks", [2, 3])
def test_gradients_cross_between_tasks_through_units_only(tiny, name, num_tasks):
    spec = spec_of(name, num_tasks)
    mixed, plain = build_cross_stitch(spec, generator=tiny.seeded(0)), without_mixing(tiny, spec)
    for task in range(num_tasks):
        assert all(every for every, _ in reached(tiny, spec, mixed, task))
        assert [some for _, some in reached(tiny, spec, plain, task)] == [other == task for other in range(num_tasks)]


def test_the_networks_of_the_tasks_start_from_different_weights(tiny):
    network = build_cross_stitch(tiny.spec(2), generator=tiny.seeded(0))
    first, second = (dict(own.named_parameters()) for own in network.copies)
    assert all(not torch.equal(first[name], second[name]) for name in first if "conv" in name)


@pytest.mark.parametrize(("name", "num_tasks"), SIZES)
def test_a_structure_rebuilds_the_network(tiny, name, num_tasks):
    spec = spec_of(name, num_tasks)
    network = make_network(tiny, spec, "layer").float()
    images = tiny.images(spec)
    reestimate_statistics(network, [images, images + 1])
    again = Structure.from_dict(cross_stitch_structure("layer").to_dict()).build(spec)
    again.load_state_dict(network.state_dict())
    expected, found = network.eval()(images), again(images)
    assert all(torch.equal(found[task], expected[task]) for task in spec.task_names)


def test_a_structure_with_an_unknown_granularity_is_refused(tiny):
    with pytest.raises(SFGSearchError, match="'cross_stitch' cannot be built"):
        Structure("cross_stitch", {"per": "filter"}).build(tiny.spec(2))


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_the_cost_is_that_of_all_networks_and_their_units(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    network = build_cross_stitch(spec)
    shapes = ((7, 2, 36), (6, 7, 9), (5, 6, 9))  # filters, input channels and pixels of every layer
    outputs = sum(task.outputs for task in spec.tasks)
    cost = complexity(network, spec.image_shape)
    own = sum(filters * channels * 9 + 2 * filters for filters, channels, _ in shapes)
    coefficients = sum(filters for filters, _, _ in shapes)
    assert cost.parameters == num_tasks * own + outputs * (5 + 1) + num_tasks**2 * coefficients
    convolutions = sum(filters * channels * 9 * pixels for filters, channels, pixels in shapes)
    mixing = num_tasks * (7 * 9 + 6 * 9)  # after the pool, for every task
    assert (
        cost.macs == num_tasks * (convolutions + mixing) + 5 * outputs + num_tasks**2 * 5
    )  # heads read pooled features


def test_volumes_are_mixed_alike(tiny):
    spec = tiny.spec(2, dimensions=3)
    network = without_mixing(tiny, spec).eval()
    for (task, prediction), member in zip(network(images_of(tiny, spec)).items(), plain_networks(network), strict=True):
        torch.testing.assert_close(prediction, member.eval()(images_of(tiny, spec))[task], rtol=1e-12, atol=1e-12)


class AnySize(nn.Module):
    """Features that are brought back to the size of the images, which depends on them."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, images):
        features = torch.relu(self.down(images))
        return self.up(nn.functional.interpolate(features, size=images.shape[2:]))


DENSE = (Segmentation("organs", num_classes=3), DenseRegression("ct", hidden=4), Classification("sex"))


@pytest.mark.parametrize("backbone", [functools.partial(vgg_small, plan=(4, "pool", 5)), lambda _shape: AnySize()])
def test_dense_tasks_predict_images_of_any_size(tiny, backbone):
    spec = NetworkSpec(backbone, DENSE, (2, 6, 8))
    network = without_mixing(tiny, spec).eval()
    images = torch.randn(1, 2, 9, 11, generator=tiny.seeded(1), dtype=torch.float64)
    for (task, prediction), member in zip(network(images).items(), plain_networks(network), strict=True):
        torch.testing.assert_close(prediction, member(images)[task], rtol=1e-12, atol=1e-12)


def test_images_of_another_size_are_refused_where_the_graph_is_for_one(tiny):
    network = build_cross_stitch(tiny.spec(2))
    with pytest.raises(ValueError, match="images must be of the size that was analysed"):
        network(torch.zeros(2, 2, 7, 6))


def test_programs_take_any_number_of_images(tiny):
    spec = spec_of("resnet", 2)
    network = make_network(tiny, spec).float().eval()
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(network, (tiny.images(spec),), dynamic_shapes=dynamic).module()
    images = tiny.images(spec, 3, seed=1)
    for task, prediction in program(images).items():
        torch.testing.assert_close(prediction, network(images)[task])


def test_dropout_and_modes_are_those_of_training(tiny):
    class Dropping(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 1))

    spec = NetworkSpec(lambda _shape: Dropping(), tiny.tasks(2), (2, 6, 6))
    network = build_cross_stitch(spec, generator=tiny.seeded(0))
    images = tiny.images(spec)
    first, second = network.train()(images), network(images)
    assert all(not torch.equal(first[name], second[name]) for name in spec.task_names)
    first, second = network.eval()(images), network(images)
    assert all(torch.equal(first[name], second[name]) for name in spec.task_names)
