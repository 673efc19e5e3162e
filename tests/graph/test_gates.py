"""What gates do, and what their gradient is, against references that are written from the equations."""

import pytest
import torch
from executions import one_hot
from torch import nn
from torch.nn import functional

from sfgsearch.graph import DenseNetwork, StreamsNetwork, analyse
from sfgsearch.nn import SFGConv2d

WIDTHS = (6, 5, 7)
TASKS = (1, 2, 3)


class Sequential(nn.Module):
    """Three convolutions with batch norm, and a linear head per task."""

    def __init__(self, num_tasks):
        super().__init__()
        channels = (3, *WIDTHS)
        self.convs = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in zip(channels, WIDTHS, strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.heads = nn.ModuleList(nn.Linear(WIDTHS[-1], task + 1) for task in range(num_tasks))

    def forward(self, images):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            images = norm(conv(images)).relu()
        return [head(images.mean((2, 3))) for head in self.heads]


def prepare(num_tasks):
    generator = torch.Generator().manual_seed(num_tasks)
    network = Sequential(num_tasks).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    images = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    return network, images, generator


def loss_of(predictions):
    return sum((task + 1) * prediction.sin().sum() for task, prediction in enumerate(predictions))


def carried(num_tasks):
    """A[g, h]: whether the stream of group g carries filters of group h."""
    table = torch.eye(num_tasks + 1, dtype=torch.float64)
    table[:, -1] = 1
    return table


def gradient_by_hand(network, images, gates):
    """Return the loss and dL/dZ, straight through M = Z_out A Z_in^T, from the gradients of W * M alone."""
    num_tasks = len(network.heads)
    table, split = carried(num_tasks), torch.split(gates, list(WIDTHS))
    heads = [one_hot(torch.full((task + 1,), task), num_tasks) for task in range(num_tasks)]
    layers = [
        *((network.convs[depth].weight, split[depth], split[depth - 1]) for depth in (1, 2)),
        *((head.weight, own, split[2]) for head, own in zip(network.heads, heads, strict=True)),
    ]
    masked = []
    for weight, writes, reads in layers:
        mask = torch.einsum("kg,gh,ch->kc", writes, table, reads)
        masked.append((weight * mask.view(*mask.shape, *[1] * (weight.ndim - 2))).detach().requires_grad_())
    x, weights = images, [network.convs[0].weight, *masked[:2]]
    for conv, norm, weight in zip(network.convs, network.norms, weights, strict=True):
        y = functional.conv2d(x, weight, conv.bias, padding=1)
        x = functional.batch_norm(y, None, None, norm.weight, norm.bias, training=True).relu()
    predictions = [
        functional.linear(x.mean((2, 3)), weight, head.bias)
        for weight, head in zip(masked[2:], network.heads, strict=True)
    ]
    loss = loss_of(predictions)
    of_masked = torch.autograd.grad(loss, masked)
    found = [torch.zeros_like(part) for part in split]
    positions = [(1, 0), (2, 1), *[(None, 2)] * num_tasks]
    for (weight, writes, reads), gradient, (above, below) in zip(layers, of_masked, positions, strict=True):
        of_mask = (gradient * weight).flatten(2).sum(2) if weight.ndim > 2 else gradient * weight
        if above is not None:
            found[above] += torch.einsum("kc,gh,ch->kg", of_mask, table, reads)
        found[below] += torch.einsum("kc,kg,gh->ch", of_mask, writes, table)
    return loss, torch.cat(found)


@pytest.mark.parametrize("num_tasks", TASKS)
def test_the_gradient_of_gates_is_that_of_their_masks(num_tasks):
    network, images, generator = prepare(num_tasks)
    analysis = analyse(network, images)
    assert list(analysis.filters.values()) == list(WIDTHS)
    assignment = torch.randint(num_tasks + 1, (sum(WIDTHS),), generator=generator)
    gates = one_hot(assignment, num_tasks).requires_grad_()
    loss = loss_of(DenseNetwork(network, analysis).train()(images, gates))
    expected_loss, expected = gradient_by_hand(network, images, gates.detach())
    torch.testing.assert_close(loss, expected_loss)
    (gradient,) = torch.autograd.grad(loss, gates)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    assert gradient.any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_tasks", TASKS)
def test_soft_streams_are_layers_of_stochastic_filter_groups(num_tasks, training):
    """Without pools in between, gates after the activation and gates where they are read are the same."""
    network, images, generator = prepare(num_tasks)
    network.train(training)
    gates = torch.rand(sum(WIDTHS), num_tasks + 1, generator=generator, dtype=torch.float64).softmax(1).requires_grad_()
    streams = StreamsNetwork(network, analyse(network, images)).train(training)
    layers = []
    for conv, norm in zip(network.convs, network.norms, strict=True):
        layer = SFGConv2d(conv.in_channels, conv.out_channels, 3, num_tasks, padding=1, bias=True).double()
        layer.weight, layer.bias = conv.weight, conv.bias
        for own in layer.norms:
            own.load_state_dict(norm.state_dict())
            own.weight, own.bias = norm.weight, norm.bias
        layers.append(layer.train(training))
    x = images
    for layer, own in zip(layers, torch.split(gates, list(WIDTHS)), strict=True):
        x = layer(x, own)
    expected = [head(x[task].mean((2, 3))) for task, head in enumerate(network.heads)]
    found = streams(images, gates)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    leaves = [gates, *network.parameters()]
    gradients = [torch.autograd.grad(loss_of(predictions), leaves) for predictions in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("num_tasks", TASKS)
def test_a_group_reads_itself_and_what_is_shared(num_tasks):
    network, images, _ = prepare(num_tasks)
    analysis = analyse(network, images)
    assignment = torch.arange(sum(WIDTHS)) % (num_tasks + 1)
    masks = DenseNetwork(network, analysis).masks(one_hot(assignment, num_tasks))
    groups = torch.split(assignment, list(WIDTHS))
    assert "convs.0.weight" not in masks  # everybody reads the image
    for depth in (1, 2):
        for row, writes in zip(masks[f"convs.{depth}.weight"].tolist(), groups[depth].tolist(), strict=True):
            assert row == [float(reads in (writes, num_tasks)) for reads in groups[depth - 1].tolist()]
    for task in range(num_tasks):
        mask = masks[f"heads.{task}.weight"]
        assert mask[0].tolist() == [float(reads in (task, num_tasks)) for reads in groups[2].tolist()]
