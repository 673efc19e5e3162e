"""Networks at equal multiply-adds: the width that is found, counted independently, and allocations at other widths."""

from functools import partial

import pytest
import torch
from method_samples import BACKBONES
from torch.utils.flop_counter import FlopCounterMode

from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.backbones import backbones
from sfgsearch.errors import BackboneError
from sfgsearch.methods import FixedAllocation, FixedRouting, Randomness, manual_methods
from sfgsearch.nn import NetworkSpec, SingleTaskNetworks
from sfgsearch.records import costs_alike
from sfgsearch.search._matching import WidthSearch, at_width, width_of
from sfgsearch.tasks import Classification

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SHAPE = (2, 16, 16)
TASKS = (Classification("a", num_classes=3), Classification("b", num_classes=4))
OPTIONS = {
    "vgg_small": {"width": 1.0, "plan": (24, "pool", 32, 48)},
    "vgg11": {"width": 0.25},
    "resnet": {"width": 1.5, "depth": 8},
    "highresnet": {"width": 1.5, "blocks": 1},
}
METHODS = {name: make for name, make in manual_methods.items() if make.__module__.startswith("sfgsearch.")}


def specify(name, **changes):
    return NetworkSpec(partial(backbones[name], **{**OPTIONS[name], **changes}), TASKS, SHAPE)


@pytest.fixture(scope="module")
def searches():
    """Return a search of widths by backbone, which remembers what it has counted."""
    return {name: WidthSearch(specify(name)) for name in OPTIONS}


def network_of(method, spec):
    """Return what a method predicts with, for two batches of images that calibrate it."""
    system = method.build(spec, Randomness.from_seed(0, CPU), CPU)
    return system, system.predictor(lambda: [torch.randn(4, *SHAPE)] * 2).eval()


