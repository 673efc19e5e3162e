"""Costs of training: steps of every method, measured side by side on this machine with a study's network and data."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sfgsearch.allocation import Allocation
from sfgsearch.data import InMemory, MultiTaskData, batches
from sfgsearch.errors import SFGSearchError
from sfgsearch.methods import FixedAllocation, Method, Randomness, manual_methods
from sfgsearch.nn import NetworkSpec
from sfgsearch.training import Experiment, Trainer

REFERENCE = "hard_sharing"
_WARM_UP = 3
_COPIES = 4
"""Of every parameter: itself, its gradient, and the two moments of Adam."""

Methods = Mapping[str, Callable[[NetworkSpec], Method]]
"""Functions that make a method for a network, by the name that study files have for it."""


@dataclass(frozen=True)
class StepCost:
    """The cost of one training step.

    Args:
        method: The method.
        tasks: T.
        ms: Median time of a step in milliseconds, the optimiser's included.
        ratio: Median over rounds of that time to hard sharing's in the same round.
        macs: Multiply-adds for one image of the network that predicts.
        peak_bytes: Most memory in a step: on CUDA as the device counts it; on a CPU parameters, gradients, moments of
            Adam, and what is saved for the backward pass.
    """

    method: str
    tasks: int
    ms: float
    ratio: float
    macs: int
    peak_bytes: int


@dataclass(frozen=True)
class Costs:
    """All that was measured.

    Args:
        rows: One per method and number of tasks.
        notes: Sentences about methods that could not be measured.
    """

    rows: tuple[StepCost, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"rows": [asdict(row) for row in self.rows], "notes": list(self.notes)}


class _Contender:
    """One method in training."""

    def __init__(self, name: str, method: Method, experiment: Experiment) -> None:
        self.name, self._device = name, experiment.device
        randomness = Randomness.from_seed(0, self._device)
        self.system = method.build(experiment.spec, randomness, self._device)
        endless = replace(experiment.settings, epochs=10**6)
        self._trainer = Trainer(self.system, experiment.data, endless, randomness, self._device)
        self.images, self.targets = next(iter(batches(experiment.data.train, endless.batch_size, self._device)))
        self.system.network.train()
        self.times: list[float] = []

    def step(self) -> float:
        """Train on the batch, and return how long that took in seconds."""
        self._wait()
        start = time.perf_counter()
        self._trainer.train_step(self.images, self.targets)
        self._wait()
        return time.perf_counter() - start

    def peak_bytes(self) -> int:
        """Return the most memory that a step takes."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self.step()
            return torch.cuda.max_memory_allocated(self._device)
        saved: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.step()
        weights = {parameter.untyped_storage().data_ptr(): parameter for parameter in self.system.network.parameters()}
        kept = sum(parameter.numel() * parameter.element_size() for parameter in weights.values())
        return _COPIES * kept + sum(size for address, size in saved.items() if address not in weights)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def measure_costs(
    experiment: Experiment, methods: Methods, numbers: tuple[int | None, ...] = (None,), seconds: float = 3.0
) -> Costs:
    """Measure a training step of every method, by turns."""
    rows, notes = list[StepCost](), list[str]()
    with experiment.limited_threads():
        for number in numbers:
            batch = with_tasks(experiment, number)
            contenders = []
            for name, make in {REFERENCE: manual_methods[REFERENCE], **methods}.items():
                try:
                    contenders.append(_Contender(name, make(batch.spec), batch))
                except (SFGSearchError, ValueError) as error:  # an allocation for another number of tasks, say
                    notes.append(f"{name} with {len(batch.spec.tasks)} tasks: {error}")
            rows += _measure(contenders, seconds * len(contenders), len(batch.spec.tasks))
    return Costs(tuple(rows), tuple(notes))


def _measure(contenders: list[_Contender], seconds: float, tasks: int) -> list[StepCost]:
    for contender in contenders:
        for _ in range(_WARM_UP):
            contender.step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(contenders[0].times) < _WARM_UP:
        for contender in contenders:
            contender.times.append(contender.step())
    reference = contenders[0].times
    return [
        StepCost(
            contender.name,
            tasks,
            1000 * statistics.median(contender.times),
            statistics.median(own / other for own, other in zip(contender.times, reference, strict=True)),
            contender.system.complexity().macs,
            contender.peak_bytes(),
        )
        for contender in contenders
    ]


def searched(spec: NetworkSpec) -> Method:
    """Return an allocation such as a search tries: equal parts."""
    return FixedAllocation(Allocation.equal(spec.filters, spec.task_names))


def with_tasks(experiment: Experiment, number: int | None = None) -> Experiment:
    """Return an experiment on one batch of training images, with so many tasks.

    Further tasks are those that there are, in turn, under other names.
    """
    order = torch.Generator().manual_seed(0)
    cpu = torch.device("cpu")
    images, targets = next(iter(batches(experiment.data.train, experiment.settings.batch_size, cpu, order)))
    given = experiment.data.tasks
    number = len(given) if number is None else number
    tasks = tuple(
        task if index < len(given) else replace(task, name=f"{task.name} {index // len(given) + 1}")
        for index in range(number)
        for task in [given[index % len(given)]]
    )
    of_tasks = {task.name: targets[given[index % len(given)].name] for index, task in enumerate(tasks)}
    batch = InMemory(images, of_tasks)
    spec = replace(experiment.spec, tasks=tasks)
    return Experiment(MultiTaskData(tasks, batch, batch, batch), spec, experiment.settings, experiment.augmentation)
