"""The simplex figure: where the group probabilities of single filters lie."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import entr

from sfgsearch._stages import stages_of
from sfgsearch.allocation import SHARED
from sfgsearch.visualization._description import (
    UNIT,
    Axis,
    Bars,
    Figure,
    Heat,
    Line,
    Mark,
    Marker,
    Panel,
    Points,
    Text,
    saying,
)
from sfgsearch.visualization._group_maps import group_maps
from sfgsearch.visualization._layout import BOLD_LETTER, LINE, PAGE, Frame, Rect, shortened
from sfgsearch.visualization._style import group_colours, trial_title
from sfgsearch.visualization._trial_review import TrialReview
from sfgsearch.visualization.figures._probabilities import NO_PROBABILITIES

HEIGHT = 3**0.5 / 2
"""Of a triangle whose sides are one."""

BINS = 20
"""Bins of a histogram of probabilities."""

CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (0.5, HEIGHT)])

_SMOOTHING = 0.04
"""Standard deviation of the kernel, in units of a triangle's side."""

_FLAT, _SIDE, _CELLS = 0.6, 200.0, 36
"""Height over width of a histogram; the widest panel; cells to a side of a density."""

_COLUMNS = ((3, 3), (4, 4), (6, 3), (8, 4), (15, 5))
_MOST_COLUMNS, _EDGE = 6, 0.07
"""Around a triangle, in units of its side."""

_MOST_POINTS = 512
"""Points in a triangle: of more filters so many are drawn, at equal distances; the density is that of all."""

_OUTLINE, _DENSITY = "#999999", "#a8a8a8"
_TRIANGLES_NOTE = (
    "A point is a filter, in the colour of its most probable group; corners are certainty. "
    "Grey: density. Nats: mean entropy."
)

