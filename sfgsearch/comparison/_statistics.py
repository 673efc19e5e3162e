"""Means over seeds with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval.

    Args:
        mean: The mean.
        low: Lower end; the mean itself for a single value, which has no interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of values and Student's 95 % interval of it.

    Args:
        values: Independent values, at least one.
    """
    mean = float(np.mean(values))
    if len(values) < 2 or min(values) == max(values):  # where the deviation would be that of rounding
        return Interval(mean, mean, mean)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    margin = float(student_t.ppf(0.975, len(values) - 1)) * error
    return Interval(mean, mean - margin, mean + margin)
