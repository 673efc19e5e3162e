"""Networks in groups: gates in training, the derived network, allocations and copies."""

import copy
import functools

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import resnet
from sfgsearch.errors import AllocationError
from sfgsearch.graph import GroupedLayer
from sfgsearch.nn import (
    AssignedNetwork,
    FilterGroups,
    GateSampling,
    GroupedNetwork,
    NetworkSpec,
    allocated_structure,
    assignment_rows,
    count_assignment,
    deal,
    plain_state,
    reestimate_statistics,
    rows_by_space,
)


@torch.no_grad()
def assert_same_predictions(one, other, images):
    ours, theirs = one.eval()(images), other.eval()(images)
    assert list(ours) == list(theirs)
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=["vgg", "resnet"])
def spec(request, tiny):
    if request.param == "vgg":
        return tiny.spec(2)
    return NetworkSpec(functools.partial(resnet, depth=8, width=0.25), tiny.tasks(2), (2, 6, 6))


@pytest.mark.parametrize(
    ("num_tasks", "norm", "hidden"),
    [(1, "batch", 0), (2, "batch", 5), (3, "batch", 0), (2, "instance", 0), (2, "none", 5)],
)
def test_derived_networks_stay_equal_when_statistics_are_reestimated(tiny, num_tasks, norm, hidden):
    spec = tiny.spec(num_tasks, norm=norm, hidden=hidden)
    network, assignment = tiny.grouped(spec), tiny.assignments(spec)
    tiny.fix(network, assignment)
    derived = [network.compact(assignment), network.bake(assignment)]
    before = network.eval()(tiny.images(spec))["digit"]
    for one in (network, *derived):
        reestimate_statistics(one, [tiny.images(spec, batch=6, seed=seed) for seed in (1, 2)])
    for one in derived:
        assert_same_predictions(one, network, tiny.images(spec))
    if norm == "batch":
        assert not torch.allclose(before, network(tiny.images(spec))["digit"], atol=1e-3)


def test_the_most_probable_groups_are_derived(tiny, spec):
    network = tiny.grouped(spec, seed=3)
    with torch.no_grad():  # every layer has something to read
        rows = assignment_rows(spec.analysis, tiny.assignments(spec))
        network.groups.logits += 9 * torch.nn.functional.one_hot(rows, 3)
    assignment, repairs = network.derive()
    assert repairs == []
    for name, probabilities in network.probabilities().items():
        assert torch.equal(assignment[name], probabilities.argmax(1))
    assert_same_predictions(network.compact(), network, tiny.images(spec))


def test_a_repair_follows_the_probabilities(tiny):
    spec = tiny.spec(2)
    network = tiny.grouped(spec)
    logits = rows_by_space(spec.analysis, network.groups.logits.data)
    for name, groups in tiny.assignments(spec).items():
        logits[name].copy_(9.0 * torch.nn.functional.one_hot(groups, 3))
    logits["conv2"].copy_(torch.tensor([[9.0, 0.0, -9.0]]).repeat(6, 1))
    logits["conv3"][:, 2] = -9.0
    logits["conv2"][4, 1] = 8.0
    assignment, repairs = network.derive()
    assert assignment["conv2"].tolist() == [0, 0, 0, 0, 1, 0]
    assert repairs == ["layer conv2: task 1 would read nothing and got one filter"]


def test_the_allocation_counts_filters_and_describes_probabilities(tiny, spec):
    network = tiny.grouped(spec)
    assignment = tiny.assignments(spec)
    allocation = network.allocation(assignment)
    allocation.check_fits(spec.filters, spec.task_names)
    entropies = rows_by_space(spec.analysis, network.groups.entropy())
    for name, probabilities in network.probabilities().items():
        assert list(allocation.layer(name).counts) == [int((assignment[name] == group).sum()) for group in range(3)]
        assert allocation.layer(name).mean_probs == pytest.approx(probabilities.mean(0).tolist(), rel=1e-5)
        assert allocation.layer(name).mean_entropy == pytest.approx(entropies[name].mean().item(), rel=1e-5)
    assert Allocation.from_json(allocation.to_json()) == allocation


@pytest.mark.parametrize("training", [True, False])
def test_the_trained_network_stays_as_it_is(tiny, spec, training):
    network = tiny.grouped(spec).train(training)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for derived in (network.compact(), network.bake()):
        tiny.randomise(derived, seed=9)
        assert {module.training for module in derived.modules()} == {training}
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_weights_are_literally_those_of_the_trained_filters(tiny):
    spec = tiny.spec(2, norm="none")
    network, assignment = tiny.grouped(spec), tiny.assignments(spec)
    layer = network.compact(assignment).get_submodule("backbone.conv2")
    plain = network.network.get_submodule("backbone.conv2")
    assert isinstance(layer, GroupedLayer)
    for group, part in enumerate(layer.parts):
        filters = (assignment["conv2"] == group).nonzero().flatten()
        channels = ((assignment["conv1"] == group) | (assignment["conv1"] == 2)).nonzero().flatten()
        assert torch.equal(part.weight, plain.weight[filters][:, channels])
        assert torch.equal(part.bias, plain.bias[filters])


