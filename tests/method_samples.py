"""Every method of the package, and a searched allocation, for tests that all of them must pass."""

import functools

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import backbones
from sfgsearch.methods import FixedAllocation, StochasticFilterGroups, manual_methods

METHOD_OPTIONS = {"constant_probabilities": {"samples": 2}}


def searched(spec):
    """Return what a search could suggest: uneven proportions that change with depth."""
    num_layers, num_tasks = len(spec.filters), len(spec.tasks)
    proportions = {}
    for depth, name in enumerate(spec.filters):
        shared = 0.6 - 0.4 * depth / num_layers
        proportions[name] = [(1 - shared) / num_tasks] * num_tasks + [shared]
    return FixedAllocation(Allocation.from_proportions(spec.filters, spec.task_names, proportions))


def shipped(registry):
    """Return the parts that come with the package; tests register more."""
    return {name: part for name, part in registry.items() if part.__module__.startswith("sfgsearch.")}


METHODS = {
    **{name: functools.partial(make, **METHOD_OPTIONS.get(name, {})) for name, make in shipped(manual_methods).items()},
    "searched": searched,
    "learned": lambda _spec: StochasticFilterGroups(),
}

BACKBONES = [name for name, make in shipped(backbones).items() if not make.__module__.endswith("._libraries")]
"""The backbones of the package's own, without those of other libraries."""
