"""What is found out about one model: its filters, and whether all executions of an allocation are one network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.errors import SFGSearchError
from sfgsearch.graph import (
    Analysis,
    DenseNetwork,
    ExpectedCost,
    StreamsNetwork,
    compact,
    hard_gates,
    repair_assignment,
)
from sfgsearch.nn import GroupedNetwork, NetworkSpec
from sfgsearch.tasks import Classification, DenseRegression, Segmentation

from ._catalogue import Model

TOLERANCE = 1e-9
"""Of differences in float64, relative to the largest number of a prediction."""
ALLOCATED = 0.8
"""Part of the multiply-adds that equal thirds must get below: 5/9 where every channel is a filter, 1 where none is."""
_TASKS = Classification("a", 3), Classification("b", 4)
_DENSE_TASKS = Segmentation("a", 3), DenseRegression("b")


@dataclass
class Examination:
    """What was found out about a model.

    Args:
        model: Its key.
        error: Why it is not allocated; empty if it is.
        channels: Channels of all channel spaces, in the first layer of each.
        filters: Filters of all channel spaces.
        spaces: Number of channel spaces.
        heads: Filters that are one task's.
        thirds: Multiply-adds of equal thirds, as a part of the plain network's.
        ties: Sentences about channels that are one filter.
        differences: Largest relative difference by what is compared, in float64 and evaluation mode.
        analysis_seconds: CPU time of the analysis.
        step_ratio: CPU time of a training step under learned gates, to the plain network's; 0 if not measured.
    """

    model: str
    error: str = ""
    channels: int = 0
    filters: int = 0
    spaces: int = 0
    heads: int = 0
    thirds: float = 1.0
    ties: list[str] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    analysis_seconds: float = 0.0
    step_ratio: float = 0.0

    @property
    def works(self) -> bool:
        """Whether it is allocated, not trivially, and every comparison holds."""
        is_exact = bool(self.differences) and max(self.differences.values()) <= TOLERANCE
        return not self.error and is_exact and self.thirds <= ALLOCATED

    def to_json(self) -> dict[str, Any]:
        """Return everything as what JSON knows."""
        return {**asdict(self), "works": self.works}


def examine(model: Model, *, steps: int = 0, streams: bool = True) -> Examination:
    """Analyse a model, and compare its executions.

    Args:
        model: The model.
        steps: Training steps that are timed, of each network; none are if 0.
        streams: Whether to run the T+1 streams as well, the slowest and most independent of all comparisons.
    """
    found = Examination(model.key)
    spec = NetworkSpec(model.backbone, _DENSE_TASKS if model.is_dense else _TASKS, model.shape)
    try:
        with _cpu_seconds() as seconds:
            analysis = spec.analysis
    except SFGSearchError as error:
        found.error = str(error)
        return found
    found.analysis_seconds = seconds[0]
    found.filters, found.spaces, found.heads = analysis.num_filters, len(analysis.spaces), len(analysis.heads)
    found.channels = sum(space.channels for space in analysis.spaces)
    found.ties = analysis.notes()
    found.thirds = float(ExpectedCost(analysis)(hard_gates(_thirds(analysis), 2).float()))
    found.differences = _differences(spec, streams=streams)
    found.step_ratio = _step_ratio(spec, steps) if steps else 0.0
    return found


@contextmanager
def _cpu_seconds() -> Iterator[list[float]]:
    found, start = [0.0], time.process_time()
    yield found
    found[0] = time.process_time() - start


def _thirds(analysis: Analysis) -> Tensor:
    """Deal the filters of every channel space to two tasks and shared, in order."""
    dealt = [
        torch.arange(number) * 3 // number if number > 2 else torch.full((number,), 2) for number in _sizes(analysis)
    ]
    return repair_assignment(analysis, torch.cat(dealt))[0]


def _sizes(analysis: Analysis) -> list[int]:
    return list(analysis.filters.values())


def _differences(spec: NetworkSpec, *, streams: bool) -> dict[str, float]:
    """Return the largest differences between executions, all in float64."""
    analysis, generator = spec.analysis, torch.Generator().manual_seed(1)
    network = vary(spec.build().double().eval(), generator)
    images = torch.randn(2, *spec.image_shape, generator=generator, dtype=torch.float64)
    drawn = torch.randint(3, (analysis.num_filters,), generator=generator)
    drawn[torch.rand(len(drawn), generator=generator) < 0.3] = 2
    assignment = repair_assignment(analysis, drawn)[0]
    shared = torch.full_like(assignment, 2)
    gates, all_shared = (hard_gates(rows, 2).double() for rows in (assignment, shared))
    dense = DenseNetwork(network, analysis)
    found = dict[str, float]()
    with torch.no_grad():
        plain, masked = network(images), dense(images, gates)
        found["shared"] = max(
            difference(plain, dense(images, all_shared)), difference(plain, compact(network, analysis, shared)(images))
        )
        found["compact"] = difference(masked, compact(network, analysis, assignment)(images))
        if streams:
            found["streams"] = difference(masked, StreamsNetwork(network, analysis, spec.task_names)(images, gates))
    found["apart"] = _foreign_gradient(dense, analysis, images, assignment)
    return found


@torch.no_grad()
def vary(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw norms, biases, scales and statistics anew, so that nothing is symmetric or zero."""
    for parameter in network.parameters():
        if parameter.numel() == 1 or float(parameter.std()) < 1e-3:
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
        elif name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
    return network


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """Return the largest difference of predictions, relative to the largest number of each."""
    return max(
        float((one - found[name]).abs().max() / one.abs().max().clamp_min(1e-300)) for name, one in expected.items()
    )