def test_a_layer_that_is_used_twice_is_compact_too(tiny):
    class Twice(torch.nn.Module):
        def __init__(self, image_shape):
            super().__init__()
            self.stem, self.same = torch.nn.Conv2d(image_shape[0], 6, 3), torch.nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, images):
            return self.same(self.same(self.stem(images).relu()).relu())

    spec = NetworkSpec(Twice, tiny.tasks(2), (2, 6, 6))
    network = tiny.grouped(spec)
    assert isinstance(network.compact(tiny.assignments(spec)).backbone.same, GroupedLayer)


@pytest.mark.parametrize("execution", ["dense", "streams"])
def test_gates_are_drawn_in_training_only(tiny, execution):
    spec = tiny.spec(2)
    network, images = tiny.grouped(spec, execution=execution), tiny.images(spec)
    network.groups.sampling.generator = tiny.seeded(0)
    first, second = (network.train()(images)["digit"] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (network.eval()(images)["digit"] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("execution", ["dense", "streams"])
def test_losses_reach_weights_and_probabilities(tiny, execution):
    spec = tiny.spec(2)
    network = tiny.grouped(spec, execution=execution).train()
    predictions, targets = network(tiny.images(spec)), tiny.targets(spec)
    sum(task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in spec.tasks).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
    gradients = rows_by_space(spec.analysis, network.groups.logits.grad)
    assert all(bool(gradient.any()) for gradient in gradients.values())


def test_an_execution_that_does_not_exist_is_refused(tiny):
    spec = tiny.spec(2)
    with pytest.raises(ValueError, match="execution must be one of dense, streams, got 'sparse'"):
        GroupedNetwork(spec.build(), spec.analysis, spec.task_names, execution="sparse")


@pytest.mark.parametrize("execution", ["dense", "streams"])
def test_copies_and_states(tiny, spec, execution):
    network = tiny.grouped(spec, execution=execution)
    network(tiny.images(spec))
    other = copy.deepcopy(network)
    assert_same_predictions(other, network, tiny.images(spec))
    tiny.randomise(other, seed=5)
    assert not torch.equal(other(tiny.images(spec))["digit"], network(tiny.images(spec))["digit"])
    other.load_state_dict(plain_state(network))
    assert_same_predictions(other, network, tiny.images(spec))
    assert list(network.network.state_dict()) == list(spec.build().state_dict())


def test_a_structure_rebuilds_a_compact_network_for_its_weights(tiny, spec):
    network = tiny.grouped(spec)
    assignment = tiny.assignments(spec)
    compact = network.compact(assignment)
    again = allocated_structure(assignment).build(spec)
    again.load_state_dict(plain_state(compact))
    assert_same_predictions(again, compact, tiny.images(spec))


def test_an_assigned_network_is_that_of_fixed_gates(tiny, spec):
    network, assignment = tiny.grouped(spec), tiny.assignments(spec)
    tiny.fix(network, assignment)
    assigned = AssignedNetwork(network.network, spec.analysis, assignment, spec.task_names)
    for training in (True, False):
        expected = network.train(training)(tiny.images(spec))
        for name, prediction in assigned.train(training)(tiny.images(spec)).items():
            torch.testing.assert_close(prediction, expected[name], rtol=1e-6, atol=1e-6)
    assert_same_predictions(assigned.compact(), network, tiny.images(spec))


def test_an_assigned_network_of_shared_filters_runs_the_plain_one(tiny, spec):
    plain = spec.build()
    assignment = {name: torch.full((number,), 2) for name, number in spec.filters.items()}
    assigned = AssignedNetwork(plain, spec.analysis, assignment, spec.task_names)
    with torch.no_grad():
        ours, theirs = assigned.eval()(tiny.images(spec)), plain.eval()(tiny.images(spec))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_filters_are_dealt_in_order_and_counted(tiny):
    spec = tiny.spec(2)
    allocation = Allocation.equal(spec.filters, spec.task_names)
    assignment = deal(allocation)
    assert assignment["conv2"].tolist() == [0, 0, 1, 1, 2, 2]
    assert count_assignment(assignment, spec.task_names) == allocation
    rows = assignment_rows(spec.analysis, dict(reversed(assignment.items())))
    assert rows.tolist() == [group for name in spec.filters for group in assignment[name].tolist()]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"conv2": [0, 1, 2, 4, 0, 2]},
            r"layer 'conv2': an assignment is one group 0\.\.2 per filter, or 3 where it is off",
        ),
        ({"conv2": [0, 1, 2, 0, 1]}, r"layer 'conv2': .* shape \(6,\)"),
        ({"conv2": None}, "has layers conv1, conv2, conv3; 'conv2' does not fit"),
        ({"conv9": [0]}, "has layers conv1, conv2, conv3; 'conv9' does not fit"),
    ],
)
def test_assignments_that_do_not_fit_are_refused(tiny, change, reason):
    spec = tiny.spec(2)
    given = {name: value for name, value in (tiny.assignments(spec) | change).items() if value is not None}
    with pytest.raises(AllocationError, match=reason):
        tiny.grouped(spec).compact({name: torch.as_tensor(groups) for name, groups in given.items()})


def test_the_network_takes_groups_that_are_given(tiny):
    spec = tiny.spec(2)
    groups = FilterGroups(spec.analysis.num_filters, 2, [0.2, 0.3, 0.5], sampling=GateSampling(hard=True))
    network = GroupedNetwork(spec.build(), spec.analysis, spec.task_names, groups)
    assert network.groups is groups
    assert network.probabilities()["conv1"][0].tolist() == pytest.approx([0.2, 0.3, 0.5])
