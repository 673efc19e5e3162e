"""A converted network computes what the plain one computes while everything is shared."""

import pytest
import torch
from torch import nn

from sfgsearch.errors import BackboneError
from sfgsearch.nn import EachStream, GateSampling, SFGConv2d, SFGConv3d, convert, reestimate_statistics, sfg_layers


def plain_2d():
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6, eps=1e-2), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        nn.Sequential(
            nn.Conv2d(6, 5, 3, stride=2, padding="valid", bias=False), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.5)
        ),
        nn.Conv2d(5, 7, (1, 3), padding=(0, 1), dilation=(1, 1)),
        nn.InstanceNorm2d(7, affine=True),
        nn.PReLU(7),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(28, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(inplace=True),
        nn.Linear(8, 3),
    )


def plain_3d():
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=2, dilation=2),
        nn.BatchNorm3d(4),
        nn.GELU(),
        nn.AvgPool3d(2),
        nn.Conv3d(4, 3, 3, padding="same"),
        nn.Sigmoid(),
    )


MODELS = {"2D": (plain_2d, (2, 12, 12)), "3D": (plain_3d, (2, 6, 6, 6))}


@pytest.fixture(params=list(MODELS))
def model(request, tiny):
    make, shape = MODELS[request.param]
    network = make()
    tiny.randomise(network)
    return network.eval(), torch.randn(4, *shape, generator=tiny.seeded(3))


def share_everything(network, num_tasks):
    for layer in sfg_layers(network).values():
        layer.groups.fix(torch.full((layer.out_channels,), num_tasks))
    return network


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_all_shared_is_the_plain_network(model, num_tasks, training):
    plain, images = model
    plain.train(training)
    for part in plain.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    outputs = share_everything(convert(plain, num_tasks), num_tasks)(images)
    assert len(outputs) == num_tasks
    with torch.no_grad():
        expected = plain(images)
    for output in outputs:
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_it_stays_the_plain_network_when_statistics_are_reestimated(model):
    plain, images = model
    converted = share_everything(convert(plain, 2), 2)
    for network in (plain, converted):
        reestimate_statistics(network, [images, 2 * images])
    torch.testing.assert_close(converted(images)[1], plain(images), rtol=1e-5, atol=1e-5)


def test_layers_take_over_everything_and_the_model_stays(model):
    plain, images = model
    before = plain(images)
    converted = convert(plain, 2, prior=[0.2, 0.3, 0.5])
    layers = sfg_layers(converted)
    for name, layer in layers.items():
        source = plain.get_submodule(name)
        assert type(layer) is (SFGConv2d if isinstance(source, nn.Conv2d) else SFGConv3d)
        assert torch.equal(layer.weight, source.weight)
        assert layer.weight is not source.weight
        assert (layer.bias is None) == (source.bias is None)
        torch.testing.assert_close(layer.groups.probs, torch.tensor([0.2, 0.3, 0.5]).expand(layer.out_channels, 3))
        assert len(layer.norms) == 3
    with torch.no_grad():
        for parameter in converted.parameters():
            parameter.add_(1)
    assert torch.equal(plain(images), before)


def test_layers_are_named_by_their_place():
    assert list(sfg_layers(convert(plain_2d(), 2))) == ["0.0", "2.0", "3"]


def test_folding():
    converted = convert(plain_2d(), 2)
    assert [type(module) for module in converted.trunk] == [SFGConv2d, EachStream, SFGConv2d, EachStream, SFGConv2d]
    first, _, second, _, third = converted.trunk
    assert [type(norm) for norm in first.norms] == [nn.BatchNorm2d] * 3
    assert {norm.eps for norm in first.norms} == {1e-2}
    assert [type(norm) for norm in second.norms] == [nn.Identity] * 3
    assert isinstance(second.activation, nn.LeakyReLU)
    assert isinstance(third.activation, nn.PReLU)
    assert [type(module) for module in converted.heads[0]] == [
        *(nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear)
    ]


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_loss_reaches_its_own_and_the_shared_filters(tiny, num_tasks):
    plain = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3), nn.Flatten(), nn.Linear(24, 1))
    converted = convert(plain, num_tasks)
    assignment = torch.arange(6) % (num_tasks + 1)
    for layer in sfg_layers(converted).values():
        layer.groups.fix(assignment)
    converted(torch.randn(2, 2, 6, 6, generator=tiny.seeded(0)))[0].sum().backward()
    for layer in sfg_layers(converted).values():
        for gradient, group in zip(layer.weight.grad, assignment.tolist(), strict=True):
            assert bool(gradient.any()) == (group in (0, num_tasks))
    assert all(parameter.grad is None for head in converted.heads[1:] for parameter in head.parameters())


