"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.data import MultiTaskData, batches, largest_batch
from sfgsearch.errors import NonFiniteLossError
from sfgsearch.functional import variational_objective
from sfgsearch.methods import System
from sfgsearch.nn import SFGConv
from sfgsearch.tasks import Task
from sfgsearch.training._settings import TrainingSettings
from sfgsearch.training._weighting import TaskWeighting

Augment = Callable[[Tensor, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
"""Returns images and targets of a training batch after random changes."""


@dataclass(frozen=True)
class EpochReport:
    """What an epoch of training came to.

    Args:
        epoch: From zero.
        loss: Mean objective over the epoch's steps, in nats per image.
        task_losses: Mean negative log likelihood by task, in nats per image.
        metrics: Validation metrics by ``"<task>/<metric>"``.
        score: Mean relative error over tasks on the validation split; lower is better.
        mean_probs: For methods with group probabilities, their mean over filters by layer.
        mean_entropy: Likewise the mean entropy in nats.
        task_weights: Factor of every task's loss, which training may learn.
    """

    epoch: int
    loss: float
    task_losses: dict[str, float]
    metrics: dict[str, float]
    score: float
    mean_probs: dict[str, list[float]]
    mean_entropy: dict[str, float]
    task_weights: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class StepLosses:
    """What the trainer knows of an epoch.

    Args:
        objective: Mean objective, in nats per image.
        tasks: Mean negative log likelihood by task, in nats per image.
        weights: Factor of every task's loss at the end of the epoch.
    """

    objective: float
    tasks: dict[str, float]
    weights: dict[str, float]


def train(
    system: System,
    data: MultiTaskData,
    settings: TrainingSettings,
    order: torch.Generator,
    device: torch.device,
    on_epoch: Callable[[int, StepLosses], None],
    augment: Augment | None = None,
) -> None:
    """Train a system's network.

    Args:
        system: What is trained, on the device.
        data: Its training split is used.
        settings: Epochs, batch size and learning rates.
        order: Shuffles the training split.
        device: Where the network is.
        on_epoch: Called with the epoch (from zero) and its losses after every epoch; what it raises ends training.
        augment: Changes every batch at random, on the device.

    Raises:
        NonFiniteLossError: If the objective is NaN or infinite, which is checked at every epoch's end.
    """
    learn = settings.task_weighting == "uncertainty"
    weighting = TaskWeighting([task.weight for task in data.tasks], learn=learn).to(device)
    groups = system.parameter_groups(settings.lr)
    if learn:
        groups.append({"params": list(weighting.parameters()), "lr": settings.lr, "scheduled": True})
    optimiser = torch.optim.Adam(groups)
    steps_per_epoch = _count_steps(len(data.train), largest_batch(data.train, settings.batch_size))
    total = settings.epochs * steps_per_epoch
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimiser, [_decay(settings, total if group["scheduled"] else None) for group in optimiser.param_groups]
    )
    weights = _kernels(system.network)
    names = [task.name for task in data.tasks]
    step = 0
    for epoch in range(settings.epochs):
        system.network.train()
        sums, epoch_steps = torch.zeros(len(names) + 1, device=device), 0
        for images, targets in batches(data.train, settings.batch_size, device, order):
            if augment:
                images, targets = augment(images, targets)
            system.begin_step(step, total)
            predictions = system.network(images)
            task_losses = torch.stack(_task_losses(data.tasks, predictions, targets))
            objective = variational_objective(
                weighting(task_losses),
                system.kl(),
                torch.stack([weight.square().sum() for weight in weights]).sum(),
                len(data.train),
                system.kl_weight,
                settings.length_scale,
            )
            optimiser.zero_grad(set_to_none=True)
            objective.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            decay.step()
            sums += torch.cat([objective.detach()[None], task_losses.detach()])
            step, epoch_steps = step + 1, epoch_steps + 1
        objective_mean, *task_means = (sums / epoch_steps).tolist()
        if not math.isfinite(objective_mean):
            raise NonFiniteLossError(_diverged(epoch, dict(zip(names, task_means, strict=True))))
        losses, weights_now = (dict(zip(names, values, strict=True)) for values in (task_means, weighting.current()))
        on_epoch(epoch, StepLosses(objective_mean, losses, weights_now))


def _count_steps(num_examples: int, batch_size: int) -> int:
    whole, rest = divmod(num_examples, batch_size)
    return max(whole + (rest > 1), 1)


def _decay(settings: TrainingSettings, total: int | None) -> Callable[[int], float]:
    if total is None or settings.lr_schedule == "constant":
        return lambda _step: 1.0
    return lambda step: (1 + math.cos(math.pi * step / total)) / 2


def _kernels(network: nn.Module) -> list[Tensor]:
    """Return the weights W that the prior shrinks: those of convolutions and linear layers, not norms or logits."""
    kinds = SFGConv | nn.Conv2d | nn.Conv3d | nn.Linear
    return [module.weight for module in network.modules() if isinstance(module, kinds)]


def _task_losses(tasks: tuple[Task, ...], predictions: dict[str, Tensor], targets: dict[str, Tensor]) -> list[Tensor]:
    return [task.negative_log_likelihood(predictions[task.name], targets[task.name]) for task in tasks]


def _diverged(epoch: int, task_losses: dict[str, float]) -> str:
    losses = ", ".join(f"{name} {loss:g}" for name, loss in task_losses.items())
    return f"the loss was not finite in epoch {epoch} (task losses: {losses}); lower the learning rate"
