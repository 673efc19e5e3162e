"""The metrics of tasks on torchmetrics, which takes seconds to load: import this module where metrics are made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor


class _Empty(ModuleType):
    """A package in which every name is None."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> None:
        return None


@contextmanager
def _beside_broken_torchvision() -> Iterator[None]:
    """Import torchmetrics without torchvision in the block, where that is installed and cannot be imported.

    torchmetrics imports an installed torchvision for metrics that are not needed here, and fails with it, as with one
    that was built for another torch.
    """
    stand_ins: dict[str, ModuleType] = {}
    try:
        if find_spec("torchvision") is not None:
            import_module("torchvision")
    except Exception:  # whatever its operators raise
        names = ("torchvision", "torchvision.models", "torchvision.transforms")
        stand_ins = {name: _Empty(name) for name in names}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


with _beside_broken_torchvision():
    from torchmetrics import MeanAbsoluteError, MeanMetric, Metric, MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score
    from torchmetrics.functional.classification import binary_auroc
    from torchmetrics.image import PeakSignalNoiseRatio

__all__ = [
    "AreaUnderCurve",
    "BalancedAccuracy",
    "Dice",
    "MeanMetric",
    "Metric",
    "MetricCollection",
    "MulticlassAccuracy",
    "MulticlassF1Score",
    "ScaledMeanAbsoluteError",
    "ScaledPeakSignalNoiseRatio",
]


class BalancedAccuracy(MulticlassConfusionMatrix):
    """Mean over the classes that occur of the share of their targets that are predicted."""

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the mean recall."""
        confusion = super().compute().double()
        occurrences = confusion.sum(1)
        occurs = occurrences > 0
        return (confusion.diag()[occurs] / occurrences[occurs]).mean()


class AreaUnderCurve(Metric):
    """Area under the receiver operating characteristic of class 1 against class 0; NaN unless both occur."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[Tensor]
        self.classes: list[Tensor]
        for state in ("scores", "classes"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take logits of shape (B, 2) and classes of shape (B,)."""
        self.scores.append(preds[:, 1].double() - preds[:, 0].double())
        self.classes.append(target)

    def compute(self) -> Tensor:
        """Return the area."""
        scores, classes = torch.cat(self.scores), torch.cat(self.classes)
        if bool((classes == classes[0]).all()):
            return scores.new_tensor(torch.nan)
        ranks = torch.searchsorted(scores.sort().values, scores)  # probabilities near one would be equal
        return binary_auroc(ranks / len(ranks), classes)


class Dice(MulticlassConfusionMatrix):
    """Dice over all voxels seen, 2 TP / (2 TP + FP + FN); 1 where a class neither occurs nor is predicted.

    Args:
        num_classes: Number of classes; class 0 is the background.
        only: The class; the mean over the foreground classes that occur or are predicted if None.
    """

    higher_is_better = True

    def __init__(self, num_classes: int, only: int | None = None) -> None:
        super().__init__(num_classes, validate_args=False)
        self.only = only

    def compute(self) -> Tensor:
        """Return the Dice of the class, or the mean."""
        confusion = super().compute().double()
        counted = confusion.sum(0) + confusion.sum(1)
        scores = torch.where(counted > 0, 2 * confusion.diag() / counted.clamp(min=1), 1.0)
        if self.only is not None:
            return scores[self.only]
        is_there = counted[1:] > 0
        return scores[1:][is_there].mean() if is_there.any() else scores.new_ones(())


class ScaledMeanAbsoluteError(MeanAbsoluteError):
    """Mean absolute error in the unit that users read, from predictions in the scale of training."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take predictions and targets of equal shapes."""
        super().update(preds * self.scale, target * self.scale)


class ScaledPeakSignalNoiseRatio(PeakSignalNoiseRatio):
    """Peak signal-to-noise ratio of predictions in the scale of training."""

    def __init__(self, scale: float, span: float) -> None:
        super().__init__(data_range=span)
        self.scale = scale

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take predictions and targets of equal shapes."""
        super().update(preds * self.scale, target * self.scale)
