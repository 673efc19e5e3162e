"""Dense, streams and compact are one network, and groups keep to themselves, whatever the module."""

import pytest
import torch
from awkward_networks import NAMES, build, image_shape, randomise
from torch import nn

from sfgsearch.graph import DenseNetwork, StreamsNetwork, analyse, bake, compact


class Case:
    """An awkward network with images and an assignment, half of it shared."""

    def __init__(self, name, num_tasks):
        self.generator = torch.Generator().manual_seed(7)
        self.network = randomise(build(name, num_tasks), self.generator)
        self.images = torch.randn(3, *image_shape(name), generator=self.generator, dtype=torch.float64)
        self.num_tasks = num_tasks
        self.analysis = analyse(self.network, self.images)
        number = self.analysis.num_filters
        own = torch.randint(num_tasks, (number,), generator=self.generator)
        self.assignment = torch.where(torch.rand(number, generator=self.generator) < 0.5, num_tasks, own)
        self.gates = one_hot(self.assignment, num_tasks)


def one_hot(assignment, num_tasks):
    return nn.functional.one_hot(assignment, num_tasks + 1).double()


def in_order(predictions):
    return list(predictions.values()) if isinstance(predictions, dict) else list(predictions)


def loss(predictions, weights):
    return sum(
        (prediction.square() * weight.view(-1, *[1] * (prediction.ndim - 1))).sum()
        for prediction, weight in zip(in_order(predictions), weights, strict=True)
    )


@pytest.fixture(params=[(name, num_tasks) for name in NAMES for num_tasks in (1, 2, 3, 5)], ids=str, scope="module")
def case(request):
    return Case(*request.param)


@pytest.mark.parametrize("training", [False, True])
def test_dense_and_streams_agree_in_outputs_and_gradients(case, training):
    weights = torch.randn(case.num_tasks, 3, generator=case.generator, dtype=torch.float64)
    case.network.train(training)
    found = []
    for execution in (DenseNetwork, StreamsNetwork):
        state = {name: tensor.clone() for name, tensor in case.network.state_dict().items()}
        predictions = execution(case.network, case.analysis).train(training)(case.images, case.gates)
        gradients = torch.autograd.grad(loss(predictions, weights), list(case.network.parameters()), allow_unused=True)
        found.append((in_order(predictions), gradients))
        case.network.load_state_dict(state)
    (dense, dense_gradients), (streams, streams_gradients) = found
    for one, other in zip(dense, streams, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    for (name, _), one, other in zip(case.network.named_parameters(), dense_gradients, streams_gradients, strict=True):
        if one is not None:
            scale = max(1.0, float(one.abs().max()))
            torch.testing.assert_close(
                one, other, rtol=1e-10, atol=1e-10 * scale, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_compact_and_baked_networks_predict_the_same(case):
    case.network.eval()
    with torch.no_grad():
        expected = in_order(DenseNetwork(case.network, case.analysis)(case.images, case.gates))
        for make in (compact, bake):
            found = in_order(make(case.network, case.analysis, case.assignment)(case.images))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_all_shared_is_the_network_itself(case):
    case.network.eval()
    assignment = torch.full((case.analysis.num_filters,), case.num_tasks)
    dense = DenseNetwork(case.network, case.analysis)
    with torch.no_grad():
        expected = in_order(case.network(case.images))
        exactly = not case.analysis.norms  # a norm over groups sums in another order
        for found in (
            in_order(dense(case.images, one_hot(assignment, case.num_tasks))),
            in_order(compact(case.network, case.analysis, assignment)(case.images)),
        ):
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=0 if exactly else 1e-12, atol=0 if exactly else 1e-12)


def test_a_task_does_not_touch_filters_of_another(case):
    """Neither its output nor its gradients depend on them: zeros, not small numbers."""
    case.network.eval()
    dense = DenseNetwork(case.network, case.analysis)
    rows = torch.cat([torch.tensor([-1]), case.assignment, torch.tensor(case.analysis.heads)])
    for task in range(case.num_tasks):
        prediction = in_order(dense(case.images, case.gates))[task]
        layers = case.analysis.layers
        parameters = [case.network.get_parameter(layer.weight) for layer in layers]
        gradients = torch.autograd.grad(prediction.sum(), parameters, allow_unused=True)
        for layer, gradient in zip(layers, gradients, strict=True):
            if gradient is None:
                continue
            groups = rows[layer.writes.flatten()]
            foreign = (groups != task) & (groups != case.num_tasks)
            per_filter = gradient.transpose(0, 1) if layer.transposed else gradient
            assert not per_filter[foreign].any(), layer.weight
