"""The residual network, against one written from the paper."""

import itertools

import pytest
import torch
from torch import nn

from sfgsearch.backbones import resnet
from sfgsearch.errors import BackboneError


class PlainBlock(nn.Module):
    def __init__(self, before, after, dimensions):
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
        self.stride, self.extra = 1 if before == after else 2, after - before
        self.first = convolution(before, after, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = norm(after)
        self.second = convolution(after, after, 3, padding=1, bias=False)
        self.norm2 = norm(after)

    def forward(self, x):
        shortcut = x
        if self.stride == 2:
            shortcut = x[:, :, ::2, ::2] if x.ndim == 4 else x[:, :, ::2, ::2, ::2]
            low = self.extra // 2
            zeros = [torch.zeros_like(shortcut[:, :1]).repeat_interleave(n, 1) for n in (low, self.extra - low)]
            shortcut = torch.cat([zeros[0], shortcut, zeros[1]], 1)
        y = self.norm1(self.first(x)).relu()
        return (self.norm2(self.second(y)) + shortcut).relu()


class PlainResNet(nn.Sequential):
    """Section 4.2 of the paper without the head: 2n layers per stage, and option A."""

    def __init__(self, depth, channels, dimensions, filters):
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
        widths = [filters[0], *[width for width in filters for _ in range((depth - 2) // 6)]]
        super().__init__(
            convolution(channels, filters[0], 3, padding=1, bias=False),
            norm(filters[0]),
            nn.ReLU(),
            *(PlainBlock(before, after, dimensions) for before, after in itertools.pairwise(widths)),
        )


def parameters(**options):
    """Count those of a network for CIFAR-10, with a linear head."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in resnet((3, 32, 32), **options).parameters()) + 64 * 10 + 10


@pytest.mark.parametrize(("width", "filters"), [(1.0, (16, 32, 64)), (0.5, (8, 16, 32)), (0.3, (5, 9, 19))])
@pytest.mark.parametrize("image_shape", [(3, 9, 12), (2, 8, 5, 6)], ids=["2D", "3D"])
@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_plain_network(tiny, image_shape, width, filters, training):
    ours, theirs = (
        resnet(image_shape, depth=8, width=width),
        PlainResNet(8, image_shape[0], len(image_shape) - 1, filters),
    )
    tiny.randomise(ours)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(3, *image_shape, generator=tiny.seeded(1))
    expected = theirs.train(training)(images)
    torch.testing.assert_close(ours.train(training)(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.shape == (3, filters[-1], *(-(-side // 4) for side in image_shape[1:]))


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_sizes_of_the_paper(depth, millions):
    assert parameters(depth=depth) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_norms_are_an_option(norm):
    kinds = {type(module) for module in resnet((3, 8, 8), depth=8, norm=norm).modules()}
    assert nn.BatchNorm2d not in kinds
    assert (nn.InstanceNorm2d in kinds) == (norm == "instance")


@pytest.mark.parametrize(("depth", "advice"), [(18, "14 or 20"), (21, "20 or 26"), (2, "8 or 14"), (0, "8 or 14")])
def test_other_depths_are_refused(depth, advice):
    with pytest.raises(BackboneError, match=rf"depth of 6n\+2 .* got {depth}; choose {advice}"):
        parameters(depth=depth)


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf")])
def test_bad_widths_are_refused(width):
    with pytest.raises(BackboneError, match=r"width must be from 0\.001 to 100"):
        parameters(width=width)
