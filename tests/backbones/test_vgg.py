import pytest
import torch

from sfgsearch.backbones import VGG, vgg11, vgg_small
from sfgsearch.errors import BackboneError

VGG11_FILTERS = [64, 128, 256, 256, 512, 512, 512, 512]


def widths(backbone, image_shape=(3, 16, 16), **options):
    with torch.device("meta"):
        network = backbone(image_shape, **options)
    return {name: len(weight) for name, weight in network.named_parameters() if weight.ndim > 1}


@pytest.mark.parametrize("width", [0.5, 1.0, 0.125])
def test_vgg11_has_the_filters_of_the_paper(width):
    filters = widths(vgg11, width=width)
    assert list(filters) == [f"conv{index}.weight" for index in range(1, 9)]
    assert list(filters.values()) == [int(width * count) for count in VGG11_FILTERS]


def test_vgg11_is_half_as_wide_by_default():
    assert list(widths(vgg11).values()) == [32, 64, 128, 128, 256, 256, 256, 256]


def test_vgg11_halves_space_four_times():
    assert vgg11((3, 32, 48), width=1 / 64)(torch.randn(2, 3, 32, 48)).shape == (2, 8, 2, 3)


@pytest.mark.parametrize("image_shape", [(3, 10, 12), (1, 8, 8, 6)], ids=str)
def test_vgg_small_in_both_dimensions(image_shape):
    features = vgg_small(image_shape, plan=(4, "pool", 6))(torch.randn(2, *image_shape))
    assert features.shape == (2, 6, *(side // 2 for side in image_shape[1:]))


@pytest.mark.parametrize(("width", "expected"), [(0.5, [8, 16, 16, 32]), (2, [32, 64, 64, 128]), (0.001, [1, 1, 1, 1])])
def test_width_scales_filters_but_never_to_nothing(width, expected):
    assert list(widths(vgg_small, width=width).values()) == expected


def test_convolutions_and_pools_are_in_the_order_of_the_plan():
    network = vgg_small((1, 4, 4), plan=(2, "pool", 3), norm="none")
    image = torch.randn(2, 1, 4, 4)
    expected = torch.nn.functional.max_pool2d(network.conv1(image).relu(), 2)
    torch.testing.assert_close(network(image), network.conv2(expected).relu())


@pytest.mark.parametrize("image_shape", [(3, 15, 15), (3, 64, 8), (3, 16, 16, 15)], ids=str)
def test_images_that_are_too_small_are_refused(image_shape):
    with pytest.raises(BackboneError, match="a VGG with 4 pools needs images of at least 16 pixels a side"):
        widths(vgg11, image_shape)


@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
@pytest.mark.parametrize("backbone", [vgg11, vgg_small])
def test_bad_widths_are_refused(backbone, width):
    with pytest.raises(BackboneError, match=r"width must be from 0\.001 to 100"):
        widths(backbone, width=width)


@pytest.mark.parametrize("plan", [(), ("pool",), (4, "pol"), (4, 0), (4, -2), (4, True), (4, 2.5)], ids=str)
def test_bad_plans_are_refused(plan):
    with pytest.raises(BackboneError, match="plan must list filters"):
        widths(vgg_small, plan=plan)


def test_the_class_takes_any_plan():
    assert list(widths(lambda shape: VGG(shape, [3, "pool", 2], "batch")).values()) == [3, 2]
