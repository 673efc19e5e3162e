"""Backbones that start from weights: every method starts from them, keeps frozen parts, and takes a lower rate."""

import functools

import pytest
import torch
from method_samples import METHODS

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import TrunkBuilder, highresnet, resnet, vgg_small
from sfgsearch.data import InMemory, MultiTaskData
from sfgsearch.methods import FixedAllocation, Randomness
from sfgsearch.nn import NetworkSpec, backbone_parameters, deal, deal_by_weight
from sfgsearch.training import Experiment, TrainingSettings

CPU = torch.device("cpu")
MAKES = {
    "vgg_small": functools.partial(vgg_small, plan=(12, "pool", 16, 12)),
    "resnet": functools.partial(resnet, depth=8, width=0.75),
}
BESIDE = {"ordered_heads", "groups", "logits", "reading"}
"""Names of modules and parameters that are no part of a backbone."""
FROZEN = {"vgg_small": ("conv1", "norm1"), "resnet": ("stem", "norm")}


def make_of(method):
    return "resnet" if method == "adashare" else "vgg_small"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return files of random weights and statistics, by backbone."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for name, make in MAKES.items():
        generator, model = torch.Generator().manual_seed(1), make((2, 8, 8))
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.is_floating_point():
                    tensor.add_(torch.rand(tensor.shape, generator=generator).mul(0.1))
        files[name] = folder / f"{name}.pt"
        torch.save(model.state_dict(), files[name])
    return files


@pytest.fixture
def specify(tiny, weights):
    """Return the network of a method with weights, and what of it is frozen."""

    def make(method, tasks=2, **settings):
        name = make_of(method)
        builder = TrunkBuilder(MAKES[name], pretrained=weights[name], **settings)
        return NetworkSpec(
            builder, tiny.tasks(tasks), (2, 8, 8), keep_shared=settings.get("freeze", ()), is_pretrained=True
        )

    return make


@pytest.fixture
def experiment(tiny):
    """Return an experiment of two steps with a network."""

    def make(spec, **settings):
        images, targets = tiny.images(spec, 16), tiny.targets(spec, 16)
        splits = [InMemory(images, targets)] * 3
        data = MultiTaskData(spec.tasks, *splits)
        return Experiment(data, spec, TrainingSettings(epochs=1, batch_size=8, lr=0.01, **settings))

    return make


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_from_the_weights(method, specify, weights):
    spec = specify(method)
    system = METHODS[method](spec).build(spec, Randomness.from_seed(3, CPU), CPU)
    known = list(torch.load(weights[make_of(method)]).values())
    parameters = [p for name, p in system.network.named_parameters() if not BESIDE.intersection(name.split("."))]
    assert len(parameters) >= len(list(spec.build().backbone.parameters()))
    assert len(set(map(id, backbone_parameters(system.network)))) == len(parameters)
    for parameter in parameters:
        assert any(torch.equal(parameter, tensor) for tensor in known if tensor.shape == parameter.shape)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_parts_stay_as_they_are_in_training_and_in_what_predicts(method, specify, experiment, weights):
    name = make_of(method)
    spec = specify(method, freeze=FROZEN[name])
    assert FROZEN[name][0] not in spec.filters
    trained = experiment(spec).train(METHODS[method](spec), 0)
    state = torch.load(weights[name])
    frozen = {key: tensor for key, tensor in state.items() if key.startswith(tuple(f"{f}." for f in FROZEN[name]))}
    for network in (trained.system.network, trained.predictor):
        found = network.state_dict()
        for key, tensor in frozen.items():
            same = [value for path, value in found.items() if path.endswith(f"trunk.{key}")]
            assert same
            assert all(torch.equal(value, tensor) for value in same), key
    moved = {key: tensor for key, tensor in state.items() if key not in frozen and key.endswith("weight")}
    found = trained.system.network.state_dict()
    for key, tensor in moved.items():
        assert not all(torch.equal(value, tensor) for path, value in found.items() if path.endswith(f"trunk.{key}"))


@pytest.mark.parametrize("method", METHODS)
def test_backbones_learn_at_their_own_rate(method, specify, experiment):
    spec = specify(method)
    fresh = METHODS[method](spec).build(spec, Randomness.from_seed(0, CPU), CPU).network
    network = experiment(spec, backbone_lr=1e-12).train(METHODS[method](spec), 0).system.network
    pairs = zip(network.named_parameters(), fresh.parameters(), strict=True)
    moved = {name: float((now - before).detach().abs().max()) for (name, now), before in pairs}
    others = {name for name in moved if BESIDE.intersection(name.split("."))}
    assert max(moved[name] for name in moved.keys() - others) < 1e-9
    assert max(moved[name] for name in others) > 1e-4


def test_frozen_norms_of_streams_stay_in_evaluation(tiny):
    make = functools.partial(TrunkBuilder(highresnet, freeze=("*",)), width=0.25, blocks=1, per_stream=True)
    spec = NetworkSpec(make, tiny.tasks(2), (2, 8, 8))
    network = METHODS["constant_probabilities"](spec).build(spec, Randomness.from_seed(0, CPU), CPU).network.train()
    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) > 3
    assert not [name for name, norm in norms if norm.training and "ordered_heads" not in name]


def test_filters_that_are_read_most_are_shared(specify):
    spec = specify("equal")
    network = spec.build()
    allocation = Allocation.equal(spec.filters, spec.task_names)
    conv2 = network.backbone.trunk.conv2.weight
    with torch.no_grad():
        conv2[:, [3, 5, 7, 11]] += 10.0
    dealt = deal_by_weight(allocation, spec.analysis, network)
    assert (dealt["conv1"] == 2).nonzero().flatten().tolist() == [3, 5, 7, 11]
    for layer in allocation.layers:
        assert dealt[layer.name].bincount(minlength=3).tolist() == list(layer.counts)
    assert deal(allocation)["conv1"].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_counts_choose_filters_by_weight_and_a_learned_assignment_keeps_its_own(specify):
    spec = specify("equal")
    allocation = Allocation.equal(spec.filters, spec.task_names)

    def assignment_of(method):
        network = method.build(spec, Randomness.from_seed(0, CPU), CPU).network
        return {name: groups.tolist() for name, groups in network.assignment.items()}

    by_weight = {
        name: groups.tolist() for name, groups in deal_by_weight(allocation, spec.analysis, spec.build()).items()
    }
    assert assignment_of(FixedAllocation(allocation)) == by_weight
    learned = {name: groups[::-1] for name, groups in by_weight.items()}
    assert learned != by_weight
    assert assignment_of(FixedAllocation(allocation, assignments=learned)) == learned
