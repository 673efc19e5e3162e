"""Networks with dense heads: compact equals masked, predictions have the images' size, and export keeps them."""

import functools

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import vgg_small
from sfgsearch.nn import (
    AllocatedBuilder,
    MonteCarloEnsemble,
    NetworkSpec,
    complexity,
    derive,
    initialise,
    reestimate_statistics,
)
from sfgsearch.tasks import Classification, DenseRegression, Segmentation

SPACES = {2: (6, 8), 3: (4, 6, 5)}
PLANS = [(7, 6, 5), (7, "pool", 6, 5)]


def dense_spec(dimensions, norm="batch", hidden=0, plan=PLANS[1]):
    tasks = (
        Segmentation("organs", hidden=hidden, num_classes=3),
        DenseRegression("ct", hidden=hidden),
        Classification("sex", hidden=hidden),
    )
    return NetworkSpec(functools.partial(vgg_small, plan=plan), tasks, (2, *SPACES[dimensions]), norm)


def hard_sharing(spec):
    allocation = Allocation.hard_sharing(spec.filters, spec.task_names)
    network = spec.build(AllocatedBuilder.from_allocation(allocation, spec.dimensions, spec.norm))
    initialise(network, torch.Generator().manual_seed(0))
    return network


@torch.no_grad()
def assert_same(compact, masked, images):
    ours, theirs = compact.eval()(images), masked.eval()(images)
    for name, prediction in theirs.items():
        torch.testing.assert_close(ours[name], prediction, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_compact_network_equals_the_masked_one(tiny, dimensions, norm, hidden, plan):
    spec = dense_spec(dimensions, norm, hidden, plan)
    masked, assignments = tiny.masked(spec), tiny.assignments(spec)
    compact = derive(masked, spec, assignments).network
    tiny.fix(masked, assignments)
    assert_same(compact, masked, tiny.images(spec))
    for network in (compact, masked):
        reestimate_statistics(network, [tiny.images(spec, seed=seed) for seed in (1, 2)])
    assert_same(compact, masked, tiny.images(spec))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_predictions_have_the_size_of_the_images(tiny, dimensions):
    spec = dense_spec(dimensions)
    space = spec.image_shape[1:]
    for network in (tiny.masked(spec), hard_sharing(spec)):
        predictions = network(tiny.images(spec))
        assert predictions["organs"].shape == (4, 3, *space)
        assert predictions["ct"].shape == (4, *space)
        assert predictions["sex"].shape == (4, 2)
    larger = network(torch.randn(2, 2, *(side + 3 for side in space)))
    assert larger["ct"].shape == (2, *(side + 3 for side in space))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_monte_carlo_predictions_average_class_probabilities(tiny, dimensions):
    spec = dense_spec(dimensions)
    members = [tiny.masked(spec, seed).eval() for seed in (0, 1)]
    for member, seed in zip(members, (0, 1), strict=True):
        tiny.fix(member, tiny.assignments(spec, seed))
    images = tiny.images(spec)
    averaged = MonteCarloEnsemble(members, {task.name: task.average for task in spec.tasks})(images)
    expected = sum(member(images)["organs"].softmax(1) for member in members) / 2
    torch.testing.assert_close(averaged["organs"].exp(), expected)
    assert averaged["ct"].shape == (4, *spec.image_shape[1:])


@pytest.mark.parametrize("hidden", [0, 4])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_exported_programs_compute_the_same_for_any_batch(tiny, dimensions, hidden):
    spec = dense_spec(dimensions, hidden=hidden)
    network = hard_sharing(spec).eval()
    program = torch.export.export(
        network, (tiny.images(spec),), dynamic_shapes={"images": {0: torch.export.Dim("batch")}}
    )
    images = tiny.images(spec, batch=3, seed=5)
    for name, prediction in program.module()(images).items():
        torch.testing.assert_close(prediction, network(images)[name])


def test_one_by_one_heads_are_counted():
    spec = dense_spec(2, norm="none", plan=(7,))
    counted = complexity(hard_sharing(spec), spec.image_shape)
    per_voxel = 2 * 7 * 9 + 7 * 3 + 7 * 1
    assert counted.macs == per_voxel * 6 * 8 + 7 * 2


def test_every_dense_loss_reaches_its_own_head_only(tiny):
    spec = dense_spec(2, hidden=4)
    network = hard_sharing(spec)
    predictions = network(tiny.images(spec))
    target = torch.randint(3, (4, 6, 8), generator=tiny.seeded(0))
    spec.tasks[0].negative_log_likelihood(predictions["organs"], target).backward()
    reached = {name: head.reader.weight.grad is not None for name, head in network.heads.items()}
    assert reached == {"organs": True, "ct": False, "sex": False}
