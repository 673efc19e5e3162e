"""Parts of a network that every stream has of its own: the published HighResNet."""

import functools

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import highresnet
from sfgsearch.config import build_experiment
from sfgsearch.errors import BackboneError, ConfigError
from sfgsearch.graph import PerStream
from sfgsearch.methods import FixedAllocation, Randomness, SFGSettings, StochasticFilterGroups, manual_methods
from sfgsearch.nn import GateSampling, GroupedNetwork, NetworkSpec, rows_by_space
from sfgsearch.tasks import DenseRegression

TASKS = (DenseRegression("ct"), DenseRegression("t2"))
CPU = torch.device("cpu")
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
# One of each structure: allocated, ensemble, lockstep, routed and branched.
MANUAL = ("equal", "constant_probabilities", "cross_stitch", "task_routing", "learning_to_branch")
METHODS = {
    "learned": lambda _spec: StochasticFilterGroups(SFGSettings(execution="streams", settle=0.0)),
    **{name: manual_methods[name] for name in MANUAL},
}


@pytest.fixture(params=[(1, 6, 6), (1, 4, 4, 4)], ids=["2d", "3d"], scope="module")
def spec(request):
    backbone = functools.partial(highresnet, width=0.2, blocks=1, per_stream=True)
    return NetworkSpec(backbone, TASKS, request.param)


def images(spec, number=3):
    return torch.randn(number, *spec.image_shape, generator=torch.Generator().manual_seed(1))


def published(network, images, gates):
    """Run five convolutions in T+1 streams with residual blocks between, written out."""
    plain, num_tasks = network.network, len(network.tasks)
    own = iter(network.get_submodule("_executed.own_parts"))
    body = plain.get_submodule("backbone")
    streams, parts = [images] * (num_tasks + 1), dict(zip(CONVOLUTIONS[:3], own, strict=True))
    for index, name in enumerate(CONVOLUTIONS, start=1):
        conv, norm = body.get_submodule(name), body.get_submodule(f"norm{index}")
        z = gates[name].view(len(gates[name]), num_tasks + 1, *[1] * (images.ndim - 2))
        responses = [norm(conv(stream)).relu() for stream in streams]
        shared = responses[-1] * z[:, -1]
        streams = [*(response * z[:, task] + shared for task, response in enumerate(responses[:-1])), shared]
        if name in parts:
            blocks = [*parts[name], body.get_submodule(f"blocks{index}")]
            streams = [block(stream) for block, stream in zip(blocks, streams, strict=True)]
    heads = plain.heads.items()
    return {task: head(stream, images.shape[2:]) for (task, head), stream in zip(heads, streams, strict=False)}


@pytest.mark.parametrize("hard", [True, False])
def test_streams_are_those_of_the_publication(spec, hard):
    network = GroupedNetwork(spec.build(), spec.analysis, spec.task_names, execution="streams").double().eval()
    assert tuple(spec.filters) == CONVOLUTIONS
    with torch.no_grad():  # or the streams' blocks would be equal
        for index, weight in enumerate(network.weights()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(index)) * 0.1)
    drawn = torch.rand(spec.analysis.num_filters, 3, generator=torch.Generator().manual_seed(0)).double()
    gates = torch.nn.functional.one_hot(drawn.argmax(1), 3).double() if hard else drawn / drawn.sum(1, keepdim=True)
    inputs = images(spec).double()
    found = network.get_submodule("_executed")(inputs, gates)
    expected = published(network, inputs, rows_by_space(spec.analysis, gates))
    for name, prediction in expected.items():
        torch.testing.assert_close(found[name], prediction, rtol=1e-10, atol=1e-10)
    if hard:
        derived = network.compact(rows_by_space(spec.analysis, drawn.argmax(1))).eval()(inputs)
        for name, prediction in expected.items():
            torch.testing.assert_close(derived[name], prediction, rtol=1e-10, atol=1e-10)


def test_a_task_trains_its_own_blocks_and_leaves_those_of_others_alone(spec):
    network = GroupedNetwork(spec.build(), spec.analysis, spec.task_names, execution="streams")
    network(images(spec))["ct"].square().sum().backward()
    for own in network.get_submodule("_executed.own_parts"):
        assert any(weight.grad.any() for weight in own[0].parameters())
        assert not any(weight.grad is not None and weight.grad.any() for weight in own[1].parameters())


