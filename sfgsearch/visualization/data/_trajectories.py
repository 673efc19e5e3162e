"""Group probabilities over the epochs of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfgsearch.allocation import group_names
from sfgsearch.training import EpochReport
from sfgsearch.visualization.data._group_maps import GroupMaps
from sfgsearch.visualization.data._trial_review import TrialReview, read_history

History = TrialReview | Sequence[EpochReport] | Mapping[str, Any]
"""A trial, reports of its epochs, or what its ``history.json`` holds."""

_MOST_CURVES = 8
"""Layers up to which every one has a panel of curves."""


@dataclass(frozen=True)
class Trajectories:
    """Mean probabilities of all groups, by layer and epoch.

    Args:
        groups: The tasks in order, then shared.
        layers: In depth order; none for methods without group probabilities.
        epochs: Epochs trained, from one.
        probs: Means over filters, shape (layers, epochs, groups).
    """

    groups: tuple[str, ...]
    layers: tuple[str, ...]
    epochs: tuple[int, ...]
    probs: NDArray[np.float64]

    @property
    def are_many(self) -> bool:
        """Whether layers are too many for a panel each."""
        return len(self.layers) > _MOST_CURVES

    def maps(self) -> GroupMaps:
        """Return one map per group, of layers against epochs."""
        first, last = self.epochs[0], self.epochs[-1]
        return GroupMaps(
            self.groups,
            self.layers,
            np.moveaxis(self.probs, 2, 0),
            edges=(first - 0.5, last + 0.5),
            across="epochs trained",
            quantity="mean probability",
        )


def reports_of(history: History) -> list[EpochReport]:
    """Return the reports of a trial's epochs, in order."""
    if isinstance(history, TrialReview):
        return list(history.history)
    return read_history(history) if isinstance(history, Mapping) else list(history)


def trajectories(history: History) -> Trajectories:
    """Return the mean group probabilities of every layer after every epoch.

    Args:
        history: A trial, reports of its epochs, or what its ``history.json`` holds.
    """
    reports = [report for report in reports_of(history) if report.mean_probs]
    if not reports:
        return Trajectories((), (), (), np.zeros((0, 0, 0)))
    layers = tuple(reports[0].mean_probs)
    probs = np.array([[report.mean_probs[layer] for report in reports] for layer in layers])
    epochs = tuple(report.epoch + 1 for report in reports)
    return Trajectories(group_names(tuple(reports[0].task_losses)), layers, epochs, probs)
