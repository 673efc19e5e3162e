"""Figures drawn with matplotlib, which puts parts where they are described: quicker than an automatic layout."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation
from PIL import Image

from sfgsearch.visualization._description import (
    FAINT,
    GREY,
    INK,
    Axis,
    Bars,
    Figure,
    Heat,
    Line,
    Mark,
    Marker,
    Panel,
    Picture,
    Points,
    Text,
)
from sfgsearch.visualization._layout import LEGEND_HEIGHT, NOTE_HEIGHT, TITLE_HEIGHT, shortened
from sfgsearch.visualization._scales import tick_texts
from sfgsearch.visualization._style import ink_on

DPI = 100
_AXIS_COLOUR = "#999999"
_LETTERS = 0.94
"""Of the size of letters elsewhere, as those of matplotlib's font are wide."""

_POINTS = 72 / DPI
_LARGE = 120_000
_SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "cross": "x"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_VERTICAL = {"top": "top", "middle": "center_baseline", "bottom": "bottom"}
_TITLE_LETTER = 8.4


def draw(figure: Figure) -> Drawing:
    """Draw a figure with matplotlib, in its object-oriented interface, which leaves the state of pyplot alone."""
    width, height = figure.size.width, figure.head + figure.height
    drawing = Drawing(figsize=(width / DPI, height / DPI), dpi=DPI)
    title = shortened(figure.title, int(width / _TITLE_LETTER))
    drawing.text(12 / width, 1 - 20 / height, literal(title), fontsize=_size(15), va="center", color=INK)
    for row, names in enumerate(figure.legend):
        above = TITLE_HEIGHT + row * LEGEND_HEIGHT
        _add_legend(drawing, [(name, figure.entries[name]) for name in names], (8 / width, 1 - above / height))
    if figure.note:
        y = 1 - (figure.head - NOTE_HEIGHT / 2) / height
        drawing.text(12 / width, y, literal(figure.note), fontsize=_size(11), va="center", color=GREY)
    for panel in figure.panels:
        left, top, wide, tall = panel.rect
        bottom = figure.height - top - tall
        axes = drawing.add_axes((left / width, bottom / height, wide / width, tall / height))
        _draw_panel(axes, panel)
    return drawing


def as_png(drawing: Drawing, width: int | None = None) -> bytes:
    """Return a figure as a PNG file without transparency, with a palette where it would be large.

    Args:
        drawing: The figure.
        width: Pixels to which it is scaled; as drawn if None.
    """
    if width is not None:
        drawing.set_dpi(drawing.dpi * width / drawing.bbox.width)
    canvas = FigureCanvasAgg(drawing)
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


def literal(text: str) -> str:
    """Return a text as matplotlib shows it literally; it would take dollars for formulas."""
    return text.replace("$", r"\$")


def _size(pixels: float) -> float:
    return pixels * _POINTS * _LETTERS


def _add_legend(drawing: Drawing, entries: Sequence[tuple[str, Mark]], corner: tuple[float, float]) -> None:
    handles: list[Any] = [_handle(mark) for _, mark in entries]  # a tuple of artists is an entry, too
    look: dict[str, Any] = {"fontsize": _size(12), "borderaxespad": 0, "borderpad": 0.2, "frameon": False}
    look |= {"loc": "upper left", "bbox_to_anchor": corner, "columnspacing": 1.4, "handlelength": 1.6}
    drawing.legend(handles, [literal(shortened(name)) for name, _ in entries], ncols=len(entries), **look)


def _handle(mark: Mark) -> Artist | tuple[Artist, ...]:
    """Return what stands before a mark's entry of the legend; a dotted marker is two."""
    match mark:
        case Points():
            found = tuple(Line2D([], [], linestyle="none", **look) for look in _markers(mark.marker))
            return found if len(found) > 1 else found[0]
        case Line():
            return Line2D([], [], **_line(mark))
        case Bars():
            return Patch(color=mark.colour)
    raise TypeError(f"a legend has no entry for {type(mark).__name__}")


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        if not isinstance(mark, Text):
            _draw_mark(axes, mark)
    for text in panel.texts():
        _write(axes, text)
    axes.set_axisbelow(True)
    for is_x, axis in ((True, panel.x), (False, panel.y)):
        _set_axis(axes, axis, is_x=is_x, is_shown=panel.frame != "none")
    if panel.frame == "none":
        axes.set_axis_off()
        return
    axes.tick_params(labelsize=_size(12), length=3, color=_AXIS_COLOUR, pad=2)
    for which, axis in (("x", panel.x), ("y", panel.y)):
        if not (axis.has_grid or axis.is_integer):
            axes.tick_params(axis=which, length=0)  # type: ignore[arg-type]
    for name, spine in axes.spines.items():
        spine.set(visible=panel.frame == "box" or name in ("left", "bottom"), color=_AXIS_COLOUR)


