"""Stochastic layers against a reference written from the equations, in float64."""

import pytest
import torch
from torch.nn import functional

from sfgsearch.nn import FilterGroups, GateSampling, SFGConv2d, SFGConv3d

CONVOLUTIONS = {2: functional.conv2d, 3: functional.conv3d}
LAYERS = {2: SFGConv2d, 3: SFGConv3d}
CHANNELS, FILTERS, BATCH = 2, 5, 3


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make_layer(tiny, dimensions, num_tasks, **options):
    layer = LAYERS[dimensions](CHANNELS, FILTERS, options.pop("kernel_size", 3), num_tasks, **options).double()
    tiny.randomise(layer)
    return layer


def make_streams(dimensions, num_tasks, seed=1):
    shape = (BATCH, CHANNELS, *(6, 5, 4)[:dimensions])
    generator = seeded(seed)
    return tuple(torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(num_tasks + 1))


def soft_gates(num_tasks):
    return torch.rand(FILTERS, num_tasks + 1, dtype=torch.float64, generator=seeded(2)).softmax(1)


def normalise(norm, response, training):
    if isinstance(norm, torch.nn.Identity):
        return response
    result = torch.zeros_like(response)
    batch, channels = response.shape[:2]
    for channel in range(channels):
        for image in range(batch):
            if isinstance(norm, torch.nn.InstanceNorm2d | torch.nn.InstanceNorm3d):
                values = response[image, channel]
            else:
                values = response[:, channel]
            mean, variance = values.mean(), ((values - values.mean()) ** 2).mean()
            if not training and not isinstance(norm, torch.nn.InstanceNorm2d | torch.nn.InstanceNorm3d):
                mean, variance = norm.running_mean[channel], norm.running_var[channel]
            whitened = (response[image, channel] - mean) / (variance + 1e-5) ** 0.5
            result[image, channel] = norm.weight[channel] * whitened + norm.bias[channel]
    return result


def reference(layer, streams, gates, stride=1, padding=0, dilation=1):
    features = []
    for group, stream in enumerate(streams):
        convolve = CONVOLUTIONS[layer.weight.ndim - 2]
        response = convolve(stream, layer.weight, layer.bias, stride, padding, dilation)
        activated = normalise(layer.norms[group], response, layer.training)
        activated = activated * (activated > 0)
        masked = torch.zeros_like(activated)
        for channel in range(activated.shape[1]):
            masked[:, channel] = gates[channel, group] * activated[:, channel]
        features.append(masked)
    return [feature + features[-1] for feature in features[:-1]] + [features[-1]]


