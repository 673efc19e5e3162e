"""Figures of single trials, laid out in pixels: much quicker to draw than what places its parts by itself."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray
from PIL import Image

from sfgsearch.visualization._study_marks import shortened
from sfgsearch.visualization._trial_titles import LONGEST_NAME
from sfgsearch.visualization.data._scales import log_ticks, spans_decades, tick_texts
from sfgsearch.visualization.matplotlib._study_axes import by_line, legend_columns, literal

WIDTH = 800
"""Pixels."""

DPI = 100
GREY, FAINT, INK = "#666666", "#e4e4e4", "#333333"

_TITLE_HEIGHT, _LEGEND_HEIGHT, _LETTER = 34, 20, 6.4
_SMALL = 8
_LARGE = 120_000


class Sheet:
    """A matplotlib figure of fixed width with a title and a legend, which holds axes in places given in pixels.

    Args:
        title: The title.
        height: Pixels below title and legend.
        legend: Colours by label; a dashed line for those in ``dashed``.
        dashed: Labels whose mark is a dashed line.
        note: A line below the legend on how to read the figure.

    Attributes:
        figure: The figure.
        top: Pixels that title, legend and note take.
    """

    def __init__(
        self,
        title: str,
        height: float,
        legend: Mapping[str, str] | None = None,
        *,
        dashed: Sequence[str] = (),
        note: str = "",
    ) -> None:
        entries = [(label, shortened(label, LONGEST_NAME), colour) for label, colour in (legend or {}).items()]
        per_line = legend_columns([shown for _, shown, _ in entries], WIDTH - 16)
        lines = math.ceil(len(entries) / per_line)
        self.top = _TITLE_HEIGHT + _LEGEND_HEIGHT * (lines + bool(note))
        self.height = self.top + height
        self.figure = Figure(figsize=(WIDTH / DPI, self.height / DPI), dpi=DPI)
        self._write(12, 18, shortened(title, 90), fontsize=11, color=INK)
        handles = [
            Line2D([], [], color=colour, linestyle="--", label=literal(shown))
            if label in dashed
            else Patch(color=colour, label=literal(shown))
            for label, shown, colour in entries
        ]
        if handles:
            self._add_legend(handles, per_line)
        if note:
            self._write(12, self.top - 10, note, fontsize=_SMALL, color=GREY)

    def _add_legend(self, handles: Sequence[Line2D | Patch], columns: int) -> None:
        place = (8 / WIDTH, 1 - (_TITLE_HEIGHT - 4) / self.height)
        self.figure.legend(
            handles=by_line(handles, columns),
            loc="upper left",
            bbox_to_anchor=place,
            ncols=columns,
            frameon=False,
            fontsize=_SMALL,
            borderaxespad=0,
            borderpad=0.2,
            columnspacing=1.4,
            handlelength=1.4,
        )

    def _write(self, x: float, y: float, text: str, **options: Any) -> Text:
        return self.figure.text(x / WIDTH, 1 - y / self.height, literal(text), va="center", **options)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes in a place that is counted from the left and from below title and legend, in pixels."""
        bottom = self.height - self.top - top - height
        place = (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        return self.figure.add_axes(place)

    def text(self, x: float, y: float, text: str, **options: Any) -> Text:
        """Write a text whose middle is at a height, counted as in :meth:`axes`."""
        return self._write(x, self.top + y, text, **({"fontsize": _SMALL, "color": INK} | options))

    @classmethod
    def saying(cls, title: str, text: str) -> Figure:
        """Return a figure that says why there is nothing in it."""
        sheet = cls(title, 90)
        sheet.text(WIDTH / 2, 36, text, ha="center", color=GREY)
        return sheet.figure


class Pixels(Artist):
    """A picture at the foot of a sheet, a pixel to a pixel: without the resampling that axes would put it through.

    Args:
        pixels: Shape (height, width, 3), as wide as the sheet.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        super().__init__()
        self.pixels = pixels

    def draw(self, renderer: RendererBase) -> None:
        """Draw the picture, larger or smaller where the figure has another resolution."""
        image = Image.fromarray(self.pixels).convert("RGBA")
        # Formats like PDF have points for pixels, and pictures that are finer.
        scale = renderer.get_image_magnification() * self.get_figure(root=True).dpi / DPI  # type: ignore[union-attr]
        if scale != 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.NEAREST)
        renderer.draw_image(renderer.new_gc(), 0, 0, np.asarray(image)[::-1])


def as_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file without transparency, with a palette where it would be large."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3])  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels)
    content = _encoded(image)
    if len(content) <= _LARGE:
        return content
    return _encoded(image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


def plain(axes: Axes, *, spines: Sequence[str] = ("left", "bottom")) -> None:
    """Take away what a panel does not need, since every tick and line takes time."""
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in spines)
        spine.set_color("#999999")
    axes.tick_params(labelsize=_SMALL, length=3, color="#999999", pad=2)


def name_ticks(axes: Axes, which: str, places: Sequence[float], labels: Sequence[str]) -> None:
    """Put labels along an axis."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(list(places), [literal(label) for label in labels])


def epoch_ticks(axes: Axes, epochs: Sequence[int], *, count: int = 5) -> None:
    """Put a few whole numbers along the horizontal axis, and make it as wide as the epochs."""
    first, last = epochs[0], epochs[-1]
    margin = max(0.03 * (last - first), 0.0 if last > first else 0.5)
    found = MaxNLocator(count, integer=True).tick_values(first, last)
    ticks = [tick for tick in found if first <= tick <= last] or [first]
    name_ticks(axes, "x", ticks, [f"{tick:.0f}" for tick in ticks])
    axes.set_xlim(first - margin, last + margin)


def value_ticks(axes: Axes, values: Sequence[float], *, count: int = 4) -> None:
    """Put a few round numbers along the vertical axis, logarithmic where the values span decades, with a thin grid."""
    if spans_decades(values):
        axes.set_yscale("log")
        ticks = log_ticks(values)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(min(values) / 1.15, max(values) * 1.15)
    else:
        low, high = min(values), max(values)
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
        low, high = low - margin, high + margin
        ticks = [float(tick) for tick in MaxNLocator(count).tick_values(low, high) if low <= tick <= high]
        axes.set_ylim(low, high)
    name_ticks(axes, "y", ticks, tick_texts(ticks))
    axes.grid(True, axis="y", color=FAINT, linewidth=0.8)


def label_width(names: Sequence[str]) -> int:
    """Return the pixels that the names of layers need on the left."""
    return 22 + round(_LETTER * min(max(map(len, names), default=0), LONGEST_NAME))


def name_layers(axes: Axes, names: Sequence[str], *, labelled: bool = True) -> None:
    """Put the names of layers along the vertical axis, the first one on top."""
    if labelled:
        name_ticks(axes, "y", range(len(names)), [shortened(name, LONGEST_NAME) for name in names])
    else:
        axes.yaxis.set_major_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
