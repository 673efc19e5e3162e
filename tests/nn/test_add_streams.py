"""Residual additions, against sums over all channels with zeros for those that a stream lacks."""

import functools

import pytest
import torch
from torch import nn

from sfgsearch.nn import (
    AddStreams,
    AllocatedBuilder,
    Backbone,
    EachStream,
    NetworkSpec,
    SFGBuilder,
    StreamLayout,
    SurveyBuilder,
    derive,
)

WIDTH = 7


def draw_layout(tiny, num_streams, seed):
    """Draw the channels of every stream, in any order and now and then none."""
    generator = tiny.seeded(seed)
    members = []
    for _ in range(num_streams):
        number = int(torch.randint(WIDTH + 1, (), generator=generator))
        members.append(tuple(torch.randperm(WIDTH, generator=generator)[:number].tolist()))
    return StreamLayout(tuple(members))


def draw_streams(tiny, layout, space, seed=0):
    generator = tiny.seeded(seed)
    return tuple(
        torch.randn(2, len(members), *space, generator=generator, dtype=torch.float64) if members else None
        for members in layout.members
    )


def dense(stream, members, space):
    """Write a stream's channels where they belong among all, zeros elsewhere."""
    everything = torch.zeros(2, WIDTH, *space, dtype=torch.float64)
    for position, channel in enumerate(members):
        everything[:, channel] = stream[:, position]
    return everything


@pytest.mark.parametrize("space", [(3, 2), (2, 1, 3)], ids=["2D", "3D"])
@pytest.mark.parametrize("seed", range(20))
def test_every_channel_is_added_to_its_namesake(tiny, seed, space):
    first, second = draw_layout(tiny, 3, seed), draw_layout(tiny, 3, seed + 100)
    ours, theirs = draw_streams(tiny, first, space), draw_streams(tiny, second, space, 1)
    total = AddStreams(first, second)
    for group, stream in enumerate(total(ours, theirs)):
        members = total.layout.members[group]
        assert sorted(members) == sorted({*first.members[group], *second.members[group]})
        if not members:
            assert stream is None
            continue
        expected = dense(ours[group], first.members[group], space) + dense(theirs[group], second.members[group], space)
        torch.testing.assert_close(dense(stream, members, space), expected)
        assert not expected[:, [channel for channel in range(WIDTH) if channel not in members]].any()


def test_unions_are_in_ascending_order():
    total = AddStreams(StreamLayout(((4, 1), (3, 0), ())), StreamLayout(((2, 1), (0, 3), (5, 2))))
    assert total.layout == StreamLayout(((1, 2, 4), (0, 3), (5, 2)))


def test_equal_layouts_stay_as_they_are():
    layout = StreamLayout(((4, 1), (3, 0)))
    assert AddStreams(layout, layout).layout == layout


def test_shifted_layouts_rename_channels():
    assert StreamLayout(((0, 2), (), (1,))).shifted(3) == StreamLayout(((3, 5), (), (4,)))


def test_a_shift_adds_into_the_middle_of_a_wider_layer():
    narrow, wide = StreamLayout.full(2, 2), StreamLayout.full(5, 2)
    total = AddStreams(narrow.shifted(2), wide)
    ones, tens = torch.ones(1, 2, 1, 1), torch.full((1, 5, 1, 1), 10.0)
    assert total.layout == wide
    assert total((ones, ones), (tens, tens))[0].flatten().tolist() == [10, 10, 11, 11, 10]


def test_streams_that_are_the_same_tensors_stay_the_same(tiny):
    first, second = StreamLayout(((0, 1), (0, 1), (0, 1))), StreamLayout(((1, 2), (1, 2), (1, 2)))
    stem, block = (torch.randn(2, 2, 3, 3, generator=tiny.seeded(seed)) for seed in (0, 1))
    sums = AddStreams(first, second)((stem,) * 3, (block,) * 3)
    assert sums[0] is sums[1] is sums[2]
    apart = AddStreams(first, second)((stem,) * 3, (block, block, block.clone()))
    assert apart[0] is apart[1]
    assert apart[0] is not apart[2]


def test_a_side_without_channels_adds_nothing():
    layout, empty = StreamLayout(((0, 1), (1,))), StreamLayout(((0, 1), ()))
    stream, shared = torch.randn(1, 2, 2, 2), torch.randn(1, 1, 2, 2)
    assert AddStreams(layout, empty)((stream, shared), (stream, None))[1] is shared
    assert AddStreams(empty, layout)((stream, None), (stream, shared))[1] is shared
    assert AddStreams(empty, empty)((stream, None), (stream, None))[1] is None


def test_a_different_number_of_streams_is_refused():
    with pytest.raises(ValueError, match="zip"):
        AddStreams(StreamLayout(((0,), (1,))), StreamLayout(((0,),)))


def test_an_addition_has_no_state():
    assert not AddStreams(StreamLayout(((0, 1), (1,))), StreamLayout(((2,), (1,)))).state_dict()


class Residual(Backbone):
    """An identity shortcut, and one into the middle of a wider layer at half the resolution."""

    def __init__(self, layers, image_shape):
        super().__init__()
        self.stem, shortcut = layers.conv("stem", layers.image(image_shape[0]), 8, 3)
        self.same, branch = layers.conv("same", shortcut, 8, 3, activation=None)
        self.add_same, shortcut = layers.add(shortcut, branch)
        self.relu = EachStream(nn.ReLU())
        self.halve = EachStream(nn.MaxPool2d(1, 2) if layers.dimensions == 2 else nn.MaxPool3d(1, 2))
        self.wide, branch = layers.conv("wide", shortcut, 12, 3, stride=2, padding=1, activation=None)
        self.add_wide, self.layout = layers.add(shortcut.shifted(2), branch)

    def forward(self, streams):
        streams = self.stem(streams)
        streams = self.relu(self.add_same(streams, self.same(streams)))
        return self.relu(self.add_wide(self.halve(streams), self.wide(streams)))


def residual_spec(tiny, num_tasks, dimensions=2, norm="batch"):
    return NetworkSpec(Residual, tiny.tasks(num_tasks), (2, *[6] * dimensions), norm)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_compact_residual_network_equals_the_masked_one(tiny, num_tasks, dimensions, norm):
    spec = residual_spec(tiny, num_tasks, dimensions, norm)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    derived = derive(masked, spec, assignments)
    assert derived.repairs == ()
    tiny.fix(masked, assignments)
    images = tiny.images(spec)
    with torch.no_grad():
        ours, theirs = derived.network.eval()(images), masked.eval()(images)
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_hard_sharing_computes_one_stream(tiny, num_tasks):
    spec = residual_spec(tiny, num_tasks)
    assignments = {name: torch.full((filters,), num_tasks) for name, filters in spec.filters.items()}
    network = spec.build(AllocatedBuilder(assignments, num_tasks, 2))
    streams = network.backbone((tiny.images(spec),) * (num_tasks + 1))
    assert all(stream is streams[-1] for stream in streams)


@pytest.mark.parametrize(
    "builder", [SurveyBuilder, SFGBuilder, functools.partial(AllocatedBuilder, {})], ids=["survey", "sfg", "allocated"]
)
def test_every_builder_adds(builder):
    _, layout = builder(num_tasks=2, dimensions=2).add(StreamLayout(((1,), (0,), ())), StreamLayout(((0,), (0,), ())))
    assert layout == StreamLayout(((0, 1), (0,), ()))