def _foreign_gradient(dense: DenseNetwork, analysis: Analysis, images: Tensor, assignment: Tensor) -> float:
    """Return the largest gradient of a prediction with respect to another task's filters, relative to all of its own.

    It is zero exactly unless channels were taken for filters of their own that some operation mixes.
    """
    groups = analysis.groups_by_row(assignment)
    predictions = dense(images, hard_gates(assignment, 2).double())
    weights = [dense.network.get_parameter(layer.weight) for layer in analysis.layers]
    largest = 0.0
    for task, prediction in enumerate(predictions.values()):
        gradients = torch.autograd.grad(prediction.square().sum(), weights, allow_unused=True, retain_graph=True)
        norms = [
            (
                gradient.unflatten(0, (len(layer.writes), -1)).transpose(1, 2).flatten(0, 1)
                if layer.transposed
                else gradient
            )
            .flatten(1)
            .norm(dim=1)
            for layer, gradient in zip(analysis.layers, gradients, strict=True)
            if gradient is not None
        ]
        written = [
            groups[layer.writes.flatten()]
            for layer, gradient in zip(analysis.layers, gradients, strict=True)
            if gradient is not None
        ]
        whole, owners = torch.cat(norms), torch.cat(written)
        foreign = whole[(owners != task) & (owners != 2)]
        largest = max(largest, float(foreign.max() / whole.max()) if len(foreign) else 0.0)
    return largest


def _step_ratio(spec: NetworkSpec, steps: int) -> float:
    """Return the CPU time of a training step with learned gates, as a multiple of the plain network's."""
    plain = spec.build().train()
    grouped = GroupedNetwork(spec.build(), spec.analysis, spec.task_names).train()
    images = torch.randn(8, *spec.image_shape)
    times: list[list[float]] = [[], []]
    for _ in range(steps + 1):  # the first one warms up
        for network, spent in zip((plain, grouped), times, strict=True):
            with _cpu_seconds() as seconds:
                _step(network, images)
            spent.append(seconds[0])
    first, second = (statistics.median(spent[1:]) for spent in times)
    return second / first


def _step(network: Callable[[Tensor], Mapping[str, Tensor]] | nn.Module, images: Tensor) -> None:
    network.zero_grad()  # type: ignore[union-attr]
    sum(prediction.square().mean() for prediction in network(images).values()).backward()  # type: ignore[union-attr]
