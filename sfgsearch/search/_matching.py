"""Networks at equal multiply-adds: the width at which a method's network costs what another one does."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import nn

from sfgsearch.errors import BackboneError, SFGSearchError
from sfgsearch.methods import Method, Randomness
from sfgsearch.nn import NetworkSpec, complexity

WIDTH = "width"
"""The option of a backbone that scales the filters of all layers: a factor, a float."""

_MOST_ANALYSES = 6
_CLOSE = 0.005
"""Relative distance from the goal that is not worth another analysis."""
_FACTOR, _STEPS = 1.5, 10
"""Steps to an interval of widths, and halvings of it: to 0.04 %."""
_CPU = torch.device("cpu")


def width_of(spec: NetworkSpec) -> float | None:
    """Return the width that a network is specified with; None if its backbone takes no such option."""
    width = getattr(spec.backbone, "keywords", {}).get(WIDTH)
    return width if isinstance(width, float) else None


def at_width(spec: NetworkSpec, width: float) -> NetworkSpec:
    """Return a network at another width."""
    return replace(spec, backbone=partial(spec.backbone, **{WIDTH: width}))


class WidthSearch:
    """Finds the width at which what a method predicts with costs as many multiply-adds as the plain network.

    To count those of a method takes an analysis of the network at that width, which is slow; to count those of the
    plain network does not. The ratio of the two hardly depends on the width, so the plain network's are solved for the
    width, and the ratio is corrected by each analysis.

    Args:
        spec: The network at the study's width, whose backbone takes a width.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._plain: dict[float, int] = {}
        self._found: dict[Hashable, float] = {}

    @cached_property
    def goal(self) -> int:
        """Multiply-adds of hard sharing at the study's width: those of the plain network."""
        return self._count_plain(self._width)

    @property
    def _width(self) -> float:
        width = width_of(self.spec)
        if width is None:
            raise BackboneError(f"the backbone takes no option {WIDTH!r}, so its multiply-adds cannot be matched")
        return width

    def find(self, key: Hashable, method_at: Callable[[NetworkSpec], Method], macs: int | None = None) -> float:
        """Return the width at which a method's network comes closest to the goal, as far as it fits the backbone.

        Args:
            key: What tells the method from others: it is looked for once.
            method_at: Returns the method for the network at another width.
            macs: Multiply-adds of what it predicts with at the study's width; counted if None.
        """
        if key not in self._found:
            self._found[key] = self._find(method_at, macs or _count(method_at, self.spec))
        return self._found[key]

    def _find(self, method_at: Callable[[NetworkSpec], Method], macs: int) -> float:
        tried = {self._width: macs}
        ratio = macs / self.goal
        for _ in range(_MOST_ANALYSES):
            width = self._solve(self.goal / ratio)
            if width in tried:
                break
            try:
                tried[width] = _count(method_at, at_width(self.spec, width))
            except SFGSearchError:  # so narrow that channels which an allocation tells apart are no more
                break
            if abs(tried[width] / self.goal - 1) < _CLOSE:
                break
            ratio = tried[width] / self._count_plain(width)
        return min(tried, key=lambda width: abs(tried[width] - self.goal))

    def _solve(self, macs: float) -> float:
        """Return the width at which the plain network's multiply-adds are closest to a number, by bisection."""
        low, high = self._bracket(macs)
        for _ in range(_STEPS):
            middle = _rounded(math.sqrt(low * high))
            if self._count_plain(middle) > macs:
                high = middle
            else:
                low = middle
        return min((low, high), key=lambda width: abs(self._count_plain(width) - macs))

    def _bracket(self, macs: float) -> tuple[float, float]:
        """Return widths below and above the one that is looked for, as far as the backbone goes."""
        low = high = self._width
        while self._count_plain(low) > macs and self._takes(narrower := _rounded(low / _FACTOR)):
            low, high = narrower, low
        while self._count_plain(high) < macs and self._takes(wider := _rounded(high * _FACTOR)):
            low, high = high, wider
        return low, high

    def _takes(self, width: float) -> bool:
        """Return whether the backbone can be built at a width."""
        try:
            return self._count_plain(width) > 0
        except SFGSearchError:
            return False

    def _count_plain(self, width: float) -> int:
        """Count the multiply-adds of the plain network."""
        if width not in self._plain:
            network: nn.Module = at_width(self.spec, width).build()
            self._plain[width] = complexity(network, self.spec.image_shape).macs
        return self._plain[width]


def _count(method_at: Callable[[NetworkSpec], Method], spec: NetworkSpec) -> int:
    """Count the multiply-adds of what a method predicts with."""
    return method_at(spec).build(spec, Randomness.from_seed(0, _CPU), _CPU).complexity().macs


def _rounded(width: float) -> float:
    """Return a width as people write it, in four digits."""
    return float(f"{width:.4g}")
