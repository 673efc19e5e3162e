"""One network under one assignment in all executions: dense, streams, baked and compact."""

import torch
from awkward_networks import randomise
from torch import nn

from sfgsearch.graph import DenseNetwork, StreamsNetwork, analyse, bake, compact

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


class Case:
    """A network with random numbers, images, and an assignment of which half is shared.

    Args:
        network: The plain network, whose numbers are drawn anew in float64.
        shape: (C, *space) of its images.
        tasks: Their names, where predictions have names.
        off: The part of filters that is off.
    """

    def __init__(self, network, shape, tasks=None, seed=7, off=0.0):
        self.generator = torch.Generator().manual_seed(seed)
        self.network = randomise(network, self.generator)
        self.images = torch.randn(3, *shape, generator=self.generator, dtype=torch.float64)
        self.analysis = analyse(self.network, self.images, tasks)
        self.num_tasks = self.analysis.num_tasks
        number = self.analysis.num_filters
        own = torch.randint(self.num_tasks, (number,), generator=self.generator)
        self.assignment = torch.where(torch.rand(number, generator=self.generator) < 0.5, self.num_tasks, own)
        self.assignment[torch.rand(number, generator=self.generator) < off] = self.num_tasks + 1
        self.gates = one_hot(self.assignment, self.num_tasks)


def one_hot(assignment, num_tasks):
    """Return gates: a row of zeros where a filter is in group T+1, which is none."""
    return nn.functional.one_hot(assignment, num_tasks + 2)[:, : num_tasks + 1].double()


def in_order(predictions):
    return list(predictions.values()) if isinstance(predictions, dict) else list(predictions)


def run(execution, case, training=False):
    """Return predictions, and gradients of a loss with another weight for every image; the state stays as it is."""
    state = {name: tensor.clone() for name, tensor in case.network.state_dict().items()}
    executed = execution(case.network, case.analysis).train(training)
    predictions = in_order(executed(case.images.clone(), case.gates))
    weights = torch.linspace(-1, 1, 3, dtype=torch.float64)
    squares = [one.square().reshape(len(weights), -1).sum(1) for one in predictions]
    loss = sum((task + 1) * weights @ one for task, one in enumerate(squares))
    gradients = torch.autograd.grad(loss, list(case.network.parameters()), allow_unused=True)
    case.network.load_state_dict(state)
    return predictions, dict(zip(dict(case.network.named_parameters()), gradients, strict=True))


def assert_dense_is_streams(case, training):
    dense, dense_gradients = run(DenseNetwork, case, training)
    streams, streams_gradients = run(StreamsNetwork, case, training)
    for one, other in zip(dense, streams, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE)
    for name, gradient in dense_gradients.items():
        if gradient is not None:
            scale = max(1.0, float(gradient.abs().max()))
            torch.testing.assert_close(gradient / scale, streams_gradients[name] / scale, **TOLERANCE, msg=name)


@torch.no_grad()
def assert_derived_are_dense(case):
    """Check that compact and baked networks predict what the dense execution does."""
    case.network.eval()
    expected = in_order(DenseNetwork(case.network, case.analysis)(case.images.clone(), case.gates))
    for make in (compact, bake):
        found = in_order(make(case.network, case.analysis, case.assignment)(case.images.clone()))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **TOLERANCE)


def assert_tasks_keep_apart(case):
    """Check that no task's prediction depends on a filter of another: zeros, not small numbers."""
    case.network.eval()
    predictions = in_order(DenseNetwork(case.network, case.analysis)(case.images.clone(), case.gates))
    rows = torch.cat([torch.tensor([-1]), case.assignment, torch.tensor(case.analysis.heads)])
    layers = case.analysis.layers
    parameters = [case.network.get_parameter(layer.weight) for layer in layers]
    for task, prediction in enumerate(predictions):
        gradients = torch.autograd.grad(prediction.sum(), parameters, allow_unused=True, retain_graph=True)
        for layer, gradient in zip(layers, gradients, strict=True):
            if gradient is None:
                continue
            if layer.transposed:  # (C, K / G) to (K, C / G)
                gradient = gradient.unflatten(0, (len(layer.writes), -1)).transpose(1, 2).flatten(0, 1)
            groups = rows[layer.writes.flatten()]
            foreign = (groups != task) & (groups != case.num_tasks)
            assert not gradient[foreign].any(), layer.weight
