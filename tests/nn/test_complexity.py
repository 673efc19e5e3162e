"""Counts against closed forms that are written from the layer sizes alone, and against torch's own counter."""

import pytest
import torch
from awkward_networks import build, image_shape
from torch.utils.flop_counter import FlopCounterMode

from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.graph import analyse, compact
from sfgsearch.nn import SingleTaskNetworks, assignment_rows, complexity, deal

SIDE, IMAGE_CHANNELS, KERNEL = 8, 2, 9
HEAD_OUTPUTS = {"digit": 3, "angle": 1, "colour": 4}
DIVISIBLE = (9, "pool", 6, 12, "pool", 3)


def closed_form(plan, counts, tasks, norm="batch"):
    """Return parameters and multiply-adds of a VGG whose layers have these counts per group.

    A task's own filters are there only if it has some in all layers above: nothing else would read them. Norms keep
    the width of the plain network.
    """
    parameters = macs = 0
    are_read = [
        [all(above[task] for above in counts[depth + 1 :]) for task in range(len(tasks))]
        for depth in range(len(counts))
    ]
    pixels, reads = SIDE**2, [IMAGE_CHANNELS] * (len(tasks) + 1)
    layers = iter(zip(counts, are_read, strict=True))
    for step in plan:
        if step == "pool":
            pixels //= 4
            continue
        (*own, shared), read = next(layers)
        built = [count if is_read else 0 for count, is_read in zip(own, read, strict=True)]
        parameters += 2 * step if norm == "batch" else sum(built) + shared  # biases
        for filters, channels in zip([*built, shared], reads, strict=True):
            parameters += filters * channels * KERNEL
            macs += filters * channels * KERNEL * pixels
        reads = [count + shared for count in own] + [shared]
    for task, channels in zip(tasks, reads, strict=False):
        parameters += HEAD_OUTPUTS[task] * (channels + 1)
        macs += HEAD_OUTPUTS[task] * channels
    return parameters, macs


def measure(tiny, plan, allocation, norm="batch"):
    spec = tiny.spec(len(allocation.tasks), plan=plan, side=SIDE, norm=norm)
    return complexity(
        compact(spec.build(), spec.analysis, assignment_rows(spec.analysis, deal(allocation))), spec.image_shape
    )


def filters_of(plan):
    widths = [step for step in plan if step != "pool"]
    return {f"conv{index}": width for index, width in enumerate(widths, 1)}


@pytest.mark.parametrize(
    ("plan", "make", "num_tasks", "norm"),
    [
        (DIVISIBLE, Allocation.equal, 1, "batch"),
        (DIVISIBLE, Allocation.equal, 2, "none"),
        (DIVISIBLE, Allocation.hard_sharing, 2, "batch"),
        ((8, 7, "pool", 5), Allocation.equal, 3, "batch"),
        ((8, 7, "pool", 5), Allocation.hard_sharing, 3, "none"),
        ((4,), Allocation.equal, 2, "batch"),
    ],
)
def test_counts_equal_the_closed_form(tiny, plan, make, num_tasks, norm):
    tasks = tuple(HEAD_OUTPUTS)[:num_tasks]
    allocation = make(filters_of(plan), tasks)
    expected = closed_form(plan, [layer.counts for layer in allocation.layers], tasks, norm)
    assert measure(tiny, plan, allocation, norm) == expected


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_filters_that_nothing_reads_do_not_count(tiny, norm):
    """The first task has no filters of its own in the second layer, so its three of the first are left out."""
    counts = [(3, 1, 3), (0, 4, 2), (5, 0, 1)]
    layers = tuple(LayerAllocation(f"conv{index}", count) for index, count in enumerate(counts, 1))
    allocation = Allocation(("digit", "angle", "shared"), layers)
    plan = (7, "pool", 6, 6)
    assert measure(tiny, plan, allocation, norm) == closed_form(plan, counts, ("digit", "angle"), norm)


def test_thirds_cost_five_ninths_of_the_plain_inner_layers(tiny):
    filters, tasks = filters_of(DIVISIBLE), ("digit", "angle")
    thirds = measure(tiny, DIVISIBLE, Allocation.equal(filters, tasks)).macs
    plain = measure(tiny, DIVISIBLE, Allocation.hard_sharing(filters, tasks)).macs
    first = IMAGE_CHANNELS * filters["conv1"] * KERNEL * SIDE**2
    heads_plain = (3 + 1) * filters["conv4"]
    heads_thirds = heads_plain * 2 // 3
    assert 9 * (thirds - first - heads_thirds) == 5 * (plain - first - heads_plain)


