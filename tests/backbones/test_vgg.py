import pytest
import torch

from sfgsearch.backbones import VGG, vgg11, vgg_small
from sfgsearch.errors import BackboneError
from sfgsearch.nn import AllocatedBuilder, SFGBuilder, StreamLayout, SurveyBuilder, initialise

VGG11_FILTERS = [64, 128, 256, 256, 512, 512, 512, 512]


def survey(backbone, image_shape=(3, 16, 16), **options):
    builder = SurveyBuilder(2, len(image_shape) - 1)
    with torch.device("meta"):
        backbone(builder, image_shape, **options)
    return builder.filters


def features(backbone, image_shape, **options):
    network = backbone(SFGBuilder(2, len(image_shape) - 1), image_shape, **options)
    return network(tuple(torch.randn(2, *image_shape) for _ in range(3)))


@pytest.mark.parametrize("width", [0.5, 1.0, 0.125])
def test_vgg11_has_the_filters_of_the_paper(width):
    filters = survey(vgg11, width=width)
    assert list(filters) == [f"conv{index}" for index in range(1, 9)]
    assert list(filters.values()) == [int(width * count) for count in VGG11_FILTERS]


def test_vgg11_is_half_as_wide_by_default():
    assert list(survey(vgg11).values()) == [32, 64, 128, 128, 256, 256, 256, 256]


def test_vgg11_halves_space_four_times():
    streams = features(vgg11, (3, 32, 48), width=1 / 64)
    assert [stream.shape for stream in streams] == [(2, 8, 2, 3)] * 3


@pytest.mark.parametrize("image_shape", [(3, 10, 12), (1, 8, 8, 6)])
def test_vgg_small_in_both_dimensions(image_shape):
    streams = features(vgg_small, image_shape, plan=(4, "pool", 6))
    assert [stream.shape for stream in streams] == [(2, 6, *(side // 2 for side in image_shape[1:]))] * 3


def test_vgg_small_follows_its_plan():
    assert survey(vgg_small, plan=(4, 5, "pool", 6)) == {"conv1": 4, "conv2": 5, "conv3": 6}


@pytest.mark.parametrize(("width", "expected"), [(0.5, [8, 16, 16, 32]), (2, [32, 64, 64, 128]), (0.001, [1, 1, 1, 1])])
def test_width_scales_filters_but_never_to_nothing(width, expected):
    assert list(survey(vgg_small, width=width).values()) == expected


def test_the_order_of_convolutions_and_pools_is_that_of_the_plan():
    layers = SFGBuilder(1, 2, "none")
    network = vgg_small(layers, (1, 4, 4), plan=(2, "pool", 3))
    initialise(network, torch.Generator().manual_seed(0))
    network.eval()
    image = torch.randn(2, 1, 4, 4)
    first, pool, second = network.stages
    expected = second(tuple(torch.nn.functional.max_pool2d(stream, 2) for stream in first(image)))
    for ours, theirs in zip(network((image, image)), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert [stream.shape[-1] for stream in pool(first(image))] == [2, 2]


def test_the_layout_is_that_of_the_last_layer():
    network = vgg_small(SFGBuilder(2, 2), (1, 4, 4), plan=(2, 3))
    assert network.layout == StreamLayout.full(3, 3)
    assignments = {"conv1": torch.tensor([2, 2]), "conv2": torch.tensor([0, 2, 1])}
    network = vgg_small(AllocatedBuilder(assignments, 2, 2), (1, 4, 4), plan=(2, 3))
    assert network.layout == StreamLayout(((0, 1), (2, 1), (1,)))


@pytest.mark.parametrize("image_shape", [(3, 15, 15), (3, 64, 8), (3, 16, 16, 15)])
def test_images_that_are_too_small_are_refused(image_shape):
    with pytest.raises(BackboneError, match="a VGG with 4 pools needs images of at least 16 pixels a side"):
        survey(vgg11, image_shape)


@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
@pytest.mark.parametrize("backbone", [vgg11, vgg_small])
def test_bad_widths_are_refused(backbone, width):
    with pytest.raises(BackboneError, match=r"width must be from 0\.001 to 100"):
        survey(backbone, width=width)


@pytest.mark.parametrize("plan", [(), ("pool",), (4, "pol"), (4, 0), (4, -2), (4, True), (4, 2.5)], ids=str)
def test_bad_plans_are_refused(plan):
    with pytest.raises(BackboneError, match="plan must list filters"):
        survey(vgg_small, plan=plan)


def test_the_class_takes_any_plan():
    assert list(survey(VGG, plan=[3, "pool", 2]).values()) == [3, 2]
