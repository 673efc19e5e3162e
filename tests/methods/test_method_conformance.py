"""What every method owes, on every backbone and for every number of tasks.

Methods and backbones come from the registries, so a new one is held to this as soon as it is registered.
"""

import functools
import json

import pytest
import torch
from method_samples import BACKBONES, METHODS
from torch.utils.flop_counter import FlopCounterMode

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import backbones
from sfgsearch.errors import BackboneError
from sfgsearch.methods import Randomness, manual_methods
from sfgsearch.nn import NetworkSpec, Structure

CPU = torch.device("cpu")
BATCH = 8
# Sampled groups of narrow layers may come out empty by chance, and an empty group trains nothing.
BACKBONE_OPTIONS = {
    "vgg_small": {"plan": (24, "pool", 32, 24)},
    "vgg11": {"width": 0.25},
    "resnet": {"depth": 8, "width": 1.5},
    "highresnet": {"width": 1.5, "blocks": 1},
}
SIDES = {"vgg11": 16}
# A node that nobody drew as parent learns nothing in that step, so that all have learned only after many.
# Policies of residual blocks learn one after another.
METHOD_STEPS = {"learning_to_branch": 40, "adashare": 5}
# What selects residual blocks needs a backbone that has some.
METHOD_BACKBONES = {"adashare": ("resnet", "highresnet")}

# Methods that share filters otherwise than between one task and all: a filter may serve none, or some.
DESCRIBED_ONLY = {"task_routing", "learned_routing", "adashare", "maximum_roaming", "learning_to_branch"}


@functools.cache
def spec_of(backbone, tasks):
    side = SIDES.get(backbone, 8)
    build = functools.partial(backbones[backbone], **BACKBONE_OPTIONS.get(backbone, {}))
    return NetworkSpec(build, tasks, (2, side, side))


def cases():
    """Return every method for T = 1, 2, 3, with T = 2 on a second backbone, and three methods on the others."""
    found = []
    for name in METHODS:
        first, second = METHOD_BACKBONES.get(name, ("vgg_small", "resnet"))
        found += [(name, first, 1), (name, first, 3), (name, second, 2)]
    others = [name for name in BACKBONES if name not in ("vgg_small", "resnet")]
    return found + [(name, other, 2) for other in others for name in ("learned", "searched", "cross_stitch")]


@pytest.fixture(params=cases(), ids=lambda case: "{}-{}-T={}".format(*case))
def case(request):
    return request.param


@pytest.fixture
def build(case, tiny):
    """Return what builds the method's system from a seed."""
    name, backbone, num_tasks = case
    spec = spec_of(backbone, tiny.tasks(num_tasks))
    method = METHODS[name](spec)
    return lambda seed=0: method.build(spec, Randomness.from_seed(seed, CPU), CPU)


@pytest.fixture
def system(build):
    return build()


def take_step(tiny, system, step=0, steps=10):
    """Run one training step without the update; return its predictions."""
    system.network.train()
    system.begin_step(step, steps)
    predictions = system.network(tiny.images(system.spec, BATCH))
    targets = tiny.targets(system.spec, BATCH)
    losses = [task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in system.spec.tasks]
    (sum(losses) + system.kl()).backward()
    return predictions


def test_a_method_keeps_the_contract(tiny, case, build):
    name, system = case[0], build()
    spec = system.spec
    steps = METHOD_STEPS.get(name, 1)
    for step in range(steps):
        predictions = take_step(tiny, system, step, max(steps, 10))
        if all(map(has_learned, system.network.parameters())):
            break
    assert_shapes(spec, predictions)
    assert_everything_is_trained(system)
    assert system.kl().shape == ()

    allocation = system.allocation()
    if name in DESCRIBED_ONLY:
        assert_describes(allocation, spec)
    else:
        allocation.check_fits(spec.filters, spec.task_names)
    again = Allocation.from_json(allocation.to_json())
    assert again.to_dict() == allocation.to_dict()
    assert min(system.complexity()) > 0

    images = tiny.images(spec, BATCH)
    for view in (system.predictor, system.snapshot):
        predictor = view(lambda: [images, images + 1]).eval()
        with torch.no_grad():
            predictions = predictor(images)
        assert_shapes(spec, predictions)
        assert all(bool(prediction.isfinite().all()) for prediction in predictions.values())
    for layer, probs in system.probabilities().items():
        assert probs.shape == (spec.filters[layer], len(spec.tasks) + 1)
        torch.testing.assert_close(probs.sum(1), torch.ones(len(probs)))


