"""The figure language: what a figure shows, in plain frozen dataclasses that any drawing library can draw.

A :class:`Figure` has a title, a note on how to read it, and panels; the legend follows from the names of its marks. A
:class:`Panel` is a rectangle in pixels with two axes, a heading and marks. An :class:`Axis` has ends, a title and
ticks. Marks hold numbers in the coordinates of their panel:

- :class:`Points`, with half their intervals where they have such; :class:`Line`, dashed, in steps or filled
- :class:`Bars`, rectangles with a text inside; :class:`Heat`, a map from white to a colour
- :class:`Text`, beside a point; :class:`Picture`, pixels

Texts are plain: renderers escape them, and keep the line breaks of ``hover``, which only libraries with a pointer
show. Sizes are pixels. Renderers, :mod:`sfgsearch.visualization._plotly` and
:mod:`sfgsearch.visualization.matplotlib._renderer`, know nothing of trials or studies, and figures, in
:mod:`sfgsearch.visualization.figures`, nothing of drawing libraries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from sfgsearch.visualization._layout import LINE, PAGE, FigureSize, Rect, head_height, legend_rows, shortened

INK, GREY, FAINT = "#333333", "#666666", "#e4e4e4"
TITLE_SIZE = 12
"""Of the letters of a panel's heading."""

Horizontal = Literal["left", "center", "right"]
Vertical = Literal["top", "middle", "bottom"]
Numbers = Sequence[float]


@dataclass(frozen=True)
class Axis:
    """An axis.

    Args:
        span: Its ends; it runs backwards where the first is larger.
        title: What stands along it.
        ticks: Values and their names; None for a few round numbers.
        count: About how many these are.
        is_log: Whether it is logarithmic.
        is_integer: Whether only whole numbers are ticks.
        has_grid: Whether a thin line crosses the panel at every tick.
        has_labels: Whether ticks have names.
    """

    span: tuple[float, float]
    title: str = ""
    ticks: tuple[tuple[float, str], ...] | None = None
    count: int = 5
    is_log: bool = False
    is_integer: bool = False
    has_grid: bool = True
    has_labels: bool = True


UNIT = Axis((0.0, 1.0), ticks=())
"""From 0 to 1 without ticks."""


@dataclass(frozen=True)
class Marker:
    """How points look.

    Args:
        colour: As ``#rrggbb``.
        symbol: Its shape.
        fill: Filled, hollow, or hollow with a dot.
        size: Its width.
        opacity: From 0 to 1.
    """

    colour: str
    symbol: Literal["circle", "square", "diamond", "triangle-up", "triangle-down", "cross"] = "circle"
    fill: Literal["full", "open", "dotted"] = "full"
    size: float = 8
    opacity: float = 1.0


@dataclass(frozen=True)
class Points:
    """Points with half their intervals along one axis, where these are given; ``name`` is their legend entry."""

    x: Numbers
    y: Numbers
    marker: Marker
    name: str = ""
    hover: Sequence[str] = ()
    x_errors: Numbers = ()
    y_errors: Numbers = ()


@dataclass(frozen=True)
class Line:
    """A line through points, or in steps from one to the next; ``fill`` is the colour of the area in it."""

    x: Numbers
    y: Numbers
    colour: str
    name: str = ""
    hover: Sequence[str] = ()
    width: float = 2
    dash: Literal["solid", "dash", "dot"] = "solid"
    is_step: bool = False
    fill: str = ""


@dataclass(frozen=True)
class Bars:
    """Rectangles: their ends along both axes, and a text in each, which may be empty."""

    x: Sequence[tuple[float, float]]
    y: Sequence[tuple[float, float]]
    colour: str
    name: str = ""
    hover: Sequence[str] = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Heat:
    """Values from 0 to 1, shape (rows, columns), between ends along both axes; ``hover`` names the rows.

    The colour is that of the root of a value, from white for 0, as most of them are small.
    """

    values: NDArray[Any]
    x: tuple[float, float]
    y: tuple[float, float]
    colour: str
    hover: Sequence[str] = ()
    is_smooth: bool = False


@dataclass(frozen=True)
class Picture:
    """Pixels of shape (height, width, 3), which fill a panel whose axes are :data:`UNIT`."""

    pixels: NDArray[Any]


