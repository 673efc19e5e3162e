"""What defines the method: which filters a loss reaches, and that gates learn under batch norm."""

import pytest
import torch

from sfgsearch.nn import AllocatedBuilder, AllocatedConv, SFGConv2d, initialise, sfg_layers


def make_fixed_masked(tiny, num_tasks, norm="batch"):
    spec = tiny.spec(num_tasks, norm=norm)
    network, assignments = tiny.masked(spec), tiny.assignments(spec)
    initialise(network, tiny.seeded(1))
    tiny.fix(network, assignments)
    return spec, network.train(), assignments


def make_compact(tiny, num_tasks, norm="batch"):
    spec = tiny.spec(num_tasks, norm=norm)
    assignments = tiny.assignments(spec)
    network = spec.build(AllocatedBuilder(assignments, num_tasks, 2, norm))
    initialise(network, tiny.seeded(1))
    return spec, network.train()


def task_loss(tiny, spec, network, task):
    name = spec.tasks[task].name
    predictions = network(tiny.images(spec, batch=8))
    return spec.tasks[task].negative_log_likelihood(predictions[name], tiny.targets(spec, batch=8)[name])


def reaches(gradient):
    return gradient is not None and bool((gradient != 0).any())


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_loss_reaches_its_own_and_the_shared_filters_and_no_other(tiny, num_tasks, norm):
    for task in range(num_tasks):
        spec, network, assignments = make_fixed_masked(tiny, num_tasks, norm)
        task_loss(tiny, spec, network, task).backward()
        for name, layer in sfg_layers(network).items():
            for gradient, group in zip(layer.weight.grad, assignments[name].tolist(), strict=True):
                assert reaches(gradient) == (group in (task, num_tasks)), f"{name}, group {group}, loss {task}"


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_a_loss_reaches_no_bias_and_no_norm_of_another_task(tiny, num_tasks):
    for task in range(num_tasks):
        spec, network, assignments = make_fixed_masked(tiny, num_tasks)
        task_loss(tiny, spec, network, task).backward()
        for name, layer in sfg_layers(network).items():
            for group, norm in enumerate(layer.norms):
                gradient = torch.zeros(len(norm.bias)) if norm.bias.grad is None else norm.bias.grad
                assert torch.equal(gradient != 0, (assignments[name] == group) & (group in (task, num_tasks)))


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_a_loss_reaches_the_same_filters_of_the_compact_network(tiny, num_tasks, norm):
    for task in range(num_tasks):
        spec, network = make_compact(tiny, num_tasks, norm)
        task_loss(tiny, spec, network, task).backward()
        for layer in [module for module in network.modules() if isinstance(module, AllocatedConv)]:
            for group, convolution in layer.groups.items():
                for filter_index in range(len(convolution[0].weight)):
                    gradient = convolution[0].weight.grad
                    row = None if gradient is None else gradient[filter_index]
                    assert reaches(row) == (int(group) in (task, num_tasks))


def test_every_loss_reaches_only_its_own_head(tiny):
    spec, network, _ = make_fixed_masked(tiny, 3)
    task_loss(tiny, spec, network, 1).backward()
    reached = {name: reaches(head.reader.weight.grad) for name, head in network.heads.items()}
    assert reached == {"digit": False, "angle": True, "colour": False}


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_shared_features_are_computed_from_shared_features_only(tiny, num_tasks):
    spec, network, assignments = make_fixed_masked(tiny, num_tasks)
    streams = network.backbone((tiny.images(spec),) * (num_tasks + 1))
    probe = torch.randn(streams[-1].shape, generator=tiny.seeded(3))
    (streams[-1] * probe).sum().backward()
    for name, layer in sfg_layers(network).items():
        for gradient, group in zip(layer.weight.grad, assignments[name].tolist(), strict=True):
            assert reaches(gradient) == (group == num_tasks)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_changing_the_filters_of_a_task_changes_the_prediction_of_that_task_only(tiny, changed):
    spec, network, assignments = make_fixed_masked(tiny, 3)
    before = network(tiny.images(spec))
    with torch.no_grad():
        for name, layer in sfg_layers(network).items():
            layer.weight[assignments[name] == changed] += 1
    after = network(tiny.images(spec))
    for task, name in enumerate(spec.task_names):
        assert torch.equal(before[name], after[name]) == (task != changed)


def test_shared_filters_receive_the_sum_of_all_losses(tiny):
    gradients = []
    for tasks in ([0], [1], [0, 1]):
        spec, network, assignments = make_fixed_masked(tiny, 2)
        sum(task_loss(tiny, spec, network, task) for task in tasks).backward()
        name, layer = list(sfg_layers(network).items())[-1]
        gradients.append(layer.weight.grad[assignments[name] == 2])
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2])


def gates_before_norm(layer, image, gates):
    """Compute the layer in the order gates, activation, norm, which rescales the gates away."""
    response = torch.nn.functional.conv2d(image, layer.weight)
    channelwise = [gate.view(1, -1, 1, 1) for gate in gates.unbind(1)]
    features = [norm((response * gate).relu()) for norm, gate in zip(layer.norms, channelwise, strict=True)]
    return (*(feature + features[-1] for feature in features[:-1]), features[-1])


def logit_gradient(tiny, compute, hard, num_tasks):
    layer = SFGConv2d(2, 8, 3, num_tasks)
    initialise(layer, tiny.seeded(0))
    gates = layer.groups.sample(1.0, hard, tiny.seeded(1))
    streams = compute(layer, torch.randn(8, 2, 6, 6, generator=tiny.seeded(2)), gates)
    probe = torch.randn(streams[0].shape, generator=tiny.seeded(3))
    loss = sum((task + 1) * (stream * probe).sum() for task, stream in enumerate(streams))
    (gradient,) = torch.autograd.grad(loss, layer.groups.logits)
    return gradient


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_gates_learn_under_batch_norm(tiny, num_tasks, hard):
    right = logit_gradient(tiny, lambda layer, image, gates: layer(image, gates), hard, num_tasks)
    wrong = logit_gradient(tiny, gates_before_norm, hard, num_tasks)
    assert bool((right != 0).all())
    # What is left of the wrong one comes from the epsilon of the norm, which counts where a gate is nearly closed.
    assert float(wrong.norm()) < 0.1 * float(right.norm())


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
def test_gates_of_every_layer_learn(tiny, hard):
    spec = tiny.spec(2)
    network = tiny.masked(spec).train()
    initialise(network, tiny.seeded(0))
    for layer in sfg_layers(network).values():
        layer.groups.sampling.hard, layer.groups.sampling.generator = hard, tiny.seeded(4)
    (task_loss(tiny, spec, network, 0) + task_loss(tiny, spec, network, 1)).backward()
    for layer in sfg_layers(network).values():
        assert bool((layer.groups.logits.grad != 0).all())
