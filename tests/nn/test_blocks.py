"""Ordinary blocks on every stream: gated in the masked network, narrow in the compact one."""

import functools

import pytest
import torch
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.errors import BackboneError
from sfgsearch.nn import (
    AllocatedBuilder,
    Backbone,
    NetworkSpec,
    SFGBuilder,
    StreamBlock,
    SurveyBuilder,
    complexity,
    derive,
    initialise,
    norm_factory,
    reestimate_statistics,
)

CASES = [
    (num_tasks, dimensions, norm)
    for num_tasks in (1, 2, 3)
    for dimensions in (2, 3)
    for norm in ("batch", "instance", "none")
]


class Block(StreamBlock):
    """A pre-activation residual block with a bias, so that an absent channel would speak if it could."""

    def __init__(self, channels, dimensions=2, norm="batch"):
        super().__init__()
        self.norm = norm_factory(norm, dimensions)(channels)
        self.conv = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(channels, channels, 3, padding=1)

    def forward(self, stream, gate=None):
        gate = torch.ones(()) if gate is None else gate
        return stream + gate * self.conv(gate * torch.relu(self.norm(stream)))


class Blocks(Backbone):
    """Two blocks on top of each other between two convolutions, and one after them if asked for."""

    def __init__(self, layers, image_shape, last=False):
        super().__init__()
        make = functools.partial(Block, dimensions=layers.dimensions, norm=layers.norm)
        self.conv1, layout = layers.conv("conv1", layers.image(image_shape[0]), 8, 3)
        self.block1, layout = layers.per_stream(layout, make)
        self.block2, layout = layers.per_stream(layout, make)
        self.conv2, self.layout = layers.conv("conv2", layout, 9, 3)
        self.block3 = layers.per_stream(self.layout, make)[0] if last else nn.Identity()

    def forward(self, streams):
        return self.block3(self.conv2(self.block2(self.block1(self.conv1(streams)))))


def block_spec(tiny, num_tasks, dimensions=2, norm="batch", last=False):
    backbone = functools.partial(Blocks, last=last)
    return NetworkSpec(backbone, tiny.tasks(num_tasks), (2, *[5] * dimensions), norm)


def allocated(spec, allocation):
    return spec.build(AllocatedBuilder.from_allocation(allocation, spec.dimensions, spec.norm))


def assert_same_predictions(compact, masked, images):
    with torch.no_grad():
        ours, theirs = compact.eval()(images), masked.eval()(images)
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-4, atol=1e-4)


def blocks_of(network):
    return [module for module in network.modules() if isinstance(module, Block)]


@pytest.mark.parametrize("last", [False, True], ids=["inside", "last"])
@pytest.mark.parametrize(("num_tasks", "dimensions", "norm"), CASES)
def test_compact_blocks_equal_masked_ones(tiny, num_tasks, dimensions, norm, last):
    spec = block_spec(tiny, num_tasks, dimensions, norm, last)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    derived = derive(masked, spec, assignments)
    assert derived.repairs == ()
    tiny.fix(masked, assignments)
    images = tiny.images(spec)
    assert_same_predictions(derived.network, masked, images)
    before = derived.network(images)["digit"]
    for network in (derived.network, masked):
        reestimate_statistics(network, [tiny.images(spec, batch=6, seed=seed) for seed in (1, 2)])
    assert_same_predictions(derived.network, masked, images)
    assert torch.equal(before, derived.network(images)["digit"]) == (norm != "batch")


@pytest.mark.parametrize("shared_in", [("conv1",), ("conv1", "conv2"), ()], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["inside", "last"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_compact_equals_masked_where_groups_are_empty(tiny, num_tasks, last, shared_in):
    """The first task has filters of its own nowhere that something is shared."""
    spec = block_spec(tiny, num_tasks, last=last)
    assignments = tiny.assignments(spec)
    for name, groups in assignments.items():
        empty = 0 if name in shared_in else num_tasks
        groups[groups == empty] = num_tasks if name in shared_in else 0
    masked = tiny.masked(spec)
    derived = derive(masked, spec, assignments)
    assert derived.repairs == ()
    tiny.fix(masked, assignments)
    assert_same_predictions(derived.network, masked, tiny.images(spec))


def test_silent_channels_stay_silent_and_reach_no_other(tiny):
    spec = block_spec(tiny, 2, last=True)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    tiny.fix(masked, assignments)
    streams = masked.eval().backbone((tiny.images(spec),) * 3)
    for task, stream in enumerate(streams):
        for channel, group in enumerate(assignments["conv2"].tolist()):
            assert bool(stream[:, channel].any()) == (group in (task, 2))


def reached(block):
    return all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in block.parameters())


def untouched(block):
    return all(parameter.grad is None or not parameter.grad.any() for parameter in block.parameters())


def losses(tiny, spec, network, tasks):
    predictions, targets = network(tiny.images(spec, 8)), tiny.targets(spec, 8)
    return [task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in tasks]


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "compact"])
def test_task_blocks_learn_from_their_task_and_shared_blocks_from_all(tiny, masked, num_tasks):
    for index in range(num_tasks):
        spec = block_spec(tiny, num_tasks)
        assignments = tiny.assignments(spec)
        network = tiny.masked(spec) if masked else spec.build(AllocatedBuilder(assignments, num_tasks, 2))
        initialise(network, tiny.seeded(1))
        if masked:
            tiny.fix(network, assignments)
        losses(tiny, spec, network.train(), spec.tasks[index : index + 1])[0].backward()
        for blocks in (network.backbone.block1.blocks, network.backbone.block2.blocks):
            in_order = list(blocks) if masked else [blocks[str(group)] for group in range(num_tasks + 1)]
            for group, block in enumerate(in_order):
                assert (not untouched(block)) == (group in (index, num_tasks)), f"block {group}, loss {index}"


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_soft_gates_train_every_block_and_learn_through_them(tiny, num_tasks):
    spec = block_spec(tiny, num_tasks)
    network = spec.build(SFGBuilder(num_tasks, 2))
    initialise(network, tiny.seeded(1))
    sum(losses(tiny, spec, network.train(), spec.tasks)).backward()
    for module in blocks_of(network):
        assert reached(module)
    assert bool(network.backbone.conv1.groups.logits.grad.any())


