"""The strategies that a comparison tells apart: the kinds, and among searched trials those that refine learned ones."""

from __future__ import annotations

from typing import Literal, get_args

Strategy = Literal["learned", "searched", "refined", "manual"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

KIND = "kind"
"""Categorical parameter of a trial: learned, searched or manual."""


def strategy_of(kind: str, name: str) -> str:
    """Return the strategy of a record, by its kind and its name."""
    return "refined" if kind == "searched" and name.startswith("refined-") else kind


def costs_alike(macs: float, others: float) -> bool:
    """Return whether two numbers of multiply-adds are within 2 % of each other, relative to the second."""
    return abs(macs / others - 1) <= 0.02
