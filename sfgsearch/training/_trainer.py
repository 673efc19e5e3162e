"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from sfgsearch.data import MultiTaskData, batches, largest_batch
from sfgsearch.data._labels import count_labels
from sfgsearch.errors import NonFiniteLossError
from sfgsearch.functional import variational_objective
from sfgsearch.graph import CONVOLUTIONS
from sfgsearch.methods import Randomness, System
from sfgsearch.nn import SFGConv, backbone_parameters, plain_state
from sfgsearch.tasks import select_present
from sfgsearch.training._checkpoint import Checkpoint
from sfgsearch.training._optimiser import Optimiser, divide
from sfgsearch.training._results import StepLosses
from sfgsearch.training._settings import TrainingSettings
from sfgsearch.training._weighting import task_weighting

Augment = Callable[[Tensor, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
"""Returns images and targets of a training batch after random changes."""


class Trainer:
    """Trains a system's network epoch by epoch; can be captured after every step, and go on from there.

    Args:
        system: What is trained, on the device.
        data: Its training split is used.
        settings: Epochs, batch size and learning rates.
        randomness: What the system was built from; its ``order`` shuffles the training split.
        device: Where the network is.
        augment: Changes every batch at random, on the device.
        hides_targets: Whether ``augment`` makes targets missing.

    Attributes:
        epoch: Epochs done.
        step: Steps done.
    """

    def __init__(
        self,
        system: System,
        data: MultiTaskData,
        settings: TrainingSettings,
        randomness: Randomness,
        device: torch.device,
        augment: Augment | None = None,
        hides_targets: bool = False,
    ) -> None:
        self._system, self._data, self._settings = system, data, settings
        self._randomness, self._device, self._augment = randomness, device, augment
        self.epoch = self.step = self._epoch_steps = 0
        self._names = [task.name for task in data.tasks]
        labels = count_labels(data.train, data.tasks).values()
        self._has_missing = [hides_targets or count.missing > 0 for count in labels]
        self._sums = torch.zeros(1 + 2 * len(data.tasks), device=device)  # objective, losses, batches with targets
        self._order = randomness.order.get_state()  # as of the start of the epoch
        self._steps_per_epoch = _count_steps(len(data.train), largest_batch(data.train, settings.batch_size))
        self._steps = settings.epochs * self._steps_per_epoch
        if settings.channels_last:
            convert_conv2d_weight_memory_format(system.network, torch.channels_last)  # and activations follow
        self._weights = _kernels(system.network)
        self._weighting = task_weighting(settings.task_weighting, data.tasks).to(device)
        self._optimiser = self._make_optimiser()

    def _make_optimiser(self) -> Optimiser:
        settings = self._settings
        groups = self._system.parameter_groups(settings.lr)
        if learned := list(self._weighting.parameters()):
            groups.append({"params": learned, "lr": settings.lr, "scheduled": True})
        if settings.backbone_lr is not None:
            groups = divide(groups, backbone_parameters(self._system.network), lr=settings.backbone_lr)
        held = round(self._steps * self._system.hold)
        return Optimiser(groups, self._weights, settings, self._steps, self._steps_per_epoch, held)

    @property
    def is_done(self) -> bool:
        """Whether there is no epoch left."""
        return self.epoch >= self._settings.epochs

    def train_epoch(self, after_step: Callable[[], None] | None = None) -> StepLosses:
        """Train for an epoch, or for what is left of one, and return its losses.

        Args:
            after_step: Called after every step that does not end the epoch; what it raises ends training.

        Raises:
            NonFiniteLossError: If the objective is NaN or infinite, which is checked at the epoch's end.
        """
        self._system.network.train()
        self._order = self._randomness.order.get_state()
        examples = batches(self._data.train, self._settings.batch_size, self._device, self._randomness.order)
        for images, targets in islice(examples, self._epoch_steps, None):
            self.train_step(images, targets)
            if after_step and self._epoch_steps < self._steps_per_epoch:
                after_step()
        return self._end_epoch()

    def train_step(self, images: Tensor, targets: dict[str, Tensor]) -> None:
        """Train on one batch, on the device.

        Args:
            images: Shape (B, C, *space).
            targets: Targets by task name.
        """
        if self._augment:
            images, targets = self._augment(images, targets)
        self._system.begin_step(self.step, self._steps)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._settings.precision == "bf16"):
            predictions = self._system.network(images)
        if self._settings.precision == "bf16":
            predictions = {name: prediction.float() for name, prediction in predictions.items()}
        task_losses, present = self._task_losses(predictions, targets)
        objective = variational_objective(
            self._weighting(task_losses, present),
            self._system.kl(),
            torch.stack([weight.square().sum() for weight in self._weights]).sum(),
            len(self._data.train),
            self._system.kl_weight,
            self._settings.length_scale,
        )
        objective = objective + self._system.penalty()
        self._optimiser.step(objective)
        self._sums += torch.cat([objective.detach()[None], task_losses.detach(), present])
        self.step, self._epoch_steps = self.step + 1, self._epoch_steps + 1

    def _task_losses(self, predictions: dict[str, Tensor], targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mean loss of every task over the targets that are present, and which tasks have any."""
        losses, present = [], []
        for task, has_missing in zip(self._data.tasks, self._has_missing, strict=True):
            prediction, target = predictions[task.name], targets[task.name]
            if has_missing:  # to look for some in every batch would make a GPU wait
                prediction, target = select_present(prediction, target)
            is_empty = not target.numel()
            losses.append(prediction.sum() if is_empty else task.negative_log_likelihood(prediction, target))
            present.append(not is_empty)
        return torch.stack(losses), torch.tensor(present, device=self._device)

    def _end_epoch(self) -> StepLosses:
        objective = float(self._sums[0] / self._epoch_steps)
        sums, counts = self._sums[1:].chunk(2)
        task_means = (sums / counts.clamp(min=1)).tolist()
        losses, weights = (
            dict(zip(self._names, values, strict=True)) for values in (task_means, self._weighting.current())
        )
        if not math.isfinite(objective):
            raise NonFiniteLossError(_diverged(self.epoch, losses))
        self.epoch, self._epoch_steps = self.epoch + 1, 0
        self._sums.zero_()
        return StepLosses(objective, losses, weights)

    def revisit_last_epoch(self) -> None:
        """Put the training split where the last epoch had it.

        Splits of random patches are measured where they are, and that must not depend on whether this process has
        trained that epoch.
        """
        generator = torch.Generator()
        generator.set_state(self._order)
        self._data.train.begin_epoch(generator)

    def capture(self) -> Checkpoint:
        """Return the state as of now, in copies."""
        tensors = {
            **_under("system", self._system.state_dict()),
            **_under("weighting", plain_state(self._weighting)),
            **_under("optimiser", self._optimiser.state()),
            **_under("randomness", _generator_states(self._randomness)),
            "order": self._order.clone(),
            "sums": self._sums.cpu().clone(),
        }
        position = {"epoch": self.epoch, "step": self.step, "epoch_steps": self._epoch_steps}
        return Checkpoint(tensors, {**position, "learning_rates": self._optimiser.learning_rates})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from what was captured of a training of the same system, data, settings and randomness.

        Raises:
            Exception: Whatever the parts raise that it does not fit; this trainer and its system are then of no use.
        """
        tensors, state = checkpoint.tensors, checkpoint.state
        self.epoch, self.step, self._epoch_steps = state["epoch"], state["step"], state["epoch_steps"]
        if self.step:
            self._system.begin_step(self.step - 1, self._steps)  # before the rest: it may draw
        self._system.load_state_dict(_named("system", tensors))
        self._weighting.load_state_dict(_named("weighting", tensors))
        self._optimiser.restore(_named("optimiser", tensors), state["learning_rates"], self.step)
        self._sums.copy_(tensors["sums"])
        for name, generator_state in _named("randomness", tensors).items():
            getattr(self._randomness, name).set_state(generator_state)
        self._order = tensors["order"].clone()
        if self._epoch_steps:  # the epoch is shuffled again, and the batches that are done are left out
            self._randomness.order.set_state(self._order)


def _count_steps(num_examples: int, batch_size: int) -> int:
    whole, rest = divmod(num_examples, batch_size)
    return max(whole + (rest > 1), 1)


def _kernels(network: nn.Module) -> list[Tensor]:
    """Return the weights W that the prior shrinks: those of convolutions and linear layers, not norms or logits."""
    kinds = SFGConv, *CONVOLUTIONS, nn.Linear
    return [module.weight for module in network.modules() if isinstance(module, kinds)]


def _diverged(epoch: int, task_losses: dict[str, float]) -> str:
    losses = ", ".join(f"{name} {loss:g}" for name, loss in task_losses.items())
    return f"the loss was not finite in epoch {epoch} (task losses: {losses}); lower the learning rate"


def _under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the name of the part that they belong to."""
    return {f"{part}/{name}": tensor for name, tensor in tensors.items()}


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a part, by the names that it knows them under."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _generator_states(randomness: Randomness) -> dict[str, Tensor]:
    """Return the states of all generators, uint8."""
    return {source.name: getattr(randomness, source.name).get_state() for source in fields(randomness)}