def assert_same_streams(actual, expected):
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("image", [True, False], ids=["image", "streams"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm", ["none", "instance", "batch"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_forward_and_backward_equal_the_reference(tiny, dimensions, num_tasks, norm, training, image):
    layer = make_layer(tiny, dimensions, num_tasks, norm=norm, padding=1).train(training)
    gates, streams = soft_gates(num_tasks).requires_grad_(), make_streams(dimensions, num_tasks)
    if image:
        streams = (streams[0],) * (num_tasks + 1)
    expected = reference(layer, streams, gates, padding=1)
    actual = layer(streams[0] if image else streams, gates)
    assert_same_streams(actual, expected)

    leaves = [gates, *(parameter for name, parameter in layer.named_parameters() if "logits" not in name)]
    probe = torch.randn(actual[0].shape, dtype=torch.float64, generator=seeded(3))
    gradients = [
        torch.autograd.grad(sum((task + 1) * (stream * probe).sum() for task, stream in enumerate(outputs)), leaves)
        for outputs in (actual, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": 2},
        {"stride": (2, 1), "padding": (0, 1)},
        {"padding": 2, "dilation": 2},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
        {"kernel_size": (1, 3), "padding": "same"},
        {"kernel_size": 1},
    ],
    ids=str,
)
def test_geometry_in_two_dimensions(tiny, geometry):
    layer, streams, gates = make_layer(tiny, 2, 2, **geometry), make_streams(2, 2), soft_gates(2)
    sizes = {name: value for name, value in geometry.items() if name != "kernel_size"}
    assert_same_streams(layer(streams, gates), reference(layer, streams, gates, **sizes))


@pytest.mark.parametrize(
    "geometry",
    [{"stride": (1, 2, 1)}, {"padding": (0, 1, 2)}, {"padding": "same", "dilation": (1, 2, 1)}, {"kernel_size": 1}],
    ids=str,
)
def test_geometry_in_three_dimensions(tiny, geometry):
    layer, streams, gates = make_layer(tiny, 3, 2, **geometry), make_streams(3, 2), soft_gates(2)
    sizes = {name: value for name, value in geometry.items() if name != "kernel_size"}
    assert_same_streams(layer(streams, gates), reference(layer, streams, gates, **sizes))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_image_is_that_image_for_every_group(tiny, dimensions):
    layer, image, gates = make_layer(tiny, dimensions, 2), make_streams(dimensions, 2)[0], soft_gates(2)
    assert_same_streams(layer(image, gates), layer((image, image.clone(), image.clone()), gates))


def test_single_precision_stays_close(tiny):
    layer = make_layer(tiny, 2, 2)
    expected = reference(layer, make_streams(2, 2), soft_gates(2))
    actual = layer.float()(tuple(stream.float() for stream in make_streams(2, 2)), soft_gates(2).float())
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


def test_one_hot_gates_concatenate_own_and_shared_channels(tiny):
    layer, streams = make_layer(tiny, 2, 2).eval(), make_streams(2, 2)
    assignment = torch.tensor([0, 2, 1, 2, 0])
    layer.groups.fix(assignment)
    outputs = layer(streams)
    everything = [layer(streams, torch.ones(FILTERS, 3).double())[2]] * 2
    for channel, group in enumerate(assignment.tolist()):
        for task in range(2):
            if group not in (task, 2):
                assert not outputs[task][:, channel].any()
        assert (group == 2) == bool(outputs[2][:, channel].any())
        if group == 2:
            assert torch.equal(outputs[0][:, channel], everything[0][:, channel])


def test_a_filter_outside_a_group_is_silent_whatever_the_offset_of_its_norm(tiny):
    layer = make_layer(tiny, 2, 1).train()
    with torch.no_grad():
        for norm in layer.norms:
            norm.bias.fill_(10.0)
    layer.groups.fix(torch.zeros(FILTERS, dtype=torch.int64))
    assert not layer(make_streams(2, 1))[1].any()


def test_training_draws_one_gate_per_pass_from_the_sampling_settings(tiny):
    sampling = GateSampling(temperature=0.7, hard=False, generator=seeded(5))
    layer = make_layer(tiny, 2, 2, groups=FilterGroups(FILTERS, 2, sampling=sampling))
    generator = seeded(5)
    for _ in range(2):
        gates = layer.groups.sample(0.7, generator=generator)
        assert_same_streams(layer(make_streams(2, 2)), layer(make_streams(2, 2), gates))


def test_evaluation_uses_the_most_probable_groups(tiny):
    layer = make_layer(tiny, 2, 2).eval()
    gates = functional.one_hot(layer.groups.probs.argmax(1), 3).double()
    assert_same_streams(layer(make_streams(2, 2)), layer(make_streams(2, 2), gates))


def test_every_group_keeps_statistics_of_its_own(tiny):
    layer, streams = make_layer(tiny, 2, 2).train(), make_streams(2, 2)
    for norm in layer.norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
    layer(streams, soft_gates(2))
    for norm, stream in zip(layer.norms, streams, strict=True):
        response = functional.conv2d(stream, layer.weight)
        torch.testing.assert_close(norm.running_mean, response.mean((0, 2, 3)))


@pytest.mark.parametrize(
    ("norm", "bias", "expected"), [("batch", None, False), ("none", None, True), ("batch", True, True)]
)
def test_a_bias_is_learned_where_no_norm_cancels_it(norm, bias, expected):
    assert (SFGConv2d(2, 3, 1, 2, norm=norm, bias=bias).bias is not None) is expected


def test_no_activation_is_the_identity(tiny):
    layer = make_layer(tiny, 2, 2, activation=None)
    assert any(bool((stream < 0).any()) for stream in layer(make_streams(2, 2), soft_gates(2)))


def test_shapes_of_weight_and_streams():
    assert SFGConv2d(2, 5, (3, 1), 2).weight.shape == (5, 2, 3, 1)
    assert SFGConv3d(2, 5, 3, 2).weight.shape == (5, 2, 3, 3, 3)
    assert [stream.shape for stream in SFGConv2d(2, 5, 3, 2)(torch.randn(4, 2, 6, 6))] == [(4, 5, 4, 4)] * 3


def test_a_given_prior_reaches_the_groups():
    layer = SFGConv2d(2, 5, 3, 2, prior=[0.2, 0.3, 0.5])
    torch.testing.assert_close(layer.groups.log_prior.exp(), torch.tensor([0.2, 0.3, 0.5]))


def test_a_wrong_number_of_streams_is_refused():
    with pytest.raises(ValueError, match="a layer of 2 tasks reads 3 streams, got 2"):
        SFGConv2d(2, 5, 3, 2)((torch.randn(1, 2, 6, 6),) * 2)


def test_an_empty_stream_is_refused():
    image = torch.randn(1, 2, 6, 6)
    with pytest.raises(ValueError, match="stream"):
        SFGConv2d(2, 5, 3, 2)((image, None, image))


@pytest.mark.parametrize("groups", [FilterGroups(4, 2), FilterGroups(5, 1)])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(ValueError, match="the layer has 5 and 2"):
        SFGConv2d(2, 5, 3, 2, groups=groups)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be one of batch, instance, none, got 'layer'"):
        SFGConv2d(2, 5, 3, 2, norm="layer")