@dataclass(frozen=True)
class Text:
    """A text beside a point.

    Args:
        x: The point.
        y: Likewise.
        text: What it says.
        shift: Pixels from there to the text, to the right and upwards.
        horizontal: The end of the text that stands there.
        vertical: Likewise.
        size: Of its letters.
        colour: Of its letters.
        is_bold: Whether they are bold.
        is_relative: Whether the point is a part of the panel's width and height, from the lower left.
        has_halo: Whether what is behind it is paler.
    """

    x: float
    y: float
    text: str
    shift: tuple[float, float] = (0.0, 0.0)
    horizontal: Horizontal = "center"
    vertical: Vertical = "middle"
    size: float = 11
    colour: str = INK
    is_bold: bool = False
    is_relative: bool = False
    has_halo: bool = False


Mark = Points | Line | Bars | Heat | Picture | Text


@dataclass(frozen=True)
class Panel:
    """A pair of axes and what is drawn in it.

    Args:
        rect: Where it is, from the left of the figure and from below its head.
        x: The horizontal axis.
        y: The vertical one.
        marks: From back to front.
        heading: Lines above it, the first in bold.
        colour: Of the first line.
        frame: A line along each axis, a box, or neither lines nor ticks.
    """

    rect: Rect
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    heading: tuple[str, ...] = ()
    colour: str = INK
    frame: Literal["axes", "box", "none"] = "axes"

    def texts(self) -> Iterator[Text]:
        """Yield the lines of the heading, then all texts among the marks."""
        for index, line in enumerate(reversed(self.heading)):
            is_first = index + 1 == len(self.heading)
            colour, size = (self.colour, TITLE_SIZE) if is_first else (GREY, TITLE_SIZE - 1)
            yield Text(0.5, 1, line, (0, 5 + LINE * index), "center", "bottom", size, colour, is_first, True)
        yield from (mark for mark in self.marks if isinstance(mark, Text))


@dataclass(frozen=True)
class Figure:
    """A figure.

    Args:
        title: Its title.
        panels: Its panels.
        height: Pixels below its head, which are title, legend and note.
        size: Where it is shown.
        note: A line on how to read it.
    """

    title: str
    panels: tuple[Panel, ...]
    height: float
    size: FigureSize = PAGE
    note: str = ""

    @property
    def entries(self) -> dict[str, Mark]:
        """The entries of the legend: the first mark of every name."""
        named: dict[str, Mark] = {}
        for panel in self.panels:
            for mark in panel.marks:
                if name := getattr(mark, "name", ""):
                    named.setdefault(name, mark)
        return named

    @property
    def extent(self) -> Rect:
        """The rectangle around all panels."""
        rects = [panel.rect for panel in self.panels]
        left, top = min(rect.left for rect in rects), min(rect.top for rect in rects)
        right, bottom = max(rect.left + rect.width for rect in rects), max(rect.top + rect.height for rect in rects)
        return Rect(left, top, right - left, bottom - top)

    @property
    def legend(self) -> list[list[str]]:
        """The names of the entries, line by line; a line is no longer than panels are wide."""
        return legend_rows(self.entries, self.extent.width)

    @property
    def head(self) -> float:
        """Pixels of title, legend and note together."""
        return head_height(self.entries, self.extent.width, has_note=bool(self.note))


def saying(title: str, text: str, size: FigureSize = PAGE) -> Figure:
    """Return a figure that says why there is nothing in it."""
    height = 160.0 if size.height is None else size.height - head_height((), size.width)
    words = Text(0.5, 0.5, text, size=13, colour=GREY, is_relative=True)
    return Figure(
        title, (Panel(Rect(24, 0, size.width - 48, height), UNIT, UNIT, (words,), frame="none"),), height, size
    )


def row_axis(names: Sequence[str], *, has_labels: bool = True, has_grid: bool = False) -> Axis:
    """Return a vertical axis of rows from the top.

    Args:
        names: The names of the rows.
        has_labels: Whether they are shown.
        has_grid: Whether a thin line marks every row.
    """
    ticks = tuple((float(index), shortened(name)) for index, name in enumerate(names))
    return Axis((len(names) - 0.5, -0.5), ticks=ticks, has_grid=has_grid, has_labels=has_labels)