def count(network):
    """Count the multiply-adds of one image by torch's own counter, in a pass with numbers."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(1, *SHAPE))
    return counter.get_total_flops() / 2


def method_of(name, spec):
    """Return a manual method as a comparison retrains it: the tree that was found, where one is searched."""
    method = METHODS[name](spec, **({"samples": 2} if name == "constant_probabilities" else {}))
    system = method.build(spec, Randomness.from_seed(0, CPU), CPU)
    return method.retraining(system.structure()), system.complexity().macs


def test_every_backbone_takes_a_width():
    assert set(OPTIONS) == set(BACKBONES)


def pairs():
    """Return every method on one backbone, and two methods on the others."""
    every = [("resnet" if name == "adashare" else "vgg_small", name) for name in METHODS]
    return every + [(backbone, name) for backbone in OPTIONS if backbone != "vgg_small" for name in ("equal", "nddr")]


@pytest.mark.parametrize(("backbone", "name"), pairs())
def test_methods_and_backbones_cost_what_hard_sharing_does(searches, backbone, name):
    search = searches[backbone]
    plain = count(search.spec.build().eval())
    assert search.goal == plain
    method, macs = method_of(name, search.spec)
    width = search.find(name, partial(method.rescaled, search.spec), macs)
    wanted = at_width(search.spec, width)
    found = count(network_of(method.rescaled(search.spec, wanted), wanted)[1])
    # Where widths step together, or few channels are kept at a quarter of the cost, the nearest is further away.
    coarse = name == "constant_probabilities" or (backbone, name) == ("highresnet", "nddr")
    assert costs_alike(found, plain) or (coarse and abs(found / plain - 1) < 0.04)
    assert wanted.backbone.keywords == {**OPTIONS[backbone], "width": width}


@pytest.mark.parametrize("backbone", OPTIONS)
def test_an_allocation_keeps_its_shares_at_another_width(backbone):
    given = specify(backbone)
    wanted = at_width(given, 1.7 * width_of(given))
    shares = {name: [0.3, 0.1 + 0.4 * depth / len(given.filters)] for depth, name in enumerate(given.filters)}
    shares = {name: [own, other, 1 - own - other] for name, (own, other) in shares.items()}
    allocation = Allocation.from_proportions(given.filters, given.task_names, shares)
    scaled = FixedAllocation(allocation).rescaled(given, wanted)
    assert scaled.allocation.layers[0].num_filters > allocation.layers[0].num_filters
    for before, after in zip(allocation.layers, scaled.allocation.layers, strict=True):
        assert after.num_filters == wanted.filters[after.name]
        for mine, theirs in zip(before.counts, after.counts, strict=True):
            assert abs(mine / before.num_filters * after.num_filters - theirs) < 1
    system, network = network_of(scaled, wanted)
    assert system.allocation() == scaled.allocation
    assert set(network(torch.randn(2, *SHAPE))) == {"a", "b"}


def test_exact_assignments_and_full_networks_per_task_are_scaled_too():
    given = specify("resnet")
    wanted = at_width(given, 0.75)
    equal = Allocation.equal(given.filters, given.task_names)
    mixed = {
        layer.name: torch.randperm(layer.num_filters) % 3 for layer in equal.layers
    }  # a group of every filter, in no order
    scaled = FixedAllocation(equal, assignments={name: groups.tolist() for name, groups in mixed.items()})
    system, _ = network_of(scaled.rescaled(given, wanted), wanted)
    assert {layer.name: layer.num_filters for layer in system.allocation().layers} == wanted.filters
    single = FixedAllocation(Allocation.single_task(given.filters, given.task_names)).rescaled(given, wanted)
    assert single.allocation == Allocation.single_task(wanted.filters, wanted.task_names)


def test_filters_that_are_off_keep_their_share_too():
    given = specify("vgg_small")
    wanted = at_width(given, 1.5)
    counts = {name: [number // 4, number // 4, number // 4] for name, number in given.filters.items()}  # a quarter off
    assignments = {
        name: [group for group, count in enumerate(own) for _ in range(count)] + [3] * (given.filters[name] - sum(own))
        for name, own in counts.items()
    }
    layers = tuple(LayerAllocation(name, tuple(own)) for name, own in counts.items())
    method = FixedAllocation(Allocation(("a", "b", "shared"), layers), assignments=assignments)
    system, _ = network_of(method.rescaled(given, wanted), wanted)
    for layer in system.allocation().layers:
        assert all(abs(count - wanted.filters[layer.name] / 4) < 1 for count in layer.counts)


def test_routes_keep_the_part_of_filters_that_the_same_tasks_hold():
    given = specify("vgg_small", plan=(8, 12))
    wanted = at_width(given, 3.0)
    masks = {
        name: torch.stack([torch.arange(number) < number // 2, torch.arange(number) >= number // 4])
        for name, number in given.filters.items()
    }
    scaled = FixedRouting(masks).rescaled(given, wanted)
    for name, number in wanted.filters.items():
        held = scaled.masks[name]
        assert held.shape == (2, number)
        assert held.sum(1).tolist() == pytest.approx([number / 2, number * 3 / 4], abs=1)
        assert (held[0] & held[1]).sum().item() == pytest.approx(number / 4, abs=1)
    network_of(scaled, wanted)


def test_few_networks_are_analysed_and_each_answer_is_kept(searches):
    search, asked = searches["vgg11"], []
    equal = FixedAllocation(Allocation.equal(search.spec.filters, search.spec.task_names), repair=True)
    macs = network_of(equal, search.spec)[0].complexity().macs

    def method_at(spec):
        asked.append(width_of(spec))
        return equal.rescaled(search.spec, spec)

    width = search.find("kept", method_at, macs)
    assert 1 <= len(asked) <= 3
    assert search.find("kept", method_at, macs) == width
    assert asked.count(width) == 1


def test_no_other_width_comes_closer_where_channels_are_few():
    spec = specify("vgg_small", plan=(3, "pool", 4))
    search = WidthSearch(spec)
    single = FixedAllocation(Allocation.single_task(spec.filters, spec.task_names))
    width = search.find("single", partial(single.rescaled, spec))

    def distance(tried):
        return abs(count(SingleTaskNetworks.of(at_width(spec, tried)).eval()) - search.goal)

    assert not costs_alike(distance(width) + search.goal, search.goal)
    assert distance(width) == min(distance(0.3 + 0.02 * step) for step in range(40))


def test_a_network_at_its_goal_keeps_its_width():
    spec = specify("vgg_small")
    hard = FixedAllocation(Allocation.hard_sharing(spec.filters, spec.task_names))
    assert WidthSearch(spec).find("hard", partial(hard.rescaled, spec)) == 1.0


def test_a_backbone_without_width_cannot_be_scaled():
    spec = NetworkSpec(lambda shape: torch.nn.Conv2d(shape[0], 4, 3), TASKS, SHAPE)
    assert width_of(spec) is None
    with pytest.raises(BackboneError, match="no option 'width'"):
        _ = WidthSearch(spec).goal
