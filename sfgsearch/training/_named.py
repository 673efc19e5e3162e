"""The parts of a training's state as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from sfgsearch.methods._method import Randomness


def under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the name of the part that they belong to."""
    return {f"{part}/{name}": tensor for name, tensor in tensors.items()}


def named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a part, by the names that it knows them under."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def generator_states(randomness: Randomness) -> dict[str, Tensor]:
    """Return the states of all generators, uint8."""
    return {source.name: getattr(randomness, source.name).get_state() for source in fields(randomness)}


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimiser remembers of every parameter that it has moved, by ``"<index>/<name>"``."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {
        f"{index}/{name}": tensor.detach().cpu().clone()
        for index, memory in state.items()
        for name, tensor in memory.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rates: Sequence[float]) -> None:
    """Take over what :func:`optimiser_state` returned, and the learning rates of the parameter groups."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = tensor.clone()
    groups = optimiser.state_dict()["param_groups"]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    optimiser.load_state_dict({"state": state, "param_groups": groups})
