"""Compact networks whose layers read multiples of so many channels compute the same."""

import pytest
import torch
from torch import nn

from sfgsearch.graph import GroupedLayer, align_reads, analyse, compact


class TwoHeads(nn.Module):
    """Ordinary, strided and transposed convolutions with two heads."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU()),
            *(nn.Conv2d(10, 16, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(16, 12, 2, stride=2), nn.ReLU()),
        )
        self.heads = nn.ModuleList(nn.Linear(12, 2) for _ in range(2))

    def forward(self, images):
        features = self.body(images).flatten(2).mean(2)
        return tuple(head(features) for head in self.heads)


@pytest.mark.parametrize("multiple", [4, 8])
def test_aligned_networks_compute_the_same(multiple):
    torch.manual_seed(0)
    network, images = TwoHeads().eval(), torch.randn(2, 3, 8, 8)
    analysis = analyse(network, images)
    small = compact(network, analysis, torch.arange(analysis.num_filters) % 3).eval()
    aligned = align_reads(small, multiple)
    for ours, theirs in zip(aligned(images), small(images), strict=True):
        torch.testing.assert_close(ours, theirs)
    layers = [module for module in aligned.modules() if isinstance(module, GroupedLayer)]
    reads = [part.in_channels for layer in layers for part in layer.parts if hasattr(part, "in_channels")]
    assert all(read % multiple == 0 or read in (3, 10) for read in reads[3:])
    before = [module for module in small.modules() if isinstance(module, GroupedLayer)]
    assert any(part.in_channels % multiple for layer in before for part in layer.parts if hasattr(part, "in_channels"))
