"""The optimiser of a training: what moves weights, at which rate, and what moves all that is learned beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sfgsearch.training._settings import TrainingSettings

_MILESTONES, _STEP = (0.5, 0.75), 0.1
"""Parts of the decay at which the schedule in steps multiplies rates, and by what."""
_RISE, _START = 0.3, 0.04
"""Of a one-cycle schedule: the part of the steps in which rates rise, and where they start, as torch has them."""


class Optimiser:
    """Moves the parameters of a network.

    Weights are moved as the settings say. What a method learns beside them at a rate of its own, such as the logits of
    groups, is moved by Adam at that rate throughout.

    Args:
        groups: Parameter groups, each with its ``"lr"`` and whether that is ``"scheduled"``.
        kernels: The weights of convolutions and linear layers, which alone decay.
        settings: Which optimiser, its options, and the schedule of learning rates.
        steps: All steps of the training.
        steps_per_epoch: Those of an epoch, in which warm-up is counted.
        held: Steps in which rates do not decay yet.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        kernels: Iterable[Tensor],
        settings: TrainingSettings,
        steps: int,
        steps_per_epoch: int,
        held: int,
    ) -> None:
        every, decaying = list(groups), list(kernels)
        scheduled = divide(
            (group for group in every if group["scheduled"]), decaying, weight_decay=settings.weight_decay
        )
        own = [group for group in every if not group["scheduled"]]
        self._clip = settings.clip
        self._clipped = [parameter for group in scheduled for parameter in group["params"]]
        self._optimisers = [_make(settings, scheduled), *([torch.optim.Adam(own)] if own else [])]
        factors = [rate_factor(settings, steps, steps_per_epoch, held), lambda _step: 1.0]
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
            for optimiser, factor in zip(self._optimisers, factors, strict=False)
        ]

    def step(self, objective: Tensor) -> None:
        """Move parameters against the gradient of an objective."""
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)
        objective.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._clipped, self._clip)
        for optimiser, schedule in zip(self._optimisers, self._schedules, strict=True):
            optimiser.step()
            schedule.step()

    @property
    def learning_rates(self) -> list[float]:
        """The learning rates of all parameter groups."""
        return [float(group["lr"]) for optimiser in self._optimisers for group in optimiser.param_groups]

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered of every parameter that has moved, by ``"optimiser/index/name"``, in copies."""
        return {
            f"{number}/{index}/{name}": torch.as_tensor(value).detach().cpu().clone()
            for number, optimiser in enumerate(self._optimisers)
            for index, memory in optimiser.state_dict()["state"].items()
            for name, value in memory.items()
            if value is not None
        }

    def restore(self, tensors: Mapping[str, Tensor], rates: Sequence[float], step: int) -> None:
        """Take over what :meth:`state` returned, and the learning rates, after so many steps."""
        state: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._optimisers]
        for key, tensor in tensors.items():
            number, index, name = key.split("/")
            state[int(number)].setdefault(int(index), {})[name] = tensor.clone()
        left = list(rates)
        for optimiser, schedule, memory in zip(self._optimisers, self._schedules, state, strict=True):
            groups = optimiser.state_dict()["param_groups"]
            for group in groups:
                group["lr"] = left.pop(0)
            optimiser.load_state_dict({"state": memory, "param_groups": groups})
            schedule.last_epoch = step
        if left:
            raise ValueError(f"{len(left)} learning rates too many")


def divide(groups: Iterable[dict[str, Any]], chosen: Iterable[Tensor], **changes: Any) -> list[dict[str, Any]]:
    """Return parameter groups with some parameters apart, in groups of other options."""
    ids = {id(parameter) for parameter in chosen}
    divided = []
    for group in groups:
        others = [parameter for parameter in group["params"] if id(parameter) not in ids]
        apart = [parameter for parameter in group["params"] if id(parameter) in ids]
        divided += [{**group, "params": others}] if others else []
        divided += [{**group, "params": apart, **changes}] if apart else []
    return divided


def _make(settings: TrainingSettings, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=0.0)


def rate_factor(settings: TrainingSettings, steps: int, steps_per_epoch: int, held: int) -> Callable[[int], float]:
    """Return the factor of scheduled learning rates by step.

    Args:
        settings: Say how rates rise and decay.
        steps: All steps.
        steps_per_epoch: Those of an epoch.
        held: Steps in which rates do not decay yet.
    """
    one_cycle = settings.lr_schedule == "one_cycle"
    rise = round(_RISE * steps) if one_cycle else round(settings.warmup * steps_per_epoch)
    first = max(held, rise)

    def factor(step: int) -> float:
        if step < rise:
            return _START + (1 - _START) * _half_cosine(1 - step / rise) if one_cycle else (step + 1) / rise
        done = max(step - first, 0) / max(steps - first, 1)
        if settings.lr_schedule == "step":
            return _STEP ** sum(done >= milestone for milestone in _MILESTONES)
        return 1.0 if settings.lr_schedule == "constant" else _half_cosine(done)

    return factor


def _half_cosine(part: float) -> float:
    """Return what goes from 1 to 0 along half a cosine."""
    return (1 + math.cos(math.pi * part)) / 2