def _set_axis(axes: Axes, axis: Axis, *, is_x: bool, is_shown: bool) -> None:
    ruled = axes.xaxis if is_x else axes.yaxis
    if axis.is_log:
        (axes.set_xscale if is_x else axes.set_yscale)("log")
        ruled.set_minor_locator(NullLocator())
    if is_shown:
        ticks = _round_ticks(axis) if axis.ticks is None else axis.ticks
        if not (axis.has_labels or axis.has_grid):
            ticks = ()  # every one takes time
        names = [literal(name) if axis.has_labels else "" for _, name in ticks]
        ruled.set_ticks([value for value, _ in ticks], names)
        if axis.has_grid:
            ruled.grid(True, color=FAINT, linewidth=0.8)
        (axes.set_xlabel if is_x else axes.set_ylabel)(literal(axis.title), fontsize=_size(12), labelpad=3)
    (axes.set_xlim if is_x else axes.set_ylim)(*axis.span)


def _round_ticks(axis: Axis) -> list[tuple[float, str]]:
    low, high = sorted(axis.span)
    locator = MaxNLocator(axis.count, integer=axis.is_integer, steps=[1, 2, 2.5, 5, 10])
    found = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high] or [(low + high) / 2]
    return list(zip(found, tick_texts(found), strict=True))


def _write(axes: Axes, text: Text) -> None:
    across, up = (pixels / DPI for pixels in text.shift)
    inches = axes.get_figure(root=True).dpi_scale_trans  # type: ignore[union-attr]
    axes.text(
        text.x,
        text.y,
        literal(text.text),
        transform=(axes.transAxes if text.is_relative else axes.transData) + ScaledTranslation(across, up, inches),
        ha=text.horizontal,
        va=_VERTICAL[text.vertical],
        fontsize=_size(text.size),
        color=text.colour,
        weight="bold" if text.is_bold else "normal",
        path_effects=[withStroke(linewidth=2, foreground="white")] if text.has_halo else None,
        zorder=6,
    )


def _draw_mark(axes: Axes, mark: Mark) -> None:
    match mark:
        case Points():
            _draw_points(axes, mark)
        case Line():
            if mark.fill:
                axes.add_artist(Polygon(np.column_stack([mark.x, mark.y]), facecolor=mark.fill, linewidth=0))
            # Axes have their ends: artists that are added so are spared the search for them.
            axes.add_artist(Line2D(mark.x, mark.y, **_line(mark)))
        case Bars():
            _draw_bars(axes, mark)
        case Heat():
            colours = LinearSegmentedColormap.from_list("heat", ["white", mark.colour])
            how = "bilinear" if mark.is_smooth else "nearest"
            extent = (*mark.x, *mark.y)
            look: dict[str, Any] = {"cmap": colours, "vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": how}
            axes.imshow(np.sqrt(mark.values), origin="lower", extent=extent, zorder=0, **look)
        case Picture():
            axes.imshow(mark.pixels, extent=(0, 1, 0, 1), aspect="auto", interpolation="none")


def _line(mark: Line) -> dict[str, Any]:
    look = {"color": mark.colour, "linestyle": _DASHES[mark.dash], "linewidth": 1.2 * mark.width * _POINTS}
    return look | ({"drawstyle": "steps-post"} if mark.is_step else {})


def _draw_points(axes: Axes, mark: Points) -> None:
    if len(mark.x_errors) or len(mark.y_errors):
        options: dict[str, Any] = {"xerr": mark.x_errors or None, "yerr": mark.y_errors or None}
        options |= {"ecolor": mark.marker.colour, "capsize": min(mark.marker.size / 4, 3), "elinewidth": 1.2}
        axes.errorbar(mark.x, mark.y, fmt="none", **options)
    for look in _markers(mark.marker):
        axes.add_artist(Line2D(mark.x, mark.y, linestyle="none", zorder=4, **look))


def _markers(marker: Marker) -> list[dict[str, Any]]:
    """Return how a marker is drawn, one above the other."""
    size = marker.size * _POINTS
    look = {"marker": _SYMBOLS[marker.symbol], "color": marker.colour, "alpha": marker.opacity, "clip_on": False}
    if marker.fill == "full":
        edge = 1.0 if marker.symbol == "cross" else 0
        return [look | {"markersize": size, "markeredgewidth": edge}]
    hollow = look | {"markersize": size, "markerfacecolor": "white", "markeredgewidth": 1.2}
    dot = look | {"marker": "o", "markersize": 0.3 * size}
    return [hollow, dot] if marker.fill == "dotted" else [hollow]


def _draw_bars(axes: Axes, mark: Bars) -> None:
    ends = list(zip(mark.x, mark.y, strict=True))
    corners = [[(left, low), (right, low), (right, high), (left, high)] for (left, right), (low, high) in ends]
    axes.add_collection(
        PolyCollection(corners, facecolors=mark.colour, edgecolors="white", linewidths=0.4), autolim=False
    )
    for ((left, right), (low, high)), text in zip(ends, mark.texts, strict=False):
        if text:
            middle = (left + right) / 2, (low + high) / 2
            look: dict[str, Any] = {"fontsize": _size(11), "color": ink_on(mark.colour)}
            axes.text(*middle, literal(text), ha="center", va="center_baseline", **look)
