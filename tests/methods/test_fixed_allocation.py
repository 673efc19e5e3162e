import pytest
import torch

from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.errors import AllocationError
from sfgsearch.methods import FixedAllocation, Randomness, manual_methods
from sfgsearch.nn import SingleTaskNetworks

CPU = torch.device("cpu")
DEAD = ((4, 3, 0), (2, 1, 3), (1, 2, 2))


def build(spec, method, seed=0):
    return method.build(spec, Randomness.from_seed(seed, CPU), CPU)


def make_allocation(counts):
    layers = (LayerAllocation(f"conv{index}", count) for index, count in enumerate(counts, 1))
    return Allocation(("digit", "angle", "shared"), tuple(layers))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("hard_sharing", [(0, 0, 7), (0, 0, 6), (0, 0, 5)]),
        ("single_task", [(7, 7, 0), (6, 6, 0), (5, 5, 0)]),
        ("equal", [(2, 2, 3), (2, 2, 2), (2, 1, 2)]),
    ],
)
def test_manual_methods_build_their_allocation(tiny, name, counts):
    spec = tiny.spec(2)
    system = build(spec, manual_methods[name](spec))
    assert [layer.counts for layer in system.allocation().layers] == counts


def test_it_predicts_with_the_compact_network_and_without_another_pass_over_data(tiny):
    spec = tiny.spec(2)
    system = build(spec, manual_methods["equal"](spec))
    tiny.randomise(system.network)
    images = tiny.images(spec)
    compact, network = system.predictor(lambda: pytest.fail("no data is needed")).eval(), system.network.eval()
    assert sum(p.numel() for p in compact.parameters()) < sum(p.numel() for p in network.parameters())
    for name, prediction in network(images).items():
        torch.testing.assert_close(compact(images)[name], prediction)
    assert system.kl().item() == 0
    assert system.probabilities() == {}


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_single_tasks_are_independent_networks(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    system = build(spec, manual_methods["single_task"](spec))
    images = tiny.images(spec)
    for task, name in enumerate(spec.task_names):
        system.network.zero_grad()
        (system.network(images)[name] ** 2).sum().backward()
        networks = system.network.networks if num_tasks > 1 else [system.network.network]
        assert isinstance(system.network, SingleTaskNetworks) == (num_tasks > 1)
        reached = [any(parameter.grad is not None for parameter in network.parameters()) for network in networks]
        assert reached == [index == task for index in range(num_tasks)]


@pytest.mark.parametrize("name", ["single_task", "hard_sharing"])
def test_one_task_alone_is_the_plain_network(tiny, name):
    spec = tiny.spec(1)
    network = build(spec, manual_methods[name](spec)).network.network.eval()
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    features = tiny.images(spec)
    for convolution, pools in zip(convolutions, (1, 0, 0), strict=True):
        features = torch.nn.functional.conv2d(features, convolution.weight, padding=1) / (1 + 1e-5) ** 0.5
        features = features.relu()
        features = torch.nn.functional.max_pool2d(features, 2) if pools else features
    head = network.heads["digit"].reader
    expected = features.mean((2, 3)) @ head.weight.T + head.bias
    torch.testing.assert_close(network(tiny.images(spec))["digit"], expected)


def test_filters_that_would_read_nothing_are_refused(tiny):
    with pytest.raises(AllocationError, match="'conv2'"):
        build(tiny.spec(2), FixedAllocation(make_allocation(DEAD)))


def test_filters_that_would_read_nothing_are_repaired_on_request(tiny):
    system = build(tiny.spec(2), FixedAllocation(make_allocation(DEAD), repair=True))
    assert [layer.shared for layer in system.allocation().layers] == [0, 0, 0]
    system.allocation().check_fits(system.spec.filters, system.spec.task_names)


@pytest.mark.parametrize(
    ("counts", "named"),
    [(((3, 2, 2), (2, 1, 2), (1, 2, 2)), "'conv2'"), (((3, 2, 2), (2, 1, 3)), "the backbone's are")],
)
def test_allocations_for_another_backbone_are_refused(tiny, counts, named):
    with pytest.raises(AllocationError, match=named):
        build(tiny.spec(2), FixedAllocation(make_allocation(counts)))


def test_allocations_for_other_tasks_are_refused(tiny):
    allocation = Allocation.equal(tiny.spec(2).filters, ("age", "gender"))
    with pytest.raises(AllocationError, match="is for tasks"):
        build(tiny.spec(2), FixedAllocation(allocation))