def has_learned(parameter):
    return parameter.grad is not None and bool((parameter.grad != 0).any())


def assert_describes(allocation, spec):
    assert allocation.tasks == spec.task_names
    assert [layer.name for layer in allocation.layers] == list(spec.filters)
    for layer in allocation.layers:
        assert layer.num_filters <= len(spec.tasks) * spec.filters[layer.name]
        assert all(count + layer.shared > 0 for count in layer.counts[:-1])


def assert_shapes(spec, predictions):
    assert list(predictions) == list(spec.task_names)
    for task in spec.tasks:
        assert predictions[task.name].shape == ((BATCH, task.outputs) if task.outputs > 1 else (BATCH,))


def assert_everything_is_trained(system):
    optimised = [parameter for group in system.parameter_groups(0.1) for parameter in group["params"]]
    trainable = {name: value for name, value in system.network.named_parameters() if value.requires_grad}
    assert sorted(map(id, optimised)) == sorted(map(id, trainable.values()))
    for name, parameter in trainable.items():
        assert has_learned(parameter), name
        assert bool(parameter.grad.isfinite().all()), name


def test_a_seed_fixes_a_system(tiny, build):
    first, second, other = build(1), build(1), build(2)
    predictions = [take_step(tiny, system) for system in (first, second, other)]
    for name, prediction in predictions[0].items():
        assert torch.equal(prediction, predictions[1][name])
        assert not torch.equal(prediction, predictions[2][name])


def test_a_structure_rebuilds_the_network_that_predicts(tiny, build):
    system = build()
    tiny.randomise(system.network)
    images = tiny.images(system.spec, BATCH)
    predictor = system.predictor(lambda: [images, images + 1]).eval()
    written = json.dumps(system.structure().to_dict())
    again = Structure.from_dict(json.loads(written)).build(system.spec)
    again.load_state_dict(predictor.state_dict())
    with torch.no_grad():
        expected, found = predictor(images), again(images)
    assert_shapes(system.spec, found)
    for task, prediction in expected.items():
        assert torch.equal(found[task], prediction)


def predict(tiny, system):
    images = tiny.images(system.spec, BATCH)
    predictor = system.predictor(lambda: [images, images + 1])
    return predictor.eval(), images


@pytest.mark.parametrize("case", [one for one in cases() if one[0] in ("learned", "equal", "searched")], indirect=True)
def test_a_network_in_training_equals_the_compact_one(tiny, system):
    tiny.randomise(system.network)
    system.begin_step(9, 10)  # gates of the learned one have settled
    network, images = system.network.eval(), tiny.images(system.spec, BATCH)
    with torch.no_grad():
        expected, compact = network(images), network.compact().eval()(images)
    for key, prediction in expected.items():
        torch.testing.assert_close(compact[key], prediction, rtol=1e-4, atol=1e-4 * float(prediction.abs().max()))


def test_size_and_cost_are_what_torch_counts_in_a_run(tiny, system):
    network, images = predict(tiny, system)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images[:1])
    macs, parameters = counter.get_total_flops() // 2, sum(parameter.numel() for parameter in network.parameters())
    complexity = system.complexity()
    assert complexity.macs == macs
    if hasattr(network, "members"):  # samples share the parameters of the network in training
        parameters = sum(parameter.numel() for parameter in system.network.parameters())
    assert complexity.parameters == parameters


@pytest.mark.parametrize("name", METHOD_BACKBONES)
def test_backbones_without_residual_blocks_are_refused(tiny, name):
    with pytest.raises(BackboneError, match=f"{name} selects residual blocks, and this backbone has none"):
        manual_methods[name](tiny.spec(2))


def test_every_registered_part_is_held_to_this():
    baselines = {"cross_stitch", "nddr", "task_routing", "maximum_roaming", "learning_to_branch"}
    assert baselines | {"learned_routing", "adashare", "learned"} <= set(METHODS)
    assert {"vgg11", "resnet", "highresnet"} <= set(backbones)
