"""Costs of training: steps of every method, measured side by side on this machine with a study's network and data."""

from sfgsearch.bench._costs import Costs, StepCost, measure_costs, searched

__all__ = ["Costs", "StepCost", "measure_costs", "searched"]
