"""Routed networks, against one plain network per task whose channels are masked by hand."""

import functools

import pytest
import torch
from awkward_networks import LayerNorm2d, OptionA, Residual, conv

from sfgsearch.errors import AllocationError, SFGSearchError
from sfgsearch.functional import random_masks
from sfgsearch.nn import NetworkSpec, RoutedNetwork, Structure, complexity, routed_allocation, routed_structure

NORMS = ["batch", "instance", "none"]


def residual(image_shape):
    inner = torch.nn.Sequential(conv(6, 5), conv(5, 6))
    return torch.nn.Sequential(conv(image_shape[0], 6), Residual(inner), OptionA(6, 10))


def normalised(kind, image_shape):
    """Two convolutions, after the first of which a norm covers several channels."""
    norm = LayerNorm2d(8) if kind == "layer" else torch.nn.GroupNorm(2, 8)
    return torch.nn.Sequential(torch.nn.Conv2d(image_shape[0], 8, 3), norm, torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))


def make_network(tiny, num_tasks, sharing=0.4, norm="batch", backbone=None, dimensions=2, seed=0):
    spec = tiny.spec(num_tasks, dimensions, norm)
    if backbone:
        spec = NetworkSpec(backbone, spec.tasks, (2, 6, 6))
    masks = {name: random_masks(width, num_tasks, sharing, tiny.seeded(seed)) for name, width in spec.filters.items()}
    network = RoutedNetwork(spec.build(), spec.analysis, masks)
    tiny.randomise(network, seed)
    return spec, network.double(), masks


def norms_of(network, task):
    """Return a task's norms by the names that they have in the plain network."""
    plain = network.network.backbone
    paths = [path for path, module in plain.named_modules() if "Norm" in type(module).__name__]
    return dict(zip(paths, map(plain.get_submodule, paths) if task == 0 else network.norms[task - 1], strict=True))


def predictions_by_hand(tiny, spec, network, masks, dimensions):
    """Return the predictions of vgg_small, every task's features masked after norm and activation."""
    plain, found = network.network, {}
    pool = torch.nn.functional.max_pool2d if dimensions == 2 else torch.nn.functional.max_pool3d
    for task, name in enumerate(spec.task_names):
        features, norms = tiny.images(spec).double(), norms_of(network, task)
        for index, size in ((1, 2), (2, 1), (3, 1)):
            features = plain.backbone.get_submodule(f"conv{index}")(features)
            features = (norms[f"norm{index}"](features) if norms else features).relu()
            features[:, ~masks[f"conv{index}"][task]] = 0
            features = pool(features, size)
        found[name] = plain.heads[name](features)
    return found


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_every_task_has_a_masked_network(tiny, num_tasks, norm, dimensions):
    spec, network, masks = make_network(tiny, num_tasks, norm=norm, dimensions=dimensions)
    found = network.eval()(tiny.images(spec).double())
    for name, expected in predictions_by_hand(tiny, spec, network, masks, dimensions).items():
        torch.testing.assert_close(found[name], expected)


def narrow(source, kept):
    """Return the state of a norm for some of its channels."""
    return {key: value[kept] if value.ndim else value for key, value in source.state_dict().items()}


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_task_is_a_narrower_plain_network(tiny, num_tasks):
    """What a task masks has no part in its prediction: a network without these filters predicts the same."""
    spec, network, masks = make_network(tiny, num_tasks)
    found = network.eval()(tiny.images(spec).double())
    for task, name in enumerate(spec.task_names):
        features, read = tiny.images(spec).double(), torch.ones(2, dtype=torch.bool)
        for (layer, mask), pool in zip(masks.items(), (2, 1, 1), strict=True):
            kept = mask[task]
            norm = torch.nn.BatchNorm2d(int(kept.sum())).double().eval()
            norm.load_state_dict(narrow(norms_of(network, task)[layer.replace("conv", "norm")], kept))
            weight = network.network.backbone.get_submodule(layer).weight[kept][:, read]
            features = torch.nn.functional.conv2d(features, weight, padding=1)
            features, read = torch.nn.functional.max_pool2d(norm(features).relu(), pool), kept
        reader = network.network.heads[name].reader
        expected = features.mean((2, 3)) @ reader.weight[:, read].T + reader.bias
        torch.testing.assert_close(found[name].reshape(expected.shape), expected)


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_norms_over_channels_cover_those_that_a_task_holds(tiny, kind):
    """A task's prediction is that of a network whose norm never saw the others' channels."""
    spec, network, masks = make_network(tiny, 2, backbone=functools.partial(normalised, kind))
    found, plain = network.eval()(tiny.images(spec).double()), network.network
    for task, name in enumerate(spec.task_names):
        norm, mask = norms_of(network, task)["1"], masks["0"][task]
        features = plain.backbone[0](tiny.images(spec).double())
        for block in torch.arange(8).chunk(norm.num_groups if kind == "group" else 1):
            held = block[mask[block]]
            dims = (1, 2, 3) if kind == "group" else (1,)
            own = features[:, held]
            moments = own.mean(dims, keepdim=True), own.var(dims, unbiased=False, keepdim=True)
            own = (own - moments[0]) / (moments[1] + norm.eps).sqrt()
            features[:, held] = own * norm.weight[held, None, None] + norm.bias[held, None, None]
        features = features.relu() * mask[:, None, None]
        features = plain.backbone[3](features) * masks["3"][task][:, None, None]
        torch.testing.assert_close(found[name], plain.heads[name](features))


