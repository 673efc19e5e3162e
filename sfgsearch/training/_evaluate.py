"""Metrics of a network on a split, and one scale-free number from them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sfgsearch.data import MultiTaskData, Split
from sfgsearch.errors import DataError
from sfgsearch.nn import MonteCarloEnsemble
from sfgsearch.tasks import Task, is_present, select_present
from sfgsearch.tasks._classes import as_signed

if TYPE_CHECKING:
    from torchmetrics import MeanMetric

Metrics = dict[str, float]
"""Values by ``"<task>/<metric>"``."""


UNCERTAINTY = "uncertainty"
"""Name of the metric that Monte-Carlo prediction adds to every task."""


class WithUncertainty(nn.Module):
    """Monte-Carlo prediction that says how sure it is."""

    def __init__(self, ensemble: MonteCarloEnsemble, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.ensemble, self._tasks = ensemble, tuple(tasks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the averaged predictions by task name, and ``"<task>/uncertainty"`` beside each."""
        samples = self.ensemble.samples(images)
        result = {}
        for task in self._tasks:
            result[task.name] = task.average(samples[task.name])
            result[f"{task.name}/{UNCERTAINTY}"] = task.uncertainty(samples[task.name])
        return result


@torch.no_grad()
def evaluate(
    network: nn.Module,
    tasks: Sequence[Task],
    batches: Iterable[tuple[Tensor, Mapping[str, Tensor]]],
    device: torch.device,
) -> Metrics:
    """Return the metrics of all tasks over the targets that are present; the modules' modes are restored.

    Args:
        network: Images in, predictions by task name out; ``"<task>/<quantity>"`` beside them are averaged over the
            targets of that task.
        tasks: The tasks.
        batches: Images and targets on the device.
        device: Where metrics accumulate.

    Returns:
        Values by ``"<task>/<metric>"``, without those that are undefined: metrics that are NaN on these data, and all
        of a task of which a prediction is not finite, for the greatest of such logits would pass for an answer.
    """
    from sfgsearch.tasks._metrics import MeanMetric

    collections = {task.name: task.metrics().to(device) for task in tasks}
    quantities: dict[str, MeanMetric] = {}
    finite = {task.name: torch.ones((), dtype=torch.bool, device=device) for task in tasks}
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    for images, targets in batches:
        for name, prediction in network(images).items():
            task = name if name in collections else name.rsplit("/", 1)[0]
            of_present, target = select_present(prediction, targets[task])
            if not target.numel():
                continue
            finite[task] &= of_present.isfinite().all()
            if name in collections:
                collections[name].update(of_present, target)
            else:
                quantities.setdefault(name, MeanMetric().to(device)).update(of_present)
    for module, mode in modes:
        module.training = mode
    values = {
        f"{name}/{metric}": float(value)
        for name, collection in collections.items()
        if finite[name]
        for metric, value in collection.compute().items()
    } | {name: float(quantity.compute()) for name, quantity in quantities.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}


class RelativeError:
    """The error of each task relative to that of the best constant prediction: 0 is perfect, 1 has learned nothing.

    Dividing by the trivial error frees tasks of their units and scales, so that a mean over tasks means something.

    Raises:
        DataError: If a constant prediction has no error, as when a split has a single class.
    """

    def __init__(self, data: MultiTaskData, split: str) -> None:
        measured: Split = getattr(data, split)
        self._tasks = data.tasks
        self._trivial = {
            task.name: task.trivial_error(*(_present(part, task.name) for part in (data.train, measured)))
            for task in data.tasks
        }
        for name, error in self._trivial.items():
            if not error > 0:
                raise DataError(
                    f"task {name!r} is trivial on the {split} split: a constant prediction has no error there; give "
                    "the split images with other targets, or leave the task out"
                )

    def per_task(self, metrics: Metrics) -> dict[str, float]:
        """Return the relative error of every task from its metrics."""
        errors = {}
        for task in self._tasks:
            prefix = f"{task.name}/"
            own = {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}
            errors[task.name] = task.error(defaultdict(lambda: math.nan, own)) / self._trivial[task.name]
        return errors

    def mean(self, metrics: Metrics) -> float:
        """Return the mean over tasks."""
        errors = self.per_task(metrics)
        return sum(errors.values()) / len(errors)


def _present(split: Split, task: str) -> Tensor:
    """Return the targets of a task that are present, flattened."""
    target = as_signed(split.target(task))
    return target[is_present(target)]
