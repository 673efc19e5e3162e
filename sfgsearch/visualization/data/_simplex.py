"""Where the group probabilities of single filters lie on the simplex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import entr

from sfgsearch.allocation import SHARED
from sfgsearch.visualization.data._group_maps import GroupMaps
from sfgsearch.visualization.data._trial_review import TrialReview

HEIGHT = 3**0.5 / 2
"""Of a triangle whose sides are one."""

BINS = 20
"""Bins of a histogram of probabilities."""

CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT)])
_SMOOTHING = 0.04
"""Standard deviation of the kernel, in units of a triangle's side."""

_FLAT = 0.6
"""Height over width of a histogram."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerSimplex:
    """The filters of one layer.

    Args:
        name: The layer.
        probs: Their probabilities, shape (K, T+1), of those that may be off given that they are not.
        off: How many are probably off.
    """

    name: str
    probs: Floats
    off: int = 0

    @classmethod
    def of(cls, name: str, probs: ArrayLike) -> LayerSimplex:
        """Return the filters whose probabilities lack that of being off to one."""
        given = np.asarray(probs, dtype=float)
        on = given.sum(1, keepdims=True)
        return cls(name, given / np.maximum(on, 1e-12), int((on < 0.5).sum()))

    @property
    def entropy(self) -> float:
        """The mean over filters of the entropy, in nats."""
        return float(entr(self.probs).sum(1).mean())

    @property
    def groups(self) -> NDArray[np.intp]:
        """The most probable group of every filter, shape (K,)."""
        groups: NDArray[np.intp] = self.probs.argmax(axis=1)
        return groups

    @property
    def caption(self) -> str:
        """How many filters there are, and how undecided they are on average."""
        off = f" ({self.off} off)" if self.off else ""
        return f"{len(self.probs)} filters{off}, {self.entropy:.2f} nats"


@dataclass(frozen=True)
class Simplex:
    """The filters of all layers.

    Args:
        groups: The tasks in order, then shared.
        layers: In depth order; none for methods without group probabilities.
    """

    groups: tuple[str, ...]
    layers: tuple[LayerSimplex, ...]

    @property
    def num_tasks(self) -> int:
        """T."""
        return len(self.groups) - 1

    @property
    def proportion(self) -> float:
        """Height over width of a layer's panel."""
        return HEIGHT if self.num_tasks == 2 else _FLAT

    @property
    def note(self) -> str:
        """How to read the panels of one or two tasks."""
        if self.num_tasks == 1:
            return (
                f"From left to right: the probability of {self.groups[0]}, 0 to 1; the rest is {SHARED}. "
                "Heights: part of the filters. Nats: mean entropy."
            )
        return (
            "A point is a filter, in the colour of its most probable group; corners are certainty. "
            "Grey: density. Nats: mean entropy."
        )

    def maps(self) -> GroupMaps:
        """Return one map per group: the part of every layer's filters whose probability is in each bin."""
        values = [[histogram(layer.probs[:, group]) for layer in self.layers] for group in range(len(self.groups))]
        names = tuple(layer.name for layer in self.layers)
        return GroupMaps(
            self.groups,
            names,
            np.array(values),
            edges=(0.0, 1.0),
            across="probability",
            quantity="part of a layer's filters",
            in_percent=True,
        )


def simplex(trial: TrialReview | Mapping[str, ArrayLike], tasks: Sequence[str] | None = None) -> Simplex:
    """Return the filters of a trial, or of layers given as (K, T+1) tensors or arrays.

    Args:
        trial: A trial, or probabilities by layer in depth order.
        tasks: The names of the tasks, where there is no trial; ``"task 1"`` and so on if None.
    """
    probabilities: Mapping[str, Any] = trial.probabilities if isinstance(trial, TrialReview) else trial
    layers = tuple(LayerSimplex.of(name, probs) for name, probs in probabilities.items())
    if isinstance(trial, TrialReview):
        tasks = trial.tasks
    elif tasks is None:
        tasks = [f"task {index + 1}" for index in range(layers[0].probs.shape[1] - 1)] if layers else []
    return Simplex((*tasks, SHARED), layers)


def in_triangle(probs: Floats) -> Floats:
    """Return the places of points (K, 3) of the simplex in a triangle of side one, shape (K, 2).

    The first group's corner is on the left, the second's on the right, the last one's on top.
    """
    places: Floats = probs @ CORNERS
    return places


def density(probs: Floats, cells: int) -> Floats:
    """Return the root of the density of points (K, 3) of the simplex in and around their triangle, its maximum one.

    A Gaussian kernel estimate; what would leave the triangle is made up for along its borders. Its square root is
    returned, in which a single filter beside many can be seen.

    Args:
        probs: The points.
        cells: Cells to a side of the triangle.

    Returns:
        Shape (cells, cells) over the unit square that the triangle stands in; rows go up.
    """
    ends = np.linspace(0, 1, cells + 1)
    places = in_triangle(probs)
    counts, _, _ = np.histogram2d(places[:, 1].clip(0, 1), places[:, 0].clip(0, 1), bins=(ends, ends))
    sigma = _SMOOTHING * cells
    inside = gaussian_filter(is_inside(cells).astype(float), sigma, mode="constant")
    found: Floats = gaussian_filter(counts, sigma, mode="constant") / np.maximum(inside, 0.1)
    root: Floats = np.sqrt(found / max(found.max(), 1e-12))
    return root


def is_inside(cells: int) -> NDArray[np.bool_]:
    """Tell which cells of the unit square have their centre in the triangle, shape (cells, cells); rows go up."""
    centres = (np.arange(cells) + 0.5) / cells
    x, y = centres[None, :], centres[:, None]
    rise = 2 * HEIGHT
    return (y <= rise * x) & (y <= rise * (1 - x))


def histogram(values: Floats) -> Floats:
    """Return the part of numbers between 0 and 1 in each of :data:`BINS` bins, shape (BINS,)."""
    counts, _ = np.histogram(values.clip(0, 1), bins=BINS, range=(0, 1))
    parts: Floats = counts / max(len(values), 1)
    return parts