BACKBONES = [None, residual, functools.partial(normalised, "layer"), functools.partial(normalised, "group")]


@pytest.mark.parametrize("backbone", BACKBONES, ids=["vgg", "residual", "layer norm", "group norm"])
@pytest.mark.parametrize("num_tasks", [1, 3])
def test_tasks_that_hold_all_run_the_plain_network(tiny, num_tasks, backbone):
    spec, network, _ = make_network(tiny, num_tasks, sharing=1.0, backbone=backbone)
    images = tiny.images(spec).double()
    found, expected = {}, {}
    for task, name in enumerate(spec.task_names):
        plain = spec.build().double()
        plain.load_state_dict(network.network.state_dict())
        for path, norm in norms_of(network, task).items():
            plain.backbone.get_submodule(path).load_state_dict(norm.state_dict())
        expected[name] = plain(images)[name]
    found = network(images)
    exactly = {} if backbone in BACKBONES[2:] else {"rtol": 0, "atol": 0}  # by group, norms sum in another order
    for name in spec.task_names:
        torch.testing.assert_close(found[name], expected[name], **exactly)


def test_training_moves_the_statistics_of_every_task_as_its_own_features_do(tiny):
    spec, network, masks = make_network(tiny, 2, sharing=0.0)
    images = tiny.images(spec, 8).double()
    before = [norms_of(network, task)["norm2"].running_mean.clone() for task in range(2)]
    network.train()(images)
    features = network.network.backbone.conv1(images)
    for task in range(2):
        norms = norms_of(network, task)
        shape = (1, -1, 1, 1)
        first = (features - features.mean((0, 2, 3)).view(shape)) / (
            features.var((0, 2, 3), unbiased=False).view(shape) + norms["norm1"].eps
        ).sqrt()
        first = (first * norms["norm1"].weight.view(shape) + norms["norm1"].bias.view(shape)).relu()
        first = torch.nn.functional.max_pool2d(first * masks["conv1"][task].view(shape), 2)
        mean = network.network.backbone.conv2(first).mean((0, 2, 3))
        torch.testing.assert_close(norms["norm2"].running_mean, 0.9 * before[task] + 0.1 * mean)
        assert [int(norm.num_batches_tracked) for norm in norms.values()] == [1, 1, 1]


def test_masked_filters_of_residual_networks_are_read_by_nothing(tiny):
    """Neither where they are added nor in a wider layer does another task's filter change a prediction."""
    spec, network, masks = make_network(tiny, 3, sharing=0.0, backbone=residual)
    images = tiny.images(spec).double()
    before = network.eval()(images)
    rows = torch.cat([torch.zeros(3, 1), *masks.values(), torch.ones(3, len(spec.analysis.heads))], 1)
    for task, name in enumerate(spec.task_names):
        _, other, _ = make_network(tiny, 3, sharing=0.0, backbone=residual)
        with torch.no_grad():
            for layer in spec.analysis.layers[: -len(spec.tasks)]:
                foreign = rows[task, layer.writes.flatten()] == 0
                other.network.get_parameter(layer.weight)[foreign] += 1
        after = other.eval()(images)
        assert torch.equal(after[name], before[name])
        assert not all(torch.equal(after[one], before[one]) for one in spec.task_names)


