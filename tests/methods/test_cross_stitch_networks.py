import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.methods import CrossStitchNetworks, Randomness, manual_methods
from sfgsearch.training._trainer import _kernels

CPU = torch.device("cpu")


def build(spec, method, seed=0):
    return method.build(spec, Randomness.from_seed(seed, CPU), CPU)


def test_options_reach_the_units(tiny):
    spec = tiny.spec(2)
    method = manual_methods["cross_stitch"](spec, per="layer", own=0.7, lr=0.5)
    assert method == CrossStitchNetworks("layer", 0.7, 0.5)
    alphas = list(build(spec, method).network.reading.alphas)
    assert [alpha.shape for alpha in alphas] == [(2, 2, 1)] * 3
    assert alphas[0].flatten().tolist() == pytest.approx([0.7, 0.3, 0.3, 0.7])


@pytest.mark.parametrize("options", [{"own": 1.1}, {"own": -0.1}, {"lr": 0.0}])
def test_impossible_options_are_refused(tiny, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        manual_methods["cross_stitch"](tiny.spec(2), **options)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_coefficients_have_a_constant_rate_of_their_own_and_no_weight_decay(tiny, num_tasks):
    system = build(tiny.spec(num_tasks), CrossStitchNetworks(lr=0.25))
    weights, coefficients = system.parameter_groups(0.01)
    assert (weights["lr"], weights["scheduled"]) == (0.01, True)
    assert (coefficients["lr"], coefficients["scheduled"]) == (0.25, False)
    assert [parameter.shape for parameter in coefficients["params"]] == [(num_tasks, num_tasks, k) for k in (7, 6, 5)]
    regularised = set(map(id, _kernels(system.network)))
    assert not regularised & set(map(id, coefficients["params"]))
    assert len(regularised) == 3 * num_tasks + num_tasks


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_it_counts_as_full_width_networks_side_by_side(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    system = build(spec, CrossStitchNetworks())
    assert system.allocation() == Allocation.single_task(spec.filters, spec.task_names)


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_coefficients_and_weights_of_all_tasks_learn(tiny, num_tasks):
    system = build(tiny.spec(num_tasks), CrossStitchNetworks())
    before = [parameter.detach().clone() for parameter in system.network.parameters()]
    optimiser = torch.optim.Adam(system.parameter_groups(0.01))
    images, targets = tiny.images(system.spec), tiny.targets(system.spec)
    losses = []
    for _ in range(8):
        predictions = system.network(images)
        loss = sum(
            task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in system.spec.tasks
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(not torch.equal(old, new) for old, new in zip(before, system.network.parameters(), strict=True))