@pytest.mark.parametrize("spec", [(1, 6, 6)], ids=["2d"], indirect=True)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_its_network_is_rebuilt_from_its_structure(spec, name):
    randomness = Randomness.from_seed(0, CPU)
    system = METHODS[name](spec).build(spec, randomness, CPU)
    optimiser = torch.optim.SGD(system.parameter_groups(1e-2))
    before = {key: tensor.clone() for key, tensor in system.network.state_dict().items()}
    for step in range(2):
        system.begin_step(step, 4)
        system.network.train()(images(spec))["ct"].square().mean().backward()
        optimiser.step()
    changed = {key for key, tensor in system.network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed
    predictor = system.predictor(lambda: iter([images(spec)])).eval()
    if name in ("learned", "equal"):
        assert any("own_parts.0.0" in key for key in changed)
    again = system.structure().build(spec)
    again.load_state_dict(predictor.state_dict())
    with torch.no_grad():
        expected, found = predictor(images(spec)), again.eval()(images(spec))
    for task in expected:
        torch.testing.assert_close(found[task], expected[task])
    assert system.complexity().macs > 0


def test_statistics_are_those_of_every_stream(spec):
    """Running statistics that were re-estimated from a batch predict for it what statistics of that batch do."""
    system = METHODS["learned"](spec).build(spec, Randomness.from_seed(0, CPU), CPU)
    with torch.no_grad():
        for index, weight in enumerate(system.network.weights()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(index)) * 0.1)
    batch = images(spec, 16)
    predictor = system.predictor(lambda: iter([batch]))
    with torch.no_grad():
        found, expected = predictor.eval()(batch), predictor.train()(batch)
    for task in expected:  # running variances are unbiased, which adds up over 11 norms
        torch.testing.assert_close(found[task], expected[task], rtol=0.05, atol=0.05)


def test_a_network_in_streams_can_be_exported(spec):
    network = GroupedNetwork(spec.build(), spec.analysis, spec.task_names, execution="streams").compact().eval()
    with torch.no_grad():
        found = torch.export.export(network, (images(spec),), strict=False).module()(images(spec))
        for task, prediction in network(images(spec)).items():
            torch.testing.assert_close(found[task], prediction)


def test_hard_sharing_is_the_plain_network(spec):
    system = manual_methods["hard_sharing"](spec).build(spec, Randomness.from_seed(0, CPU), CPU)
    assert system.network.runs_in_streams is False
    plain = spec.build(Randomness.from_seed(0, CPU).weights)
    assert sum(p.numel() for p in system.network.parameters()) == sum(p.numel() for p in plain.parameters())


def test_an_allocation_is_one_of_the_convolutions(spec):
    system = FixedAllocation(Allocation.equal(spec.filters, spec.task_names), repair=True).build(
        spec, Randomness.from_seed(0, CPU), CPU
    )
    assert [layer.name for layer in system.allocation().layers] == list(CONVOLUTIONS)
    assert system.repairs() == ()


def test_other_executions_are_refused(spec, study):
    with pytest.raises(BackboneError, match=r"blocks1 is run per stream.*'streams'"):
        GroupedNetwork(spec.build(), spec.analysis, spec.task_names)
    backbone = {"name": "highresnet", "plan": None, "width": 0.2, "per_stream": True}
    with pytest.raises(ConfigError, match=r'learned.execution: .*blocks1 is run per stream.* set it to "streams"'):
        build_experiment(study(backbone=backbone))
    build_experiment(study(backbone=backbone, learned={"execution": "streams"}))


def test_a_part_with_two_inputs_is_refused():
    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, pair):
            return self.conv(pair[0]) + pair[1]

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (torch.nn.Conv2d(1, 4, 3, padding=1) for _ in range(2))
            self.sum = PerStream(Sum())

        def forward(self, x):
            return self.sum((self.first(x), self.second(x)))

    with pytest.raises(BackboneError, match=r"backbone\.sum is run per stream, but reads more than one thing"):
        _ = NetworkSpec(lambda _shape: Net(), TASKS, (1, 6, 6)).analysis


def test_drawn_gates_train(spec):
    sampling = GateSampling(hard=False)
    network = GroupedNetwork(spec.build(), spec.analysis, spec.task_names, execution="streams")
    network.groups.sampling = sampling
    network.train()(images(spec))["t2"].mean().backward()
    assert network.groups.logits.grad.any()
