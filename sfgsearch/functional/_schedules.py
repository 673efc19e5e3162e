"""Temperature schedules of the Gumbel-Softmax relaxation, per optimiser step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from sfgsearch._choices import ScheduleFamily


def temperature(
    step: int,
    family: ScheduleFamily,
    *,
    start: float,
    end: float | None = None,
    steps: int = 1,
    rate: float | None = None,
    floor: float = 0.0,
) -> float:
    r"""Return the temperature at a step, never below the floor.

    With progress :math:`u = \min(s / (S - 1), 1)` at step s of S:

    ============  =====================================================================
    constant      :math:`\tau_0`
    exponential   :math:`\tau_0 e^{-r s}`, or :math:`\tau_0 (\tau_1 / \tau_0)^u` without a rate
    linear        :math:`\tau_0 + (\tau_1 - \tau_0) u`
    cosine        :math:`\tau_1 + (\tau_0 - \tau_1) (1 + \cos \pi u) / 2`
    ============  =====================================================================

    Args:
        step: s, counted from zero.
        family: Which of the four.
        start: tau_0 > 0.
        end: tau_1 > 0, reached at the last step; needed by all but constant and exponential with a rate.
        steps: S >= 1.
        rate: r per step, for the exponential family only.
        floor: The lowest temperature returned.

    Raises:
        ValueError: If the family is unknown, a temperature, rate or number of steps is out of range, or ``end`` is
            missing.
    """
    if family not in get_args(ScheduleFamily):
        raise ValueError(f"schedule must be one of {', '.join(get_args(ScheduleFamily))}, got {family!r}")
    if not 0 < start < math.inf or (end is not None and not 0 < end < math.inf):
        raise ValueError(f"start and end temperature must be positive and finite, got {start} and {end}")
    if steps < 1 or (rate is not None and not rate >= 0):
        raise ValueError(f"steps must be at least 1 and the rate not negative, got {steps} and {rate}")
    progress = min(step / max(steps - 1, 1), 1.0)
    if family == "constant":
        value = start
    elif family == "exponential" and rate is not None:
        value = start * math.exp(-rate * step)
    elif end is None:
        raise ValueError(f"a {family} schedule needs an end temperature")
    elif family == "exponential":
        value = start * (end / start) ** progress
    elif family == "linear":
        value = start + (end - start) * progress
    else:
        value = end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
    return max(value, floor)


@dataclass(frozen=True)
class TemperatureSchedule:
    """A schedule as a value: call it with a step. The fields are the arguments of :func:`temperature`."""

    family: ScheduleFamily = "exponential"
    start: float = 2.0
    end: float | None = 0.3
    rate: float | None = None
    floor: float = 0.01

    def __call__(self, step: int, steps: int) -> float:
        """Return the temperature at ``step`` (from zero) of ``steps``."""
        return temperature(
            step, self.family, start=self.start, end=self.end, steps=steps, rate=self.rate, floor=self.floor
        )
