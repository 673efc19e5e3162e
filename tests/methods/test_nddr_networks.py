import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.methods import NDDRNetworks, Randomness, manual_methods
from sfgsearch.training._trainer import _kernels

CPU = torch.device("cpu")


def build(spec, method, seed=0):
    return method.build(spec, Randomness.from_seed(seed, CPU), CPU)


def test_options_reach_the_fusing_layers(tiny):
    method = manual_methods["nddr"](tiny.spec(2), own=0.7, lr_factor=5.0)
    assert method == NDDRNetworks(0.7, 5.0)
    weights, fusing = build(tiny.spec(2), method).parameter_groups(0.01)
    assert (weights["lr"], fusing["lr"]) == pytest.approx((0.01, 0.05))
    assert weights["scheduled"]
    assert fusing["scheduled"]
    assert len(fusing["params"]) == 3 * 3


@pytest.mark.parametrize("options", [{"own": 1.1}, {"own": -0.1}, {"lr_factor": 0.0}, {"lr_factor": 1e9}])
def test_impossible_options_are_refused(tiny, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        manual_methods["nddr"](tiny.spec(2), **options)


def test_weight_decay_covers_fusing_kernels(tiny):
    """As in the paper, which regularises what fuses."""
    system = build(tiny.spec(2), NDDRNetworks())
    regularised = set(map(id, _kernels(system.network)))
    assert regularised >= {id(layer.convolution.weight) for layer in system.network.reading.layers}


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_it_counts_as_full_width_networks_side_by_side(tiny, num_tasks):
    spec = tiny.spec(num_tasks)
    assert build(spec, NDDRNetworks()).allocation() == Allocation.single_task(spec.filters, spec.task_names)
