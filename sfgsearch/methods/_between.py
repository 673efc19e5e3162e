"""Checking the numbers among the options of methods."""

from __future__ import annotations

LEARNING_RATES = (1e-12, 100.0)
TEMPERATURES = (1e-4, 1e4)


def check_between(name: str, number: float, low: float, high: float) -> None:
    """Check that an option is between two bounds, both included.

    Raises:
        ValueError: If it is not.
    """
    if not low <= number <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, got {number}")
