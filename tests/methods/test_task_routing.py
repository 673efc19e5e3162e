import pytest
import torch

from sfgsearch.methods import Randomness, TaskRouting, manual_methods
from sfgsearch.training._trainer import _kernels

CPU = torch.device("cpu")


def build(spec, method, seed=0):
    return method.build(spec, Randomness.from_seed(seed, CPU), CPU)


def masks(system):
    return system.network.masks


@pytest.mark.parametrize(
    ("sharing", "counts"), [(0.0, [(4, 3, 0), (3, 3, 0), (3, 2, 0)]), (1.0, [(0, 0, 7), (0, 0, 6), (0, 0, 5)])]
)
def test_sharing_decides_how_many_filters_serve_both_tasks(tiny, sharing, counts):
    spec = tiny.spec(2)
    method = manual_methods["task_routing"](spec, sharing=sharing)
    assert method == TaskRouting(sharing)
    assert [layer.counts for layer in build(spec, method).allocation().layers] == counts


@pytest.mark.parametrize("sharing", [-0.1, 1.1])
def test_impossible_ratios_are_refused(tiny, sharing):
    with pytest.raises(ValueError, match="sharing"):
        manual_methods["task_routing"](tiny.spec(2), sharing=sharing)


def test_a_seed_fixes_the_masks(tiny):
    first, again, other = (masks(build(tiny.spec(2), TaskRouting(), seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_masks_are_state_that_nothing_trains(tiny):
    system = build(tiny.spec(2), TaskRouting())
    trained = {id(parameter) for group in system.parameter_groups(0.1) for parameter in group["params"]}
    assert id(masks(system)) not in trained
    assert torch.equal(system.state_dict()["masks"], masks(system))
    assert len(_kernels(system.network)) == 3 + 2


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_complexity_counts_one_set_of_filters_and_the_norms_of_all_tasks(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    system = build(spec, TaskRouting())
    heads = sum(parameter.numel() for parameter in system.network.network.ordered_heads.parameters())
    assert system.complexity().parameters == 9 * (7 * 2 + 6 * 7 + 5 * 6) + num_tasks * 2 * (7 + 6 + 5) + heads
