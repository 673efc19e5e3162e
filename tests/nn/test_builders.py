import pytest
import torch

from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.errors import AllocationError, BackboneError
from sfgsearch.nn import AllocatedBuilder, AllocatedConv, FilterGroups, SFGBuilder, StreamLayout, SurveyBuilder

GROUPS = ("digit", "angle", "shared")


def make_allocation(*counts, groups=GROUPS):
    layers = (LayerAllocation(f"conv{index}", count) for index, count in enumerate(counts, 1))
    return Allocation(groups, tuple(layers))


def build(tiny, allocation, repair=False):
    builder = AllocatedBuilder.from_allocation(allocation, 2, repair=repair)
    return tiny.spec(2).build(builder), builder


def test_an_allocation_is_built_as_counted(tiny):
    allocation = make_allocation((3, 2, 2), (2, 1, 3), (1, 2, 2))
    network, builder = build(tiny, allocation)
    layers = [module for module in network.modules() if isinstance(module, AllocatedConv)]
    assert [tuple(map(len, layer.filters)) for layer in layers] == [layer.counts for layer in allocation.layers]
    assert builder.allocation(("digit", "angle")) == allocation
    assert builder.repairs == []


def test_filters_are_dealt_to_groups_in_order():
    builder = AllocatedBuilder.from_allocation(make_allocation((2, 1, 3)), 2)
    assert builder.assignments["conv1"].tolist() == [0, 0, 1, 2, 2, 2]


def test_streams_carry_own_and_shared_channels(tiny):
    network, _ = build(tiny, make_allocation((3, 2, 2), (2, 1, 3), (1, 2, 2)))
    spec = tiny.spec(2)
    streams = network.backbone((tiny.images(spec),) * 3)
    assert [stream.shape[1] for stream in streams] == [3, 4, 2]
    assert [network.backbone.layout.num_channels(stream) for stream in range(3)] == [3, 4, 2]


def test_a_dead_shared_group_is_refused(tiny):
    with pytest.raises(AllocationError, match=r"'conv2' has 3 shared filters.*read nothing"):
        build(tiny, make_allocation((4, 3, 0), (2, 1, 3), (1, 2, 2)))


def test_a_dead_shared_group_is_repaired_on_request(tiny):
    network, builder = build(tiny, make_allocation((4, 3, 0), (2, 1, 3), (1, 2, 2)), repair=True)
    built = builder.allocation(("digit", "angle"))
    assert [layer.shared for layer in built.layers] == [0, 0, 0]
    assert [layer.num_filters for layer in built.layers] == [7, 6, 5]
    assert ["conv2" in builder.repairs[0], "conv3" in builder.repairs[1]] == [True, True]
    predictions = network(tiny.images(tiny.spec(2)))
    assert all(bool(prediction.isfinite().all()) for prediction in predictions.values())


def test_repaired_filters_are_dealt_evenly(tiny):
    _, builder = build(tiny, make_allocation((4, 3, 0), (0, 0, 6), (2, 3, 0)), repair=True)
    assert builder.allocation(("digit", "angle")).layer("conv2").counts == (3, 3, 0)


@pytest.mark.parametrize("groups", [[2, 0, 2, 1, 2, 1], [0, 1, 0, 2, 2, 2], [0, 2, 1, 2, 0, 1]])
def test_repaired_filters_are_dealt_evenly_wherever_they_lie(tiny, groups):
    assignments = tiny.assignments(tiny.spec(2))
    assignments |= {"conv1": torch.tensor([0, 1, 0, 1, 0, 1, 0]), "conv2": torch.tensor(groups)}
    builder = AllocatedBuilder(assignments, 2, 2, repair=True)
    tiny.spec(2).build(builder)
    given = [int((builder.assignments["conv2"] == task).sum()) - groups.count(task) for task in (0, 1)]
    assert sum(given) == groups.count(2)
    assert abs(given[0] - given[1]) <= 1


def test_a_task_with_nothing_to_read_is_refused_and_repaired(tiny):
    assignments = tiny.assignments(tiny.spec(2)) | {"conv2": torch.zeros(6, dtype=torch.int64)}
    with pytest.raises(AllocationError, match="'conv2' gives task 1"):
        tiny.spec(2).build(AllocatedBuilder(assignments, 2, 2))
    builder = AllocatedBuilder(assignments, 2, 2, repair=True)
    tiny.spec(2).build(builder)
    assert builder.allocation(("digit", "angle")).layer("conv2").counts == (5, 1, 0)


