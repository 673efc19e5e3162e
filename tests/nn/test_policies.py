"""Networks whose tasks select residual blocks, against loops written by hand."""

import functools

import pytest
import torch
from lockstep_references import TASKS, spec_of
from torch import nn

from sfgsearch.backbones import highresnet
from sfgsearch.errors import AllocationError, SFGSearchError
from sfgsearch.graph import residual_blocks
from sfgsearch.nn import (
    DrawnPolicy,
    GateSampling,
    NetworkSpec,
    SelectedBlocks,
    Structure,
    build_shared,
    complexity,
    likely_policy,
    policy_structure,
    reestimate_statistics,
    select_blocks,
)

BLOCKS = ("stage1_block1", "stage2_block1", "stage3_block1")
TEMPERATURE = 0.8


def drawn(tiny, spec):
    """Return a network that draws its policy, with random numbers."""
    sampling = GateSampling(TEMPERATURE, generator=tiny.seeded(5))
    network = build_shared(spec, DrawnPolicy(spec.analysis, sampling), tiny.seeded(0))
    tiny.randomise(network)
    return network.double()


def selecting(tiny, spec, *rows):
    """Return a network of a policy: for every block the tasks that select it."""
    names = [block.name for block in residual_blocks(spec.analysis)]
    policy = {name: tuple(map(bool, row)) for name, row in zip(names, rows, strict=True)}
    network = build_shared(spec, SelectedBlocks(spec.analysis, policy), tiny.seeded(0))
    tiny.randomise(network)
    return network.double()


def norm_by_hand(x, norm, training):
    mean, variance = norm.running_mean, norm.running_var
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    shape = (1, -1, 1, 1)
    x = (x - mean.view(shape)) / (variance.view(shape) + norm.eps).sqrt()
    return x * norm.weight.view(shape) + norm.bias.view(shape)


def by_hand(network, images, gates, training):
    """Return the predictions of a small ResNet, run once per task."""
    found = []
    for task, (own, head) in enumerate(zip(network.copies, network.ordered_heads, strict=True)):
        norm = functools.partial(norm_by_hand, training=training)
        x = norm(own.stem(images), own.norm).clamp_min(0)
        for stage, name in enumerate(BLOCKS, start=1):
            block = own.get_submodule(name)
            branch = block.conv2(norm(block.conv1(x), block.norm1).clamp_min(0))
            branch = norm(branch, block.norm2) * gates[name][task]
            if stage > 1:
                extra = x.shape[1] // 2
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
            x = (x + branch).clamp_min(0)
        found.append(head(x))
    return found


