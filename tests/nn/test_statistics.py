import pytest
import torch
from torch import nn

from sfgsearch.nn import reestimate_statistics


def make_network():
    torch_generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch_generator, dtype=torch.float64))
    return network


def make_batches(number=3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64) * (i + 1) + i for i in range(number)]


def channel_statistics(response):
    """Return mean and variances per channel: biased, as batch norm whitens, and unbiased, as it remembers."""
    means, biased, unbiased = [], [], []
    for channel in response.unbind(1):
        values = channel.flatten().tolist()
        mean = sum(values) / len(values)
        squares = sum((value - mean) ** 2 for value in values)
        means.append(mean)
        biased.append(squares / len(values))
        unbiased.append(squares / (len(values) - 1))
    return tuple(torch.tensor(values, dtype=torch.float64) for values in (means, biased, unbiased))


@torch.no_grad()
def expected_statistics(network, batches):
    """Return the averages over batches of what the two norms see, batch by batch."""
    sums = [torch.zeros(3).double(), torch.zeros(3).double(), torch.zeros(2).double(), torch.zeros(2).double()]
    for images in batches:
        response = network[0](images)
        mean, biased, unbiased = channel_statistics(response)
        whitened = (response - mean.view(1, -1, 1, 1)) / (biased + 1e-5).sqrt().view(1, -1, 1, 1)
        activated = (whitened * network[1].weight.view(1, -1, 1, 1) + network[1].bias.view(1, -1, 1, 1)).relu()
        second_mean, _, second_unbiased = channel_statistics(network[3](activated))
        for total, value in zip(sums, (mean, unbiased, second_mean, second_unbiased), strict=True):
            total += value / len(batches)
    return sums


@pytest.mark.parametrize("number", [1, 3])
def test_statistics_are_averages_over_batches(number):
    network, batches = make_network(), make_batches(number)
    expected = expected_statistics(network, batches)
    network(torch.full((4, 2, 3, 3), 100.0).double())
    reestimate_statistics(network, iter(batches))
    actual = [network[1].running_mean, network[1].running_var, network[4].running_mean, network[4].running_var]
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_momentum_are_restored(training):
    network = make_network().train(training)
    network[1].momentum = 0.03
    reestimate_statistics(network, make_batches())
    assert {module.training for module in network.modules()} == {training}
    assert [network[1].momentum, network[4].momentum] == [0.03, 0.1]


def test_mode_and_momentum_are_restored_after_a_failure():
    network = make_network().eval()
    with pytest.raises(RuntimeError):
        reestimate_statistics(network, [torch.zeros(1, 5, 2, 2).double()])
    assert not any(module.training for module in network.modules())
    assert [network[1].momentum, network[4].momentum] == [0.1, 0.1]


def test_parameters_stay_as_they_are():
    network = make_network()
    before = [parameter.clone() for parameter in network.parameters()]
    reestimate_statistics(network, make_batches())
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_networks_without_batch_norm_read_no_batch():
    batches = iter(make_batches())
    reestimate_statistics(nn.Sequential(nn.Conv2d(2, 3, 1), nn.InstanceNorm2d(3, affine=True)), batches)
    assert len(list(batches)) == 3


def test_only_norms_run_in_training_mode():
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(2))
    images = make_batches(1)[0].float()
    reestimate_statistics(network.train(), [images])
    torch.testing.assert_close(network[1].running_mean, images.mean((0, 2, 3)))