class Plain(nn.Module):
    """The same network without streams."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block1, self.block2 = Block(8), Block(8)
        self.conv2 = nn.Sequential(nn.Conv2d(8, 9, 3, padding=1, bias=False), nn.BatchNorm2d(9), nn.ReLU())

    def forward(self, images):
        return self.conv2(self.block2(self.block1(self.conv1(images))))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_hard_sharing_from_scratch_has_one_block_for_all_streams(tiny, num_tasks):
    spec = block_spec(tiny, num_tasks)
    network = allocated(spec, Allocation.hard_sharing(spec.filters, spec.task_names))
    plain = Plain()
    assert len(blocks_of(network)) == 2
    assert complexity(network.backbone, (2, 5, 5)) == complexity(plain, (2, 5, 5))
    plain.load_state_dict(dict(zip(plain.state_dict(), network.backbone.state_dict().values(), strict=True)))
    images = tiny.images(spec)
    streams = network.backbone((images,) * (num_tasks + 1))
    assert all(stream is streams[-1] for stream in streams)
    torch.testing.assert_close(streams[0], plain(images))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_single_task_networks_have_blocks_of_their_own(tiny, num_tasks):
    spec = block_spec(tiny, num_tasks)
    network = allocated(spec, Allocation.single_task(spec.filters, spec.task_names))
    assert len(blocks_of(network)) == 2 * num_tasks
    size = sum(parameter.numel() for parameter in network.backbone.parameters())
    assert size == num_tasks * sum(parameter.numel() for parameter in Plain().parameters())


def test_a_task_without_filters_goes_through_the_shared_blocks(tiny):
    spec = block_spec(tiny, 2)
    assignments = {"conv1": torch.tensor([0, 0, 0, 2, 2, 2, 2, 2]), "conv2": torch.tensor([0, 1, 2] * 3)}
    together = spec.build(AllocatedBuilder(assignments, 2, 2))
    apart = spec.build(AllocatedBuilder(assignments, 2, 2, separate=True))
    assert list(together.backbone.block1.blocks) == ["0", "2"]
    assert list(apart.backbone.block1.blocks) == ["0", "1", "2"]


@pytest.mark.parametrize("separate", [False, True])
def test_blocks_of_a_shared_stream_that_nothing_reads_are_dropped(tiny, separate):
    spec = block_spec(tiny, 2, last=True)
    thirds = Allocation.equal(spec.filters, spec.task_names)
    groups = torch.arange(3)
    assignments = {layer.name: groups.repeat_interleave(torch.tensor(layer.counts)) for layer in thirds.layers}
    network = spec.build(AllocatedBuilder(assignments, 2, 2, separate=separate))
    assert list(network.backbone.block1.blocks) == ["0", "1", "2"]
    assert list(network.backbone.block3.blocks) == ["0", "1"]
    streams = network.backbone((tiny.images(spec),) * 3)
    assert streams[-1] is None
    assert [stream.shape[1] for stream in streams[:-1]] == [6, 6]


def test_shared_blocks_below_a_layer_that_shares_nothing_are_dropped(tiny):
    spec = block_spec(tiny, 2)
    assignments = {"conv1": torch.tensor([0, 0, 1, 1, 2, 2, 2, 2]), "conv2": torch.tensor([0] * 5 + [1] * 4)}
    network = spec.build(AllocatedBuilder(assignments, 2, 2)).train()
    assert list(network.backbone.block1.blocks) == list(network.backbone.block2.blocks) == ["0", "1"]
    sum(losses(tiny, spec, network, spec.tasks)).backward()
    assert all(not untouched(block) for block in blocks_of(network))


def test_a_shared_block_that_tasks_go_through_stays(tiny):
    spec = block_spec(tiny, 2, last=True)
    network = allocated(spec, Allocation.hard_sharing(spec.filters, spec.task_names))
    assert list(network.backbone.block3.blocks) == ["2"]


def layers_for(kind):
    assignment = torch.tensor([0, 1, 2, 2])
    builders = {"survey": SurveyBuilder, "sfg": SFGBuilder}
    if kind in builders:
        return builders[kind](2, 2)
    return AllocatedBuilder({"one": assignment, "two": assignment}, 2, 2)


@pytest.mark.parametrize("kind", ["survey", "sfg", "allocated"])
@pytest.mark.parametrize("source", ["image", "sum", "shifted"])
def test_blocks_must_follow_a_convolution(kind, source):
    layers = layers_for(kind)
    _, one = layers.conv("one", layers.image(3), 4, 3)
    _, two = layers.conv("two", one, 4, 3)
    sources = {"image": layers.image(3), "sum": layers.add(one, two)[1], "shifted": one.shifted(1)}
    with pytest.raises(BackboneError, match="per_stream blocks must read what conv returned"):
        layers.per_stream(sources[source], Block)