def gradients(predictions, parameters):
    return torch.autograd.grad(sum(prediction.square().sum() for prediction in predictions), parameters)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_branches_are_gated_by_relaxed_draws(tiny, num_tasks):
    spec = spec_of("resnet", num_tasks)
    network, images = drawn(tiny, spec).train(), tiny.images(spec).double()
    noise, gates = tiny.seeded(5), {}
    for name, gate in zip(BLOCKS, network.reading.gates, strict=True):
        select, skip = -torch.empty(num_tasks, 2, dtype=torch.float64).exponential_(generator=noise).log().mT
        gates[name] = torch.sigmoid((gate.logits + select - skip) / TEMPERATURE)
    parameters = list(network.parameters())
    expected = by_hand(network, images, gates, training=True)
    found = list(network(images).values())
    pairs = zip((*found, *gradients(found, parameters)), (*expected, *gradients(expected, parameters)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * max(1.0, float(other.detach().abs().max())))


@pytest.mark.parametrize("training", [True, False])
def test_a_policy_runs_what_is_selected(tiny, training):
    spec = spec_of("resnet", 3)
    rows = ((1, 1, 0), (1, 0, 1), (0, 1, 0))
    network, images = selecting(tiny, spec, *rows).train(training), tiny.images(spec).double()
    gates = {name: torch.tensor(row, dtype=torch.float64) for name, row in zip(BLOCKS, rows, strict=True)}
    expected = by_hand(network, images, gates, training)
    for one, other in zip(network(images).values(), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_most_probable_blocks_are_selected_with_the_trained_weights(tiny):
    spec = spec_of("resnet", 3)
    network, images = drawn(tiny, spec), tiny.images(spec).double()
    found = select_blocks(network)
    assert found.reading.policy == likely_policy(network)
    assert any(not all(row) for row in likely_policy(network).values())
    reestimate_statistics(found, [images])
    gates = {gate.block.name: (gate.logits >= 0).double() for gate in network.reading.gates}
    expected = by_hand(network, images, gates, training=True)
    for one, other in zip(found.train()(images).values(), expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("rows", "runs"),
    [
        (((1, 1), (1, 1), (1, 1)), (1, 1, 1, 1)),  # as hard sharing
        (((1, 1), (1, 0), (0, 1)), (1, 1, 1, 1)),  # what is common is computed once
        (((1, 0), (1, 1), (1, 1)), (1, 1, 2, 2)),
        (((0, 0), (0, 1), (0, 0)), (1, 0, 1, 0)),
    ],
)
def test_the_cost_is_that_of_what_is_executed(tiny, rows, runs):
    spec = spec_of("resnet", 2)
    convolutions = (  # filters, channels, pixels
        ((4, 2, 64),),
        ((4, 4, 64), (4, 4, 64)),
        ((8, 4, 16), (8, 8, 16)),
        ((16, 8, 4), (16, 16, 4)),
    )
    parts = [sum(filters * channels * 9 * pixels for filters, channels, pixels in part) for part in convolutions]
    heads = 16 * sum(task.outputs for task in spec.tasks)
    network = selecting(tiny, spec, *rows)
    cost = complexity(network, spec.image_shape)
    assert cost.macs == sum(part * times for part, times in zip(parts, runs, strict=True)) + heads
    weights = [
        sum(filters * channels * 9 + 2 * filters for filters, channels, _ in part) for part in convolutions
    ]  # norms have the same scales for all tasks
    kept = sum(size for size, times in zip(weights, runs, strict=True) if times)
    assert cost.parameters == kept + heads + sum(task.outputs for task in spec.tasks)


def test_tasks_have_statistics_of_their_own_once_they_part(tiny):
    network = selecting(tiny, spec_of("resnet", 3), (1, 1, 1), (1, 0, 0), (1, 1, 1))
    first, second, third = network.copies
    assert first.norm is second.norm is third.norm
    assert first.stage3_block1.norm1 is not second.stage3_block1.norm1
    assert second.stage3_block1.norm1 is third.stage3_block1.norm1
    assert first.stage3_block1.norm1.weight is second.stage3_block1.norm1.weight
    assert first.stage3_block1.conv1 is second.stage3_block1.conv1


class InPlace(nn.Module):
    """A sum that is rectified in place, while its shortcut is read again."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, images):
        x = self.stem(images)
        return self.last(torch.cat([nn.functional.relu(x + self.inner(x), inplace=True), x], 1))


def test_a_skipped_block_leaves_its_shortcut_alone(tiny):
    spec = NetworkSpec(lambda _shape: InPlace(), TASKS[:2], (2, 4, 4))
    network, images = selecting(tiny, spec, (1, 0)), tiny.images(spec).double()
    own = network.copies[1]
    x = own.stem(images)
    expected = network.ordered_heads[1](own.last(torch.cat([x.clamp_min(0), x], 1)))
    torch.testing.assert_close(network(images)[TASKS[1].name], expected)


class Sums(nn.Module):
    """A block with a projected shortcut, two layers side by side, and a sum with an embedding: one residual block."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.projection = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(2, 4, 1)
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.position = nn.Parameter(torch.zeros(1, 4, 4, 4))

    def forward(self, images):
        x = self.projection(images) + self.second(torch.relu(self.first(images)))
        return self.left(x) + self.right(x) + self.position


def test_blocks_are_sums_of_a_branch_and_a_shortcut():
    spec = NetworkSpec(lambda _shape: Sums(), TASKS[:2], (2, 4, 4))
    (block,) = residual_blocks(spec.analysis)
    nodes = list(spec.analysis.trace.operations)
    assert nodes.index(block.branch) > nodes.index(block.shortcut)
    assert [block.name for block in residual_blocks(spec_of("resnet", 2).analysis)] == list(BLOCKS)
    assert residual_blocks(spec_of("vgg", 2).analysis) == ()
    spec = NetworkSpec(functools.partial(highresnet, width=0.25, blocks=2), TASKS[:1], (2, 6, 6))
    names = [block.name for block in residual_blocks(spec.analysis)]
    assert names == [f"block{stage}_{number}" for stage in (1, 2, 3) for number in (1, 2)]


@pytest.mark.parametrize(
    "policy", [{}, {"stage1_block1": (True, True)}, dict.fromkeys(BLOCKS, (True,)), dict.fromkeys(BLOCKS, (True,) * 3)]
)
def test_policies_of_other_networks_are_refused(policy):
    spec = spec_of("resnet", 2)
    with pytest.raises(AllocationError, match=r"selected or not|has residual blocks"):
        SelectedBlocks(spec.analysis, policy)
    with pytest.raises(SFGSearchError):
        Structure.from_dict(policy_structure(policy).to_dict()).build(spec)
