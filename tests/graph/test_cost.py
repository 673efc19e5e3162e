"""Expected multiply-adds, against counts by hooks and by drawing networks."""

import pytest
import torch
from awkward_networks import build, image_shape
from executions import one_hot
from network_checks import count_by_hand
from torch import nn

from sfgsearch.graph import ExpectedCost, Masks, analyse, layer_macs
from sfgsearch.nn import complexity

LAYERS = ("option_a", "depthwise", "grouped", "transposed", "squeeze_excitation", "layer_norm", "twice", "intermediate")
DRAWS = 500


def prepare(name, num_tasks=2):
    network = build(name, num_tasks)
    return network, analyse(network, torch.randn(2, *image_shape(name)))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_the_multiply_adds_that_torch_counts(name):
    network, analysis = prepare(name)
    assert sum(layer_macs(analysis).values()) == complexity(network, image_shape(name)).macs


@pytest.mark.parametrize("name", ["plain", "concatenation", "twice", "volume", "deep_heads"])
def test_layers_have_the_multiply_adds_of_a_count_by_hooks(name):
    network, analysis = prepare(name, 3)
    by_hand, _ = count_by_hand(network.eval(), torch.randn(1, *image_shape(name)))
    assert sum(layer_macs(analysis).values()) == by_hand


@pytest.mark.parametrize("name", ["concatenation", "squeeze_excitation", "transposed"])
def test_it_is_the_mean_over_networks_that_are_drawn(name):
    _, analysis = prepare(name, 3)
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(analysis.num_filters, 4, generator=generator, dtype=torch.float64)
    probabilities /= probabilities.sum(1, keepdim=True)
    macs, masks = layer_macs(analysis), Masks(analysis)
    drawn = []
    for _ in range(DRAWS):
        gates = one_hot(torch.multinomial(probabilities, 1, generator=generator)[:, 0], 3)
        found = masks(gates)
        kept = sum(number * float(found[layer].mean()) if layer in found else number for layer, number in macs.items())
        drawn.append(kept / sum(macs.values()))
    mean, error = torch.tensor(drawn).mean(), torch.tensor(drawn).std() / DRAWS**0.5
    assert abs(float(ExpectedCost(analysis)(probabilities)) - float(mean)) < 4 * float(error)


def test_sharing_everything_costs_all_and_thirds_five_ninths_of_inner_layers():
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 9, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    heads = nn.ModuleList(nn.Linear(9, 1) for _ in range(2))

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.heads = network, heads

        def forward(self, images):
            features = self.body(images)
            return [head(features) for head in self.heads]

    cost = ExpectedCost(analyse(Both(), torch.randn(2, 3, 2, 2)))
    assert float(cost(one_hot(torch.full((15,), 2), 2))) == pytest.approx(1)
    first, inner, last = 3 * 6 * 4, 6 * 9 * 4, 2 * 9
    thirds = torch.cat([torch.arange(3).repeat(2), torch.arange(3).repeat(3)])
    expected = (first + inner * 5 / 9 + last * 2 / 3) / (first + inner + last)
    assert float(cost(one_hot(thirds, 2))) == pytest.approx(expected)
