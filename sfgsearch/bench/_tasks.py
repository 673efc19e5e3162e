"""A study's data with another number of tasks."""

from __future__ import annotations

from dataclasses import replace

import torch

from sfgsearch.data import InMemory, MultiTaskData, batches
from sfgsearch.nn import NetworkSpec
from sfgsearch.training import Experiment


def with_tasks(experiment: Experiment, number: int | None = None) -> Experiment:
    """Return an experiment on one batch of training images, with so many tasks.

    Further tasks are those that there are, in turn, under other names.

    Args:
        experiment: The experiment.
        number: Tasks; as many as there are if None.
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
    spec = NetworkSpec(experiment.spec.backbone, tasks, experiment.spec.image_shape)
    return Experiment(MultiTaskData(tasks, batch, batch, batch), spec, experiment.settings, experiment.augmentation)