def task_loss(tiny, spec, network, task):
    name = spec.tasks[task].name
    prediction = network(tiny.images(spec, 8).double())[name]
    targets = tiny.targets(spec, 8)[name]
    return spec.tasks[task].negative_log_likelihood(
        prediction, targets.double() if targets.is_floating_point() else targets
    )


def rows(gradient):
    return (gradient != 0).flatten(1).any(1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_loss_reaches_the_filters_that_its_task_holds_and_no_other(tiny, num_tasks, norm):
    spec, network, masks = make_network(tiny, num_tasks, norm=norm)
    for task in range(num_tasks):
        network.zero_grad()
        task_loss(tiny, spec, network, task).backward()
        for layer, mask in masks.items():
            assert torch.equal(rows(network.network.backbone.get_submodule(layer).weight.grad), mask[task])


@pytest.mark.parametrize("backbone", [None, residual])
def test_a_loss_reaches_norms_of_its_own_task_only(tiny, backbone):
    spec, network, _ = make_network(tiny, 3, backbone=backbone)
    for task in range(3):
        network.zero_grad()
        task_loss(tiny, spec, network, task).backward()
        for other in range(3):
            for norm in norms_of(network, other).values():
                assert (norm.weight.grad is not None and bool(norm.weight.grad.any())) == (other == task)


def test_filters_of_several_tasks_receive_the_sum_of_their_losses(tiny):
    gradients = []
    for tasks in ([0], [1], [0, 1]):
        spec, network, _ = make_network(tiny, 2)
        sum(task_loss(tiny, spec, network, task) for task in tasks).backward()
        gradients.append(network.network.backbone.conv1.weight.grad)
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2])


@pytest.mark.parametrize("num_tasks", [1, 3])
def test_every_task_is_a_pass_at_full_width(tiny, num_tasks):
    spec, network, _ = make_network(tiny, num_tasks)
    shapes = ((7, 2, 36), (6, 7, 9), (5, 6, 9))  # filters, input channels and pixels of every layer
    read = sum(head.reader.weight.numel() for head in network.network.heads.values())
    macs = sum(filters * channels * 9 * pixels for filters, channels, pixels in shapes)
    assert complexity(network, spec.image_shape).macs == num_tasks * macs + read


@pytest.mark.parametrize("backbone", [None, residual])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_structures_rebuild_networks(tiny, num_tasks, backbone):
    spec, network, masks = make_network(tiny, num_tasks, backbone=backbone)
    again = Structure.from_dict(routed_structure(masks).to_dict()).build(spec).double()
    assert torch.equal(again.masks.bool(), torch.cat(list(masks.values()), 1))
    again.load_state_dict(network.state_dict())
    images = tiny.images(spec).double()
    expected, found = network.eval()(images), again(images)
    assert all(torch.equal(found[name], expected[name]) for name in spec.task_names)


@pytest.mark.parametrize("backbone", BACKBONES[1:3], ids=["residual", "layer norm"])
def test_networks_can_be_traced_for_any_number_of_images(tiny, backbone):
    spec, network, _ = make_network(tiny, 2, backbone=backbone)
    images = tiny.images(spec, 5).double()
    free = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(network.eval(), (images[:2],), dynamic_shapes=free).module()
    for name, prediction in program(images).items():
        torch.testing.assert_close(prediction, network(images)[name])


def test_filters_count_by_how_many_tasks_hold_them():
    masks = {"conv": torch.tensor([[1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 1]], dtype=torch.bool)}
    (layer,) = routed_allocation(masks, ("digit", "angle", "colour")).layers
    assert layer.counts == (1, 1, 1, 2)


@pytest.mark.parametrize("mask", [torch.ones(2, 6), torch.ones(3, 7), torch.ones(2, 7) * torch.tensor([[0], [1]])])
def test_masks_that_do_not_fit_are_refused(tiny, mask):
    _, network, masks = make_network(tiny, 2)
    with pytest.raises(AllocationError, match=r"'conv1' needs masks of shape \(2, 7\)"):
        network.set_masks({**masks, "conv1": mask.bool()})


def test_masks_of_other_layers_are_refused(tiny):
    spec, network, masks = make_network(tiny, 2)
    with pytest.raises(AllocationError, match="'conv9' does not fit"):
        network.set_masks({**masks, "conv9": masks["conv1"]})
    with pytest.raises(SFGSearchError, match="does not fit"):
        Structure("routed", {"masks": {}}).build(spec)