def test_it_trains_with_sampled_gates(model):
    plain, images = model
    sampling = GateSampling(temperature=0.5, generator=torch.Generator().manual_seed(0))
    converted = convert(plain.train(), 2, sampling=sampling)
    outputs = converted(images)
    sum(output.square().sum() for output in outputs).backward()
    assert not torch.equal(*outputs)
    for layer in sfg_layers(converted).values():
        assert layer.groups.sampling is sampling
        assert bool(layer.groups.logits.grad.any())
        assert bool(layer.weight.grad.any())


def test_outputs_are_named_where_tasks_are(model):
    plain, images = model
    outputs = convert(plain, 2, tasks=["age", "gender"])(images)
    assert list(outputs) == ["age", "gender"]


def test_mode_precision_frozen_weights_and_random_state_are_kept():
    plain = plain_2d().double().eval()
    plain[3].weight.requires_grad_(False)
    before = torch.random.get_rng_state()
    converted = convert(plain, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(module.training for module in converted.modules())
    assert {value.dtype for value in converted.parameters()} == {torch.float64}
    assert not sfg_layers(converted)["3"].weight.requires_grad


def test_a_module_that_is_used_twice_counts_twice():
    relu = nn.ReLU()
    converted = convert(nn.Sequential(nn.Conv2d(1, 2, 1), relu, nn.Conv2d(2, 3, 1), relu), 1)
    assert [type(layer.activation) for layer in converted.trunk] == [nn.ReLU] * 2


def test_what_comes_before_the_first_convolution_sees_the_image():
    plain = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)).eval()
    image = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(share_everything(convert(plain, 1), 1)(image)[0], plain(image))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, images):
        return images + self.conv(images)


def between(module):
    return nn.Sequential(nn.Conv2d(2, 4, 1), module, nn.Conv2d(4, 4, 1))


def after(module):
    return nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), module)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (between(nn.Conv2d(4, 4, 1, groups=2)), r"1 \(Conv2d\): groups must be 1.*set groups=1"),
        (between(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), "put a padding module before it"),
        (between(nn.LazyConv2d(4, 1)), "use Conv2d or Conv3d"),
        (between(nn.ConvTranspose2d(4, 4, 1)), r"1 \(ConvTranspose2d\): between convolutions only .* write a Backbone"),
        (between(Residual()), r"1 \(Residual\): between convolutions only .* residual connections"),
        (between(nn.GroupNorm(2, 4)), r"1 \(GroupNorm\): .* use a batch or instance norm right after"),
        (between(nn.LayerNorm([4, 4, 4])), r"1 \(LayerNorm\): .* use a batch or instance norm right after"),
        (between(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4))), r"1.1 \(BatchNorm2d\): .* before its activation"),
        (between(nn.Sequential(nn.MaxPool2d(2), nn.Sigmoid())), r"1.1 \(Sigmoid\): between convolutions only"),
        (after(nn.GroupNorm(2, 4)), r"2 \(GroupNorm\): .* before its activation"),
        (after(nn.BatchNorm2d(4)), r"2 \(BatchNorm2d\): .* before its activation"),
        (after(Residual()), r"2 \(Residual\): it has convolutions that would stay as they are"),
        (after(nn.ConvTranspose2d(4, 2, 2)), r"2 \(ConvTranspose2d\): it has convolutions"),
        (Residual(), r"the model \(Residual\): its forward is unknown"),
        (nn.Sequential(nn.Linear(2, 3)), "needs a model with a Conv2d or Conv3d"),
        (nn.Sequential(nn.Conv1d(2, 3, 1)), "needs a model with a Conv2d or Conv3d"),
    ],
    ids=lambda value: "" if isinstance(value, nn.Module) else value[:24],
)
def test_what_cannot_be_gated_is_refused(model, reason):
    with pytest.raises(BackboneError, match=reason):
        convert(model, 2)


@pytest.mark.parametrize("tasks", [["age"], ["age", "age"], ["age", "sex", "age"]])
def test_names_must_fit_the_tasks(tasks):
    with pytest.raises(BackboneError, match="convert needs 2 different task names"):
        convert(plain_3d(), 2, tasks=tasks)


def test_norms_behind_a_linear_layer_are_the_heads_own():
    plain = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 4), nn.LayerNorm(4)).eval()
    image = torch.randn(3, 1, 2, 2)
    torch.testing.assert_close(share_everything(convert(plain, 2), 2)(image)[1], plain(image))
