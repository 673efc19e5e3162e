"""The strategies that a comparison tells apart: the kinds, and among searched trials those that refine learned ones."""

from __future__ import annotations

from typing import Literal, get_args

Strategy = Literal["learned", "searched", "refined", "manual"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def strategy_of(kind: str, name: str) -> str:
    """Return the strategy of a record, by its kind and its name."""
    return "refined" if kind == "searched" and name.startswith("refined-") else kind
