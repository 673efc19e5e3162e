"""The compact network of an assignment equals the masked network under that assignment."""

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.errors import BackboneError
from sfgsearch.nn import (
    AllocatedConv,
    Backbone,
    EachStream,
    NetworkSpec,
    SFGBuilder,
    derive,
    reestimate_statistics,
    sfg_layers,
)

CASES = [
    (num_tasks, dimensions, norm)
    for num_tasks in (1, 2, 3)
    for dimensions in (2, 3)
    for norm in ("batch", "instance", "none")
]


def allocated_layers(network):
    return [module for module in network.modules() if isinstance(module, AllocatedConv)]


@torch.no_grad()
def assert_same_predictions(compact, masked, images):
    ours, theirs = compact.eval()(images), masked.eval()(images)
    assert list(ours) == list(theirs)
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-5, atol=1e-5)


def derive_and_compare(tiny, spec, assignments, seed=0):
    masked = tiny.masked(spec, seed)
    derived = derive(masked, spec, assignments)
    tiny.fix(masked, derived.assignments)
    assert_same_predictions(derived.network, masked, tiny.images(spec))
    return derived


def without_group(assignments, group, into):
    return {name: torch.where(groups == group, into, groups) for name, groups in assignments.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num_tasks", "dimensions", "norm"), CASES)
def test_the_compact_network_equals_the_masked_one(tiny, num_tasks, dimensions, norm, seed):
    spec = tiny.spec(num_tasks, dimensions, norm)
    assignments = tiny.assignments(spec, seed)
    derived = derive_and_compare(tiny, spec, assignments, seed)
    assert derived.repairs == ()
    assert all(torch.equal(derived.assignments[name], groups) for name, groups in assignments.items())


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize(("num_tasks", "dimensions", "norm"), CASES)
def test_they_stay_equal_when_statistics_are_reestimated(tiny, num_tasks, dimensions, norm, hidden):
    spec = tiny.spec(num_tasks, dimensions, norm, hidden)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    compact = derive(masked, spec, assignments).network
    tiny.fix(masked, assignments)
    before = compact.eval()(tiny.images(spec))
    for network in (compact, masked):
        reestimate_statistics(network, [tiny.images(spec, batch=6, seed=seed) for seed in (1, 2)])
    assert_same_predictions(compact, masked, tiny.images(spec))
    if norm == "batch":
        assert not torch.allclose(before["digit"], compact(tiny.images(spec))["digit"], atol=1e-3)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_heads_with_a_hidden_layer(tiny, num_tasks):
    spec = tiny.spec(num_tasks, hidden=5)
    derive_and_compare(tiny, spec, tiny.assignments(spec))


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize(
    ("num_tasks", "empty", "into"), [(1, 0, 1), (2, 0, 2), (2, 1, 2), (3, 1, 3), (3, 2, 0), (3, 0, 1)]
)
def test_a_task_group_without_filters(tiny, num_tasks, empty, into, norm):
    spec = tiny.spec(num_tasks, norm=norm)
    derived = derive_and_compare(tiny, spec, without_group(tiny.assignments(spec), empty, into))
    assert derived.repairs == ()


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_nothing_shared_anywhere(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    derived = derive_and_compare(tiny, spec, without_group(tiny.assignments(spec), num_tasks, 0))
    assert derived.repairs == ()
    assert all(layer.shared == 0 for layer in derived.allocation.layers)


def test_nothing_shared_in_the_last_layer(tiny):
    spec = tiny.spec(2)
    assignments = tiny.assignments(spec)
    assignments["conv3"] = torch.tensor([0, 0, 1, 1, 0])
    assert derive_and_compare(tiny, spec, assignments).repairs == ()


def test_the_most_probable_groups_serve_by_default(tiny):
    spec = tiny.spec(2)
    masked = tiny.masked(spec, seed=3)
    derived = derive(masked, spec)
    assert derived.repairs == ()
    for name, layer in sfg_layers(masked).items():
        assert torch.equal(derived.assignments[name], layer.groups.probs.argmax(1))
    assert_same_predictions(derived.network, masked, tiny.images(spec))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_weights_are_literally_those_of_the_masked_filters(tiny, norm):
    spec = tiny.spec(2, norm=norm)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    compact = derive(masked, spec, assignments).network
    below = [range(spec.image_shape[0])] * 3
    for layer, (name, trained) in zip(allocated_layers(compact), sfg_layers(masked).items(), strict=True):
        groups = assignments[name].tolist()
        for group in range(3):
            convolution = layer.groups[str(group)][0]
            filters = [index for index, own in enumerate(groups) if own == group]
            assert sorted(layer.filters[group]) == filters
            assert sorted(layer.source.members[group]) == sorted(below[group])
            for row, filter_index in enumerate(layer.filters[group]):
                for column, channel in enumerate(layer.source.members[group]):
                    assert torch.equal(convolution.weight[row, column], trained.weight[filter_index, channel])
                if norm == "none":
                    assert torch.equal(convolution.bias[row], trained.bias[filter_index])
        below = [[index for index, own in enumerate(groups) if own in (group, 2)] for group in range(3)]


def test_the_trained_network_and_the_assignments_stay_as_they_are(tiny):
    spec = tiny.spec(2)
    masked, assignments = tiny.masked(spec), without_group(tiny.assignments(spec), 0, 1)
    assignments["conv1"] = torch.tensor([0, 0, 0, 0, 0, 0, 0])
    copies = {name: groups.clone() for name, groups in assignments.items()}
    state = {name: value.clone() for name, value in masked.state_dict().items()}
    derived = derive(masked, spec, assignments)
    tiny.randomise(derived.network, seed=9)
    assert derived.repairs
    assert all(torch.equal(assignments[name], groups) for name, groups in copies.items())
    assert all(torch.equal(masked.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_that_of_the_trained_network(tiny, training):
    spec = tiny.spec(2)
    compact = derive(tiny.masked(spec).train(training), spec, tiny.assignments(spec)).network
    assert {module.training for module in compact.modules()} == {training}


def test_the_allocation_counts_filters_and_describes_probabilities(tiny):
    spec = tiny.spec(2)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    allocation = derive(masked, spec, assignments).allocation
    allocation.check_fits(spec.filters, spec.task_names)
    for name, layer in sfg_layers(masked).items():
        counts = [int((assignments[name] == group).sum()) for group in range(3)]
        assert list(allocation.layer(name).counts) == counts
        assert allocation.layer(name).mean_probs == pytest.approx(layer.groups.probs.mean(0).tolist(), rel=1e-5)
        assert allocation.layer(name).mean_entropy == pytest.approx(layer.groups.entropy().mean().item(), rel=1e-5)
    assert Allocation.from_json(allocation.to_json()) == allocation


def test_the_order_in_which_assignments_are_given_does_not_matter(tiny):
    spec = tiny.spec(2)
    backwards = dict(reversed(tiny.assignments(spec).items()))
    allocation = derive(tiny.masked(spec), spec, backwards).allocation
    allocation.check_fits(spec.filters, spec.task_names)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_shared_filters_above_a_layer_that_shares_nothing_are_repaired(tiny, dimensions):
    spec = tiny.spec(2, dimensions)
    assignments = tiny.assignments(spec)
    assignments["conv1"] = torch.tensor([0, 0, 1, 1, 0, 1, 0])
    assignments["conv2"] = torch.tensor([0, 2, 1, 2, 2, 1])
    derived = derive_and_compare(tiny, spec, assignments)
    preferred = sfg_layers(tiny.masked(spec))["conv2"].groups.probs[:, :2].argmax(1)
    expected = torch.where(assignments["conv2"] == 2, preferred, assignments["conv2"])
    assert torch.equal(derived.assignments["conv2"], expected)
    assert any("conv2" in repair and "3 shared" in repair for repair in derived.repairs)
    assert derived.allocation.layer("conv2").shared == 0


def test_a_repair_carries_on_upwards(tiny):
    spec = tiny.spec(2)
    assignments = tiny.assignments(spec)
    assignments["conv1"] = torch.tensor([0, 0, 1, 1, 0, 1, 0])
    derived = derive_and_compare(tiny, spec, assignments)
    assert [layer.shared for layer in derived.allocation.layers] == [0, 0, 0]
    assert [any(name in repair for repair in derived.repairs) for name in spec.filters] == [False, True, True]


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_a_task_with_nothing_to_read_gets_the_filter_that_prefers_it_most(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    assignments = tiny.assignments(spec)
    last = num_tasks - 1
    assignments["conv3"] = torch.tensor([0, 0, 0, *range(num_tasks - 1)] + [0] * 5)[:5].clamp_max(last - 1)
    derived = derive_and_compare(tiny, spec, assignments)
    groups = derived.assignments["conv3"]
    assert int((groups == last).sum()) == 1
    assert any("conv3" in repair for repair in derived.repairs)
    probs = sfg_layers(tiny.masked(spec))["conv3"].groups.probs[:, last]
    counts = assignments["conv3"].bincount(minlength=num_tasks + 1)
    spare = counts[assignments["conv3"]] > 1
    assert int((groups == last).nonzero()) == int(torch.where(spare, probs, -1.0).argmax())


def test_all_filters_of_one_task_are_repaired_in_every_layer(tiny):
    spec = tiny.spec(3)
    assignments = {name: torch.zeros(count, dtype=torch.int64) for name, count in spec.filters.items()}
    derived = derive_and_compare(tiny, spec, assignments)
    for layer in derived.allocation.layers:
        assert layer.counts == (layer.num_filters - 2, 1, 1, 0)
    assert len(derived.repairs) == 6


def test_group_indices_that_do_not_exist_are_refused(tiny):
    spec = tiny.spec(2)
    assignments = tiny.assignments(spec)
    assignments["conv2"] = torch.tensor([0, 1, 2, 3, 0, 2])
    with pytest.raises(ValueError, match="conv2"):
        derive(tiny.masked(spec), spec, assignments)


@pytest.mark.parametrize("length", [5, 7])
def test_assignments_of_the_wrong_length_are_refused(tiny, length):
    spec = tiny.spec(2)
    assignments = tiny.assignments(spec)
    assignments["conv2"] = torch.tensor([0, 1, 2, 2, 0, 1, 2])[:length]
    with pytest.raises(ValueError, match="conv2"):
        derive(tiny.masked(spec), spec, assignments)


def test_a_missing_layer_is_refused(tiny):
    spec = tiny.spec(2)
    assignments = tiny.assignments(spec)
    del assignments["conv2"]
    with pytest.raises(ValueError, match="conv2"):
        derive(tiny.masked(spec), spec, assignments)


def test_weights_outside_allocatable_layers_are_refused(tiny):
    """Which of their channels a compact network keeps cannot be told; a copy that happens to fit would be wrong."""

    class Scaled(Backbone):
        def __init__(self, layers, image_shape):
            super().__init__()
            self.conv, self.layout = layers.conv("conv1", layers.image(image_shape[0]), 6, 3)
            self.scale = EachStream(torch.nn.BatchNorm2d(self.layout.num_channels(0)))

        def forward(self, streams):
            return self.scale(self.conv(streams))

    spec = NetworkSpec(Scaled, tiny.tasks(2), (2, 6, 6))
    with pytest.raises(BackboneError, match="BatchNorm2d with weights of its own"):
        derive(spec.build(SFGBuilder(2, 2)), spec)