def test_a_layer_with_fewer_filters_than_tasks_is_shared(tiny):
    builder = AllocatedBuilder({"conv1": torch.tensor([0])}, 2, 2, repair=True)
    tiny.spec(2, plan=(1,)).build(builder)
    assert builder.allocation(("digit", "angle")).layer("conv1").counts == (0, 0, 1)
    assert "so one filter is shared" in builder.repairs[0]


def test_what_cannot_be_repaired_is_refused(tiny):
    builder = AllocatedBuilder({"conv1": torch.tensor([0, 1]), "conv2": torch.tensor([0])}, 2, 2, repair=True)
    with pytest.raises(AllocationError, match="'conv2' has 1 filters for 2 tasks"):
        tiny.spec(2, plan=(2, 1)).build(builder)


def test_repair_leaves_the_given_assignments_alone(tiny):
    assignments = tiny.assignments(tiny.spec(2)) | {"conv2": torch.zeros(6, dtype=torch.int64)}
    tiny.spec(2).build(AllocatedBuilder(assignments, 2, 2, repair=True))
    assert assignments["conv2"].tolist() == [0] * 6


def test_a_missing_layer_is_refused(tiny):
    with pytest.raises(AllocationError, match="no layer 'conv3'"):
        build(tiny, make_allocation((3, 2, 2), (2, 1, 3)))


@pytest.mark.parametrize("counts", [(2, 1, 2), (2, 2, 3)])
def test_counts_that_do_not_fit_the_width_are_refused(tiny, counts):
    with pytest.raises(AllocationError, match="conv2"):
        build(tiny, make_allocation((3, 2, 2), counts, (1, 2, 2)))


def test_a_layer_that_the_backbone_lacks_is_refused(tiny):
    with pytest.raises(AllocationError, match="conv4"):
        build(tiny, make_allocation((3, 2, 2), (2, 1, 3), (1, 2, 2), (1, 1, 1)))


def test_networks_of_full_width_per_task_are_built(tiny):
    spec = tiny.spec(2)
    network, builder = build(tiny, Allocation.single_task(spec.filters, spec.task_names))
    assert builder.allocation(spec.task_names) == Allocation.single_task(spec.filters, spec.task_names)
    assert network.heads["digit"].reader.weight.shape[1] == spec.filters["conv3"]


def test_a_group_that_reads_nothing_is_refused_by_the_layer_itself():
    with pytest.raises(ValueError, match="group 2 has 1 filters, but its stream carries no channels"):
        AllocatedConv(StreamLayout(((0,), (1,), ())), [(0,), (1,), (2,)], 1, 2)


@pytest.mark.parametrize("make", [SFGBuilder, SurveyBuilder])
def test_layer_names_are_taken_once(make):
    builder = make(2, 2)
    image = builder.image(3)
    builder.conv("conv1", image, 4, 3)
    with pytest.raises(BackboneError, match="two layers 'conv1'"):
        builder.conv("conv1", image, 4, 3)


def test_the_survey_notes_layers_in_depth_order():
    survey = SurveyBuilder(2, 2)
    _, layout = survey.conv("b", survey.image(3), 4, 3)
    survey.conv("a", layout, 5, 3)
    assert list(survey.filters.items()) == [("b", 4), ("a", 5)]


def test_given_groups_serve_the_layer_of_their_name():
    groups = FilterGroups(4, 2, [0.2, 0.3, 0.5])
    builder = SFGBuilder(2, 2, groups={"conv1": groups})
    first, layout = builder.conv("conv1", builder.image(3), 4, 3)
    second, _ = builder.conv("conv2", layout, 5, 3)
    assert first.groups is groups
    assert second.groups.probs[0].tolist() == pytest.approx([1 / 3] * 3)
    assert [first.name, second.name] == ["conv1", "conv2"]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_same_padding_is_the_default(dimensions):
    builder = SFGBuilder(1, dimensions)
    layer, layout = builder.conv("conv1", builder.image(2), 4, 3)
    streams = layer(torch.randn(2, 2, *[5] * dimensions))
    assert [stream.shape for stream in streams] == [(2, 4, *[5] * dimensions)] * 2
    assert layout == StreamLayout.full(4, 2)
