"""Which method a retraining trains, and at which width of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import optuna
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.methods import FixedAllocation, Method, StochasticFilterGroups
from sfgsearch.nn import NetworkSpec, Structure
from sfgsearch.records import ArchitectureRecord
from sfgsearch.search._finalists import Finalist
from sfgsearch.search._matching import at_width
from sfgsearch.search._objective import PlainObjective
from sfgsearch.search._space import suggest_learned


def contender(objective: PlainObjective, source: ArchitectureRecord, finalist: Finalist) -> tuple[Method, NetworkSpec]:
    """Return the method that a retraining trains, and the network that it is for.

    Learned and searched architectures are trained as the fixed allocations that they are, manual methods as such, or
    as the architecture that their trial found. What is compared at equal multiply-adds has the network's width scaled
    until what predicts costs what hard sharing does at the study's width, as nearly as channels allow.

    Args:
        objective: Knows the experiment and the manual methods.
        source: The record of the trial that is retrained.
        finalist: The retraining.
    """
    spec = objective.experiment.spec
    if finalist.role == "relearned":
        trial = optuna.trial.FixedTrial(dict(finalist.params))
        return StochasticFilterGroups(suggest_learned(trial, objective.config.learned)), spec
    method = _method(objective, source)
    if finalist.role == "finalist":
        return method, spec
    method_at: Callable[[NetworkSpec], Method] = partial(method.rescaled, spec)
    if finalist.role != "matched":
        layers = len(source.allocation.layers)
        order = _reversed(layers) if finalist.role == "reversed" else _shuffled(layers, finalist.seed)
        method_at = partial(_in_order, source.allocation, order)
    macs = source.macs if finalist.role == "matched" else None
    # A shuffled one has another order with every seed.
    key = finalist.role, finalist.trial, finalist.seed if finalist.role == "shuffled" else None
    wanted = at_width(spec, objective.widths.find(key, method_at, macs))
    return method_at(wanted), wanted


def _method(objective: PlainObjective, source: ArchitectureRecord) -> Method:
    if source.kind == "manual":
        return objective.manual[source.name].retraining(Structure.from_dict(source.structure))
    return FixedAllocation(source.allocation, assignments=source.structure["assignments"])


def _reversed(layers: int) -> list[int]:
    return list(range(layers))[::-1]


def _shuffled(layers: int, seed: int) -> list[int]:
    """Return a random order of at least three layers, neither that of depth nor its reverse."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(layers, generator=generator).tolist()
        if order not in (sorted(order), _reversed(layers)):
            return order


def _in_order(allocation: Allocation, order: Sequence[int], spec: NetworkSpec) -> FixedAllocation:
    """Return the allocation in which the n-th layer has the shares of another one, the n-th in an order."""
    shares = [[count / layer.num_filters for count in layer.counts] for layer in allocation.layers]
    proportions = {name: shares[index] for name, index in zip(spec.filters, order, strict=True)}
    chosen = Allocation.from_proportions(spec.filters, spec.task_names, proportions, feed_tasks=True)
    return FixedAllocation(chosen, repair=True)
