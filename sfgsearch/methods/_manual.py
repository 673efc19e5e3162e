"""The manual methods that train a plain or a sampled allocation."""

from __future__ import annotations

from sfgsearch.allocation import Allocation
from sfgsearch.methods._fixed import FixedAllocation
from sfgsearch.methods._method import Method, check_between
from sfgsearch.methods._method import manual_methods as manual_methods
from sfgsearch.methods._sfg import ConstantProbabilities
from sfgsearch.nn import NetworkSpec

_MOST_SAMPLES = 1000


@manual_methods.register("single_task")
def single_task(spec: NetworkSpec) -> Method:
    """Train one full-width network per task; nothing is shared."""
    return FixedAllocation(Allocation.single_task(spec.filters, spec.task_names))


@manual_methods.register("hard_sharing")
def hard_sharing(spec: NetworkSpec) -> Method:
    """Share every filter among all tasks (Caruana, 1997); only heads differ."""
    return FixedAllocation(Allocation.hard_sharing(spec.filters, spec.task_names))


@manual_methods.register("equal")
def equal(spec: NetworkSpec) -> Method:
    """Give every group an equal part of each layer: thirds for two tasks."""
    return FixedAllocation(Allocation.equal(spec.filters, spec.task_names), repair=True)


@manual_methods.register("constant_probabilities")
def constant_probabilities(spec: NetworkSpec, *, samples: int = 8) -> Method:
    """Sample groups with constant equal probabilities.

    Args:
        spec: The network.
        samples: Assignments that prediction averages over.

    Raises:
        ValueError: If there are no samples, or more than 1000, which are as many networks.
    """
    del spec
    check_between("samples", samples, 1, _MOST_SAMPLES)
    return ConstantProbabilities(samples)