def test_single_tasks_cost_a_network_each(tiny):
    spec = tiny.spec(2, plan=DIVISIBLE, side=SIDE)
    together = complexity(SingleTaskNetworks.of(spec), spec.image_shape)
    counts = [(0, width) for width in filters_of(DIVISIBLE).values()]
    alone = [closed_form(DIVISIBLE, counts, (task,)) for task in spec.task_names]
    assert together == tuple(sum(values) for values in zip(*alone, strict=True))


@pytest.mark.parametrize("name", ["plain", "depthwise", "grouped", "transposed", "volume"])
def test_torch_counts_the_same(name):
    """Grouped, depthwise and transposed convolutions, plain and in groups."""
    network, shape = build(name, 2).eval(), image_shape(name)
    analysis = analyse(network, torch.randn(2, *shape))
    assignment = torch.arange(analysis.num_filters) % 3
    for counted in (network, compact(network, analysis, assignment)):
        with FlopCounterMode(display=False) as counter:
            counted(torch.randn(1, *shape))
        parameters = sum(parameter.numel() for parameter in counted.parameters())
        assert complexity(counted, shape) == (parameters, counter.get_total_flops() // 2)


def test_attention_counts_with_its_products():
    tokens, width, heads = 4, 8, 2
    patches, outputs = 3 * 16 * width * tokens, width * (1 + 2)
    projections = tokens * width * (3 * width + width)
    products = 2 * heads * tokens**2 * (width // heads)
    assert complexity(build("attention", 2), (3, 8, 8)).macs == patches + projections + products + outputs


@pytest.mark.parametrize("name", ["layer_norm", "group_norm"])
def test_norms_do_not_count_whether_by_group_or_not(name):
    network = build(name, 2)
    analysis = analyse(network, torch.randn(2, 3, 8, 8))
    shared = torch.full((analysis.num_filters,), 2)
    plain, grouped = (complexity(one, (3, 8, 8)) for one in (network, compact(network, analysis, shared)))
    assert plain == grouped


@pytest.mark.parametrize("dimensions", [2, 3])
def test_networks_of_masked_weights_cost_what_the_plain_one_does_and_the_masks(tiny, dimensions):
    spec = tiny.spec(2, dimensions)
    grouped, plain = complexity(tiny.grouped(spec), spec.image_shape), complexity(spec.build(), spec.image_shape)
    assert grouped.parameters == plain.parameters + 3 * spec.analysis.num_filters
    masks = sum(layer.writes.numel() * layer.reads.numel() * 3 for layer in spec.analysis.masked)
    assert grouped.macs == plain.macs + masks


def test_streams_convolve_the_image_once(tiny):
    spec = tiny.spec(2, plan=(4,), side=SIDE)
    heads = 3 * (3 + 1) * 4
    network = tiny.grouped(spec, execution="streams")
    assert complexity(network, spec.image_shape).macs == IMAGE_CHANNELS * 4 * KERNEL * SIDE**2 + heads


def test_frozen_weights_count():
    network = torch.nn.Conv2d(2, 3, 1)
    network.bias.requires_grad_(False)
    assert complexity(network, (2, 4, 4)) == (9, 6 * 16)


def test_counting_leaves_the_network_as_it_is(tiny):
    spec = tiny.spec(2)
    network = tiny.grouped(spec).train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    complexity(network, spec.image_shape)
    assert network.training
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_what_modules_share_is_counted_as_it_is_used():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(2)
            self.conv = torch.nn.Conv2d(2, 2, 1, bias=False)
            self.again = torch.nn.Conv2d(2, 2, 1, bias=False)
            self.again.weight = self.conv.weight

        def forward(self, images):
            return self.again(self.norm(self.conv(images)))

    assert complexity(Twice(), (2, 4, 4)) == (4 + 4, 2 * 4 * 16)


def test_tensors_with_two_names_count_once_as_parameters_and_every_time_they_are_used():
    first, second = torch.nn.Conv2d(2, 2, 1, bias=False), torch.nn.Conv2d(2, 2, 1, bias=False)
    second.weight = second.another = first.weight
    norm = torch.nn.BatchNorm2d(2)
    network = torch.nn.Sequential(first, norm, second, norm, first)
    network.train()
    assert complexity(network, (2, 3, 3)) == (4 + 4, 3 * 4 * 9)
    assert all(module.training for module in network.modules())
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}
    assert first.weight is second.weight is second.another
