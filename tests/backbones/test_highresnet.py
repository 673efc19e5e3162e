"""The high-resolution network: its blocks against MONAI's, and its layers."""

import pytest
import torch

from sfgsearch.backbones import HighResBlock, highresnet
from sfgsearch.errors import BackboneError


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_block_is_that_of_monai(tiny, dimensions, dilation, training):
    nets = pytest.importorskip("monai.networks.nets")
    ours = HighResBlock(dimensions, 6, dilation=dilation)
    theirs = nets.HighResBlock(dimensions, 6, 6, dilation=dilation)
    tiny.randomise(ours)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(2, 6, *[7] * dimensions, generator=tiny.seeded(1))
    torch.testing.assert_close(ours.train(training)(images), theirs.train(training)(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("image_shape", [(2, 5, 6), (1, 4, 5, 3)], ids=["2D", "3D"])
def test_five_convolutions_of_the_authors_keep_space(image_shape):
    network = highresnet(image_shape, blocks=0)
    convolutions = [getattr(network, f"conv{index}") for index in range(1, 6)]
    assert [layer.out_channels for layer in convolutions] == [16, 32, 64, 64, 64]
    assert network(torch.randn(2, *image_shape)).shape == (2, 64, *image_shape[1:])


def test_blocks_follow_the_first_three_convolutions_with_growing_dilation():
    network = highresnet((1, 4, 4), width=0.25, blocks=2)
    blocks = {name: module for name, module in network.named_children() if isinstance(module, HighResBlock)}
    assert list(blocks) == [f"block{stage}_{block}" for stage in (1, 2, 3) for block in (1, 2)]
    assert [block.conv1.dilation[0] for block in blocks.values()] == [1, 1, 2, 2, 4, 4]
    assert [block.conv2.in_channels for block in blocks.values()] == [4, 4, 8, 8, 16, 16]


@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
def test_bad_widths_are_refused(width):
    with pytest.raises(BackboneError, match=r"width must be from 0\.001 to 100"):
        highresnet((1, 4, 4), width=width)


def test_a_negative_number_of_blocks_is_refused():
    with pytest.raises(BackboneError, match="blocks must be 0 to 100, got -1"):
        highresnet((1, 4, 4), blocks=-1)
