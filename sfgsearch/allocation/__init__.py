"""Allocations: how many filters of every layer serve each group."""

from sfgsearch.allocation._allocation import SHARED, Allocation, LayerAllocation, group_names

__all__ = ["SHARED", "Allocation", "LayerAllocation", "group_names"]
