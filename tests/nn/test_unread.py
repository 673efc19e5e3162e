"""What no head reads is left out of compact networks, and nothing else is."""

import functools

import pytest
import torch
from network_checks import count_by_hand
from torch import nn

from sfgsearch.backbones import highresnet, resnet
from sfgsearch.nn import (
    AllocatedBuilder,
    AllocatedConv,
    Backbone,
    EachStream,
    NetworkSpec,
    allocated_structure,
    complexity,
    derive,
)

SPACE = (2, 6, 6)


class Trunk(Backbone):
    """An addition whose sum only one layer reads."""

    def __init__(self, layers, image_shape):
        super().__init__()
        self.conv1, trunk = layers.conv("conv1", layers.image(image_shape[0]), 6, 3)
        self.conv2, branch = layers.conv("conv2", trunk, 6, 3, activation=None)
        self.add, trunk = layers.add(trunk, branch)
        self.relu = EachStream(nn.ReLU())
        self.conv3, self.layout = layers.conv("conv3", trunk, 6, 3)

    def forward(self, streams):
        trunk = self.conv1(streams)
        return self.conv3(self.relu(self.add(trunk, self.conv2(trunk))))


def groups(*names):
    return torch.tensor([{"a": 0, "b": 1, "s": 2}[name] for name in names])


def make(tiny, backbone, assignments):
    spec = NetworkSpec(backbone, tiny.tasks(2), SPACE)
    builder = AllocatedBuilder(assignments, 2, 2)
    return spec, spec.build(builder), builder


def sizes(network):
    layers = [module for module in network.modules() if isinstance(module, AllocatedConv)]
    return [sorted(layer.groups) for layer in layers]


def assert_equals_masked(tiny, spec, assignments):
    masked = tiny.masked(spec)
    derived = derive(masked, spec, assignments)
    tiny.fix(masked, derived.assignments)
    with torch.no_grad():
        ours, theirs = derived.network.eval()(tiny.images(spec)), masked.eval()(tiny.images(spec))
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-4, atol=1e-4)
    return derived


def test_own_filters_below_a_layer_without_any_are_left_out(tiny):
    spec = tiny.spec(2, plan=(5, 4, 4))
    assignments = {"conv1": groups(*"aabss"), "conv2": groups(*"bsss"), "conv3": groups(*"abss")}
    builder = AllocatedBuilder(assignments, 2, 2)
    network = spec.build(builder)
    assert sizes(network) == [["1", "2"], ["1", "2"], ["0", "1", "2"]]
    assert builder.repairs == ["layer conv1: 2 filters of task 0 would be read by nothing and were left out"]
    assert builder.allocation(("x", "y")).layer("conv1").counts == (2, 1, 2)
    macs, parameters = count_by_hand(network.eval(), tiny.images(spec))
    assert complexity(network, spec.image_shape) == (parameters, macs)
    derived = assert_equals_masked(tiny, spec, assignments)
    again = allocated_structure(derived.assignments, separate=True).build(spec)
    again.load_state_dict(derived.network.state_dict())
    assert derived.repairs == tuple(builder.repairs)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("abs", "abs", "abs"), [3, 3, 3]),
        (("sss", "abs", "aab"), [1, 3, 2]),  # shared filters of the second layer feed the tasks above
        (("abs", "abs", "sss"), [1, 1, 1]),
    ],
)
def test_what_is_read_stays(tiny, names, expected):
    spec = tiny.spec(2, plan=(3, 3, 3))
    assignments = {f"conv{index}": groups(*name) for index, name in enumerate(names, 1)}
    builder = AllocatedBuilder(assignments, 2, 2)
    assert [len(layer) for layer in sizes(spec.build(builder))] == expected
    assert len(builder.repairs) == sum(len(set(name)) for name in names) - sum(expected)
    assert_equals_masked(tiny, spec, assignments)


def test_shortcuts_carry_filters_past_a_layer_without_any(tiny):
    backbone = functools.partial(resnet, depth=8, width=0.25)
    spec = NetworkSpec(backbone, tiny.tasks(2), SPACE)
    assignments = tiny.assignments(spec)
    assignments["stage1_block1_conv2"] = torch.where(
        assignments["stage1_block1_conv2"] == 0, 2, assignments["stage1_block1_conv2"]
    )
    derived = assert_equals_masked(tiny, spec, assignments)
    (sentence,) = derived.repairs
    assert "stage1_block1_conv1" in sentence, "the stem's filters pass by, the block's do not"


def test_an_addition_below_a_layer_without_any(tiny):
    assignments = {"conv1": groups(*"aabbss"), "conv2": groups(*"abssss"), "conv3": groups(*"bbssss")}
    _, network, builder = make(tiny, Trunk, assignments)
    assert sizes(network) == [["1", "2"]] * 3
    assert len(builder.repairs) == 2
    assert_equals_masked(tiny, NetworkSpec(Trunk, tiny.tasks(2), SPACE), assignments)


def test_blocks_of_streams_that_nothing_reads_are_left_out(tiny):
    backbone = functools.partial(highresnet, width=0.25, blocks=1)
    spec = NetworkSpec(backbone, tiny.tasks(2), SPACE)
    assignments = tiny.assignments(spec)
    assignments["conv2"] = torch.where(assignments["conv2"] == 1, 0, assignments["conv2"])
    derived = assert_equals_masked(tiny, spec, assignments)
    assert [sorted(blocks.blocks) for blocks in blocks_of(derived.network)] == [
        ["0", "2"],
        ["0", "1", "2"],
        ["0", "1", "2"],
    ]


def blocks_of(network):
    return [
        module for module in network.modules() if hasattr(module, "blocks") and isinstance(module.blocks, nn.ModuleDict)
    ]
