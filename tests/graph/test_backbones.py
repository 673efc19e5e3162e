"""The built-in backbones with heads of every kind: dense, streams and derived networks are one."""

import functools

import pytest
import torch
from executions import Case, assert_dense_is_streams, assert_derived_are_dense, assert_tasks_keep_apart
from method_samples import BACKBONES

from sfgsearch.backbones import backbones
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation

SMALL = {
    "vgg11": {"width": 1 / 32},
    "vgg_small": {"plan": (5, "pool", 6, 4)},
    "resnet": {"depth": 8, "width": 0.25},
    "highresnet": {"width": 0.25, "blocks": 1},
}
SHAPES = {2: (2, 5, 6), 3: (1, 4, 4, 5)}
VGG11_SHAPES = {2: (1, 32, 32), 3: (1, 32, 32, 16)}  # norms of single pixels would amplify rounding
TASKS = {
    "whole": (Classification("digit", num_classes=3), Regression("angle", hidden=4), Classification("sex")),
    "dense": (Segmentation("organs", num_classes=3, hidden=4), DenseRegression("ct"), Classification("sex")),
}
CASES = [
    *((name, 2, "batch", 2, "dense") for name in SMALL),
    *((name, 2 if name == "vgg11" else 3, "batch", 3, "whole") for name in SMALL),
    *(("vgg_small", 2, "batch", num_tasks, "whole") for num_tasks in (1, 2)),
    *(("resnet", dimensions, norm, 3, "dense") for dimensions, norm in ((3, "instance"), (2, "none"))),
    ("highresnet", 2, "instance", 2, "whole"),
]


@functools.cache
def spec_of(name, dimensions, norm, num_tasks, kind):
    shape = VGG11_SHAPES[dimensions] if name == "vgg11" else SHAPES[dimensions]
    backbone = functools.partial(backbones[name], norm=norm, **SMALL[name])
    return NetworkSpec(backbone, TASKS[kind][:num_tasks], shape)


def test_all_backbones_are_tested():
    shipped = set(BACKBONES)
    assert set(SMALL) == shipped


@pytest.fixture(params=CASES, ids=str, scope="module")
def case(request):
    spec = spec_of(*request.param)
    return Case(spec.build(), spec.image_shape, spec.task_names)


@pytest.mark.parametrize("training", [False, True])
def test_dense_is_streams(case, training):
    assert_dense_is_streams(case, training)


def test_derived_networks_are_dense_ones(case):
    assert_derived_are_dense(case)


def test_tasks_keep_apart(case):
    assert_tasks_keep_apart(case)


def test_vgg_has_a_space_per_convolution():
    assert spec_of("vgg_small", 2, "batch", 2, "whole").filters == {"conv1": 5, "conv2": 6, "conv3": 4}
    assert list(spec_of("vgg11", 2, "batch", 2, "whole").filters) == [f"conv{index}" for index in range(1, 9)]


def test_the_trunk_of_a_resnet_is_16_filters_in_32_in_64():
    spec = NetworkSpec(backbones["resnet"], TASKS["whole"][:2], (1, 8, 8))
    filters = spec.filters
    inner = [f"stage{stage}_block{block}.conv1" for stage in (1, 2, 3) for block in (1, 2, 3)]
    trunk = {"stem": 16, "stage2_block1.conv2": 16, "stage3_block1.conv2": 32}
    assert {name: filters[name] for name in trunk} == trunk
    assert {name: filters[name] for name in inner} == {name: 16 * 2 ** (int(name[5]) - 1) for name in inner}
    assert len(filters) == len(trunk) + len(inner)
    spaces = {space.name: space for space in spec.analysis.spaces}
    assert len(spaces["stem"].layers) == 1 + 9  # the stem's filters go through all blocks
    assert spaces["stem"].layers[-1] == "backbone.stage3_block3.conv2.weight"
    assert len(spaces["stage3_block1.conv2"].layers) == 3
    assert spec.analysis.notes() == []
    names = list(filters)  # in depth order
    assert names[:3] == ["stem", "stage1_block1.conv1", "stage1_block2.conv1"]
    assert names[-2:] == ["stage3_block2.conv1", "stage3_block3.conv1"]


def test_blocks_of_a_highresnet_are_tied_to_their_stage():
    assert NetworkSpec(backbones["highresnet"], TASKS["dense"], (1, 4, 4)).filters == {
        **{"conv1": 16, "block1_1.conv1": 16, "block1_2.conv1": 16},
        **{"conv2": 32, "block2_1.conv1": 32, "block2_2.conv1": 32},
        **{"conv3": 64, "block3_1.conv1": 64, "block3_2.conv1": 64},
        **{"conv4": 64, "conv5": 64},
    }


def test_an_analysis_serves_every_network_of_its_specification():
    spec = spec_of("resnet", 2, "batch", 2, "whole")
    first, second = spec.build(torch.Generator().manual_seed(0)), spec.build(torch.Generator().manual_seed(1))
    images = torch.randn(3, *spec.image_shape)
    for network in (first.eval(), second.eval()):
        expected = network(images)
        found = spec.analysis.trace.run(network, images)
        for one, other in zip(found, expected.values(), strict=True):
            torch.testing.assert_close(one, other)
