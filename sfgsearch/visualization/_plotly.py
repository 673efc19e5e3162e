"""Figures drawn with plotly.

They carry their look themselves, in few words: no template, and lists for arrays, since a study's database keeps them
for the dashboard, whose plotly cannot always read arrays.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
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
from sfgsearch.visualization._layout import NOTE_HEIGHT, TITLE_HEIGHT, Rect
from sfgsearch.visualization._style import ink_on, on_white

_AXIS_COLOUR, _SMALL = "#999999", 0.01
_FONT = {"family": "Helvetica, Arial, 'Liberation Sans', sans-serif", "size": 12, "color": INK}
_STOPS = (0.0, 0.01, 0.04, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81, 1.0)
_FILLS = {"full": "", "open": "-open", "dotted": "-open-dot"}
_LEGEND_GAP = 3


def draw(figure: Figure) -> go.Figure:
    """Draw a figure with plotly."""
    around, height = figure.extent, figure.head + figure.height
    right, bottom = figure.size.width - around.left - around.width, figure.height - around.top - around.height
    margin = {"l": around.left, "r": right, "t": figure.head + around.top, "b": bottom, "autoexpand": False}
    layout = _head(figure, height) | {"margin": margin}
    traces, annotations, named = list[dict[str, Any]](), list[dict[str, Any]](), set[str]()
    for number, panel in enumerate(figure.panels, start=1):
        x, y = (f"{which}{number}" if number > 1 else which for which in "xy")
        layout |= _axes(panel, around, x, y)
        annotations += [_annotation(text, panel, around, x, y) for text in panel.texts()]
        for mark in panel.marks:
            if isinstance(mark, Text):
                continue
            name = getattr(mark, "name", "")
            entry = {"name": plain(name), "legendgroup": name, "showlegend": name not in named} if name else {}
            traces.append({"xaxis": x, "yaxis": y} | _trace(mark, panel) | entry)
            named.add(name)
    if figure.note:
        annotations.append(_note(figure.note, around))
    return go.Figure(traces, layout | {"annotations": annotations})


def _note(note: str, around: Rect) -> dict[str, Any]:
    """Return the annotation between the legend and the panels."""
    shifts = {"xshift": 12 - around.left, "yshift": around.top + NOTE_HEIGHT / 2 - 7}
    corner = {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom"}
    return {"text": plain(note), "showarrow": False, "font": {"size": 11, "color": GREY}, **corner, **shifts}


def plain(text: str) -> str:
    """Return a text as plotly shows it literally; it would take tags for a style and links."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def rounded(values: Iterable[float], digits: int = 6) -> list[float | None]:
    """Return numbers in few digits; what is not finite is left out."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def _head(figure: Figure, height: float) -> dict[str, Any]:
    above = {"xref": "container", "xanchor": "left", "yref": "container", "yanchor": "top"}
    return {
        "template": "none",
        "title": {
            "text": plain(figure.title),
            "x": 0,
            "y": 1,
            "pad": {"l": 12, "t": 12},
            "font": {"size": 15},
            **above,
        },
        "font": _FONT,
        "height": round(height),
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hoverlabel": {"align": "left"},
        "showlegend": bool(figure.entries),
        "barmode": "overlay",
        "legend": {"orientation": "h", "x": 0, "y": 1 - TITLE_HEIGHT / height, "bgcolor": "rgba(0,0,0,0)", **above}
        | {"tracegroupgap": _LEGEND_GAP},
    }


def _domains(rect: Rect, around: Rect) -> tuple[list[float], list[float]]:
    """Return the ends of a rectangle as parts of the width and, from below, the height of the one around all."""
    left, bottom = rect.left - around.left, around.top + around.height - rect.top - rect.height
    across, up = (left, left + rect.width), (bottom, bottom + rect.height)
    return [_part(end, around.width) for end in across], [_part(end, around.height) for end in up]


def _part(length: float, whole: float) -> float:
    return min(max(round(length / whole, 6), 0.0), 1.0)


def _axes(panel: Panel, around: Rect, x: str, y: str) -> dict[str, Any]:
    """Return the layout of the axes of a panel, called x and y."""
    across, up = _domains(panel.rect, around)
    shown = {} if panel.frame != "none" else {"visible": False, "fixedrange": True, "scaleanchor": False}
    box = {"mirror": True, "showline": True} if panel.frame == "box" else {}
    return {
        f"xaxis{x[1:]}": _axis(panel.x) | box | shown | {"domain": across, "anchor": y},
        f"yaxis{y[1:]}": _axis(panel.y) | box | shown | {"domain": up, "anchor": x},
    }


def _axis(axis: Axis) -> dict[str, Any]:
    ends = [math.log10(end) for end in axis.span] if axis.is_log else list(axis.span)
    found: dict[str, Any] = {
        "title": {"text": plain(axis.title), "font": {"size": 12}, "standoff": 6},
        "type": "log" if axis.is_log else "linear",
        "range": rounded(ends),
        "gridcolor": FAINT,
        "showgrid": axis.has_grid,
        "zeroline": False,
        "linecolor": _AXIS_COLOUR,
        "ticks": "outside" if axis.has_grid or axis.is_integer else "",
        "tickcolor": _AXIS_COLOUR,
        "ticklen": 4,
        "tickangle": 0,
        "showticklabels": axis.has_labels,
        "nticks": axis.count + 1,
    }
    if axis.ticks is not None:
        values, names = [value for value, _ in axis.ticks], [plain(name) for _, name in axis.ticks]
        return found | {"tickvals": values, "ticktext": names}
    if axis.is_integer:
        return found | {"tickformat": "d"}
    is_small = 0 < max(map(abs, axis.span)) < _SMALL
    return found | ({"exponentformat": "e"} if is_small else {})  # not 20µ


def _annotation(text: Text, panel: Panel, around: Rect, x: str, y: str) -> dict[str, Any]:
    if text.is_relative:  # to the paper, as plotly knows no axes of panels without traces
        at = [
            low + part * (high - low)
            for part, (low, high) in zip((text.x, text.y), _domains(panel.rect, around), strict=True)
        ]
        x = y = "paper"
    else:
        scales = ((text.x, panel.x), (text.y, panel.y))
        at = [math.log10(value) if axis.is_log else value for value, axis in scales]
    words = plain(text.text)
    return {
        "text": f"<b>{words}</b>" if text.is_bold else words,
        "showarrow": False,
        **{"x": at[0], "y": at[1], "xref": x, "yref": y, "xshift": text.shift[0], "yshift": text.shift[1]},
        **{"xanchor": text.horizontal, "yanchor": text.vertical, "align": text.horizontal, "borderpad": 0},
        "font": {"size": text.size, "color": text.colour},
        **({"bgcolor": "rgba(255,255,255,0.75)"} if text.has_halo else {}),
    }


def _trace(mark: Mark, panel: Panel) -> dict[str, Any]:
    match mark:
        case Points():
            errors = {"error_x": mark.x_errors, "error_y": mark.y_errors}
            shown = {name: _error(found, mark.marker) for name, found in errors.items() if len(found)}
            return _scatter(mark) | {"mode": "markers", "marker": _marker(mark.marker), **shown}
        case Line():
            line = {"color": mark.colour, "width": mark.width, "dash": mark.dash}
            line |= {"shape": "hv"} if mark.is_step else {}
            filled = {"fill": "toself", "fillcolor": mark.fill} if mark.fill else {}
            return _scatter(mark) | {"mode": "lines", "line": line, **filled}
        case Bars():
            return _bars(mark)
        case Heat():
            return _heat(mark, panel)
        case Picture():
            return _picture(mark)
    raise TypeError(f"plotly cannot draw {type(mark).__name__}")


def _scatter(mark: Points | Line) -> dict[str, Any]:
    found = {"type": "scatter", "showlegend": False, "x": rounded(mark.x, 8), "y": rounded(mark.y, 8)}
    return found | _hover(mark.hover)


def _hover(texts: Sequence[str]) -> dict[str, Any]:
    if not texts:
        return {"hoverinfo": "skip"}
    return {"hovertext": [plain(text) for text in texts], "hovertemplate": "%{hovertext}<extra></extra>"}


def _marker(marker: Marker) -> dict[str, Any]:
    symbol = "x-thin-open" if marker.symbol == "cross" else marker.symbol + _FILLS[marker.fill]
    width = 0 if marker.fill == "full" and marker.symbol != "cross" else 1.5
    look = {"color": marker.colour, "symbol": symbol, "size": marker.size, "line": {"width": width}}
    return look | ({"opacity": marker.opacity} if marker.opacity < 1 else {})


def _error(values: Sequence[float], marker: Marker) -> dict[str, Any]:
    look = {"color": marker.colour, "thickness": 1.5, "width": min(round(marker.size / 2), 4)}
    return {"type": "data", "array": rounded(values), **look}


def _bars(mark: Bars) -> dict[str, Any]:
    inside = {"textposition": "inside", "insidetextanchor": "middle", "textangle": 0, "constraintext": "none"}
    inside |= {"textfont": {"color": ink_on(mark.colour), "size": 11}}
    return {
        "type": "bar",
        "showlegend": False,
        "orientation": "h",
        "base": rounded(start for start, _ in mark.x),
        "x": rounded(end - start for start, end in mark.x),
        "y": rounded((start + end) / 2 for start, end in mark.y),
        "width": rounded(abs(end - start) for start, end in mark.y),
        "marker": {"color": mark.colour, "line": {"color": "white", "width": 0.5}},
        **({"text": list(mark.texts), **inside} if any(mark.texts) else {}),
        **_hover(mark.hover),
    }


def _heat(mark: Heat, panel: Panel) -> dict[str, Any]:
    rows, columns = mark.values.shape
    dx, dy = (mark.x[1] - mark.x[0]) / columns, (mark.y[1] - mark.y[0]) / rows
    hover: dict[str, Any] = {"hoverinfo": "skip"}
    if mark.hover:
        across = plain(panel.x.title or "x")
        hover = {"hovertext": [[plain(name)] * columns for name in mark.hover]}
        hover |= {"hovertemplate": f"%{{hovertext}}, {across} %{{x:.3g}}: %{{z:.3f}}<extra></extra>"}
    return {
        "type": "heatmap",
        **{"x0": mark.x[0] + dx / 2, "dx": dx, "y0": mark.y[0] + dy / 2, "dy": dy},
        "z": [rounded(row, 4) for row in mark.values],
        **{"zmin": 0, "zmax": 1, "showscale": False, "zsmooth": "best" if mark.is_smooth else False},
        "colorscale": [[value, on_white(mark.colour, math.sqrt(value))] for value in _STOPS],
        **hover,
    }


def _picture(mark: Picture) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(mark.pixels).save(buffer, format="png")
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    tall, wide = mark.pixels.shape[:2]
    cells = {"x0": 0.5 / wide, "dx": 1 / wide, "y0": 1 - 0.5 / tall, "dy": -1 / tall}
    return {"type": "image", "source": source, "hoverinfo": "skip", **cells}