_HISTOGRAMS_NOTE = (
    f"From left to right: the probability of {{}}, 0 to 1; the rest is {SHARED}. "
    "Heights: part of the filters. Nats: mean entropy."
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerSimplex:
    """The filters of one layer.

    Args:
        name: The layer.
        probs: Their probabilities, shape (K, T+1), of those that may be off given that they are not.
        off: How many are probably off.
        layers: Layers and their numbers of filters, where it is a stage of several.
    """

    name: str
    probs: Floats
    off: int = 0
    layers: tuple[tuple[str, int], ...] = ()

    def filters(self) -> list[str]:
        """Return what every filter is called."""
        layers = self.layers or ((self.name, len(self.probs)),)
        return [f"{layer}, filter {index}" for layer, number in layers for index in range(number)]

    @property
    def entropy(self) -> float:
        """The mean over filters of the entropy, in nats."""
        return float(entr(self.probs).sum(1).mean())

    @property
    def caption(self) -> str:
        """How many filters there are, and how undecided they are on average."""
        off = f" ({self.off} off)" if self.off else ""
        return f"{len(self.probs)} filters{off}, {self.entropy:.2f} nats"


def layer_simplex(name: str, probs: ArrayLike) -> LayerSimplex:
    """Return the filters of a layer, whose probabilities (K, T+1) may lack that of being off to one."""
    given = np.asarray(probs, dtype=float)
    on = given.sum(1, keepdims=True)
    return LayerSimplex(name, given / np.maximum(on, 1e-12), int((on < 0.5).sum()))


def simplex_figure(trial: TrialReview | Mapping[str, ArrayLike], *, tasks: Sequence[str] | None = None) -> Figure:
    """Plot where the filters of every layer lie on the simplex of group probabilities.

    One task: a histogram per layer. Two tasks: a triangle per layer, with a point per filter and their density. More: a
    map per group, of layers against probability. Histograms and triangles of networks of more than 20 layers are those
    of stages: modules such as ``layer3``.

    Args:
        trial: A trial, or probabilities (K, T+1) by layer in depth order.
        tasks: The names of the tasks, where there is no trial; ``"task 1"`` and so on if None.
    """
    title = trial_title(trial, "group probabilities of single filters")
    probabilities: Mapping[str, Any] = trial.probabilities if isinstance(trial, TrialReview) else trial
    layers = [layer_simplex(name, probs) for name, probs in probabilities.items()]
    if not layers:
        return saying(title, NO_PROBABILITIES)
    number = layers[0].probs.shape[1] - 1
    named = trial.tasks if isinstance(trial, TrialReview) else tasks or [f"task {one + 1}" for one in range(number)]
    groups = (*named, SHARED)
    if number <= 2:
        return _panels(title, groups, _stages(layers))
    values = [[histogram(layer.probs[:, group]) for layer in layers] for group in range(number + 1)]
    names, x = [layer.name for layer in layers], Axis((0.0, 1.0), "probability")
    return group_maps(title, values, x, groups=groups, layers=names, quantity="part of a layer's filters", percent=True)


def _stages(layers: Sequence[LayerSimplex]) -> list[LayerSimplex]:
    """Return the filters of stages; of small networks those of layers, as they are."""
    by_name = {layer.name: layer for layer in layers}
    found = []
    for stage, names in stages_of(list(by_name)).items():
        members = [by_name[name] for name in names]
        probs, off = np.concatenate([layer.probs for layer in members]), sum(layer.off for layer in members)
        found.append(LayerSimplex(stage, probs, off, tuple((layer.name, len(layer.probs)) for layer in members)))
    return found


def _panels(title: str, groups: tuple[str, ...], layers: Sequence[LayerSimplex]) -> Figure:
    columns = next((columns for most, columns in _COLUMNS if len(layers) <= most), _MOST_COLUMNS)
    frame = Frame(PAGE, groups, has_note=True, left=24, right=24, top=2 * LINE + 10, foot=16, gap=28)
    side = min(frame.width(columns), _SIDE)
    is_flat = len(groups) == 2
    heights = [side * (_FLAT if is_flat else HEIGHT + 2 * _EDGE) / (1 if is_flat else 1 + 2 * _EDGE)] * math.ceil(
        len(layers) / columns
    )
    letters = int((frame.width(columns) + frame.gap) // BOLD_LETTER)
    panels = []
    for layer, rect in zip(layers, frame.rects(columns, heights), strict=False):
        middle = Rect(rect.left + (rect.width - side) / 2, rect.top, side, rect.height)
        heading = (shortened(layer.name, letters), layer.caption)
        panels.append(
            _histogram(groups, layer, middle, heading) if is_flat else _triangle(groups, layer, middle, heading)
        )
    note = _HISTOGRAMS_NOTE.format(shortened(groups[0])) if is_flat else _TRIANGLES_NOTE
    return Figure(title, tuple(panels), frame.height(heights), note=note)


def _triangle(groups: Sequence[str], layer: LayerSimplex, rect: Rect, heading: tuple[str, ...]) -> Panel:
    x, y = (Axis((-_EDGE, end + _EDGE), ticks=(), has_grid=False) for end in (1.0, HEIGHT))
    return Panel(rect, x, y, tuple(_triangle_marks(groups, layer)), heading, frame="none")


def _triangle_marks(groups: Sequence[str], layer: LayerSimplex) -> Iterator[Mark]:
    yield Heat(density(layer.probs, _CELLS), (0, 1), (0, HEIGHT), _DENSITY, is_smooth=True)
    outside = (0, 0.5, 1, 1, 0, 0), (0, HEIGHT, 0, HEIGHT, HEIGHT, 0)  # covers what was smoothed over the border
    yield Line(*outside, "#ffffff", width=0.5, fill="#ffffff")
    x, y = CORNERS[[0, 1, 2, 0]].T.tolist()
    yield Line(x, y, _OUTLINE, width=1)
    points, preferred, names = in_triangle(layer.probs), layer.probs.argmax(1), layer.filters()
    drawn = np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).round().astype(int)
    for group, (name, colour) in enumerate(group_colours(groups[:-1]).items()):
        corner = CORNERS[group] + 0.07 * (CORNERS[group] - CORNERS.mean(0))
        yield Points([corner[0]], [corner[1]], Marker(colour, "square"), name)
        mine = drawn[preferred[drawn] == group]
        hover = [f"{names[one]}: {_written(groups, layer.probs[one])}" for one in mine]
        if len(mine):
            x, y = points[mine].T.tolist()
            yield Points(x, y, Marker(colour, size=5, opacity=0.85), name, hover)


def _written(groups: Sequence[str], probs: Floats) -> str:
    return ", ".join(f"{group} {prob:.2f}" for group, prob in zip(groups, probs, strict=True))


def _histogram(groups: Sequence[str], layer: LayerSimplex, rect: Rect, heading: tuple[str, ...]) -> Panel:
    parts = histogram(layer.probs[:, 0])
    colours, marks = group_colours(groups[:-1]), []
    # Above one half the filters are the task's.
    for (name, colour), bins in zip(colours.items(), (range(BINS // 2, BINS), range(BINS // 2)), strict=True):
        edges = [(one / BINS, (one + 1) / BINS) for one in bins]
        hover = [
            f"{layer.name}, {groups[0]} {low:g} to {high:g}: {parts[one]:.1%} of filters"
            for one, (low, high) in zip(bins, edges, strict=True)
        ]
        marks.append(Bars(edges, [(0.0, float(parts[one])) for one in bins], colour, name, hover))
    foot = Line((0, 1), (0, 0), _OUTLINE, width=1)
    ends = [Text(end, 0, str(end), (0, -3), vertical="top", size=10) for end in (0, 1)]
    y = Axis((0.0, float(parts.max())), ticks=())
    return Panel(rect, UNIT, y, (*marks, foot, *ends), heading, frame="none")


def in_triangle(probs: Floats) -> Floats:
    """Return points (K, 3) of the simplex in a triangle of side one, shape (K, 2).

    The first group's corner is on the left, the second's on the right, the last one's on top.
    """
    found: Floats = probs @ CORNERS
    return found


def density(probs: Floats, cells: int) -> Floats:
    """Return the density of points (K, 3) of the simplex in and around their triangle, its maximum one.

    A Gaussian kernel estimate; what would leave the triangle is made up for along its borders.

    Args:
        probs: The points.
        cells: Cells to each side of the rectangle around the triangle.

    Returns:
        Shape (cells, cells); rows go up.
    """
    across, up = np.linspace(0, 1, cells + 1), np.linspace(0, HEIGHT, cells + 1)
    points = in_triangle(probs)
    counts, _, _ = np.histogram2d(points[:, 1].clip(0, HEIGHT), points[:, 0].clip(0, 1), bins=(up, across))
    sigma = (_SMOOTHING * cells / HEIGHT, _SMOOTHING * cells)
    inside = gaussian_filter(_is_inside(cells).astype(float), sigma, mode="constant")
    found: Floats = gaussian_filter(counts, sigma, mode="constant") / np.maximum(inside, 0.1)
    scaled: Floats = found / max(found.max(), 1e-12)
    return scaled


def _is_inside(cells: int) -> NDArray[np.bool_]:
    """Return which cells of the rectangle around the triangle have their centre in it, shape (cells, cells)."""
    centres = (np.arange(cells) + 0.5) / cells
    x, up = centres[None, :], centres[:, None] / 2
    return (up <= x) & (up <= 1 - x)


def histogram(values: Floats) -> Floats:
    """Return the part of numbers between 0 and 1 in each of :data:`BINS` bins, shape (BINS,)."""
    counts, _ = np.histogram(values.clip(0, 1), bins=BINS, range=(0, 1))
    parts: Floats = counts / max(len(values), 1)
    return parts
