"""Every figure: one description, two renderers; and what a new one takes."""

import io
import sys
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from made_up_studies import make_study
from trial_samples import sample_trial

from sfgsearch import visualization
from sfgsearch.visualization import _plotly, activation_maps, matplotlib
from sfgsearch.visualization._description import Axis, Figure, Heat, Line, Marker, Panel, Picture, Points, Text
from sfgsearch.visualization._labels import place_names
from sfgsearch.visualization._layout import Frame
from sfgsearch.visualization.figures import FIGURES, describe, plot_names
from sfgsearch.visualization.matplotlib import _renderer

ERRORS = {"learned": [0.1, 0.2], "searched": [0.3, 0.34], "manual": [0.2, 0.4]}


@pytest.fixture(scope="module")
def made():
    return make_study(ERRORS, trials=12, relearned=0.02)


@pytest.fixture
def arguments(made, tiny):
    """Return the arguments of a figure's function by its name."""
    study, comparison = (made.study,), (made.comparison,)
    trial, spec = (sample_trial(2, 4),), tiny.spec(2)
    return {
        "activations": lambda: (activation_maps(tiny.grouped(spec), tiny.images(spec, batch=2)),),
        **dict.fromkeys(("allocation", "history", "probabilities", "simplex"), lambda: trial),
        **dict.fromkeys(("budget", "tuning_importances"), lambda: study),
        **dict.fromkeys(("pareto", "best_allocations"), lambda: study + comparison),
        "comparison": lambda: comparison,
    }


def points_of(mark):
    """Return the coordinates of a mark's points, where it has such."""
    return list(zip(mark.x, mark.y, strict=True)) if isinstance(mark, Points | Line) else []


@pytest.mark.parametrize("name", FIGURES)
def test_both_renderers_draw_the_same_description(name, arguments):
    figure = describe(name, *arguments[name]())
    drawn, twin = _plotly.draw(figure), _renderer.draw(figure)
    traces, axes = list(drawn.data), twin.axes
    assert len(axes) == len(figure.panels)
    height = twin.get_size_inches()[1] * twin.dpi
    assert drawn.layout.height == pytest.approx(height, abs=1)
    for panel, one in zip(figure.panels, axes, strict=True):
        shown = [traces.pop(0) for mark in panel.marks if not isinstance(mark, Text)]
        wanted = np.array([point for mark in panel.marks for point in points_of(mark)], dtype=float).reshape(-1, 2)
        by_plotly = [np.column_stack([trace.x, trace.y]) for trace in shown if trace.type == "scatter"]
        np.testing.assert_allclose(np.concatenate([wanted[:0], *by_plotly]), wanted, rtol=1e-5, atol=1e-9)
        by_matplotlib = np.concatenate([wanted[:0], *(line.get_xydata() for line in one.lines)])
        assert all(np.isclose(by_matplotlib, point).all(1).any() for point in wanted)
        assert len(one.images) == sum(isinstance(mark, Heat | Picture) for mark in panel.marks)
        assert (one.get_xlabel(), one.get_xlim()) == (panel.x.title if panel.frame != "none" else "", panel.x.span)
    assert not traces
    entries = [trace.name for trace in drawn.data if getattr(trace, "showlegend", False)]
    assert entries == list(figure.entries)
    assert [text.get_text() for legend in twin.legends for text in legend.get_texts()] == entries
    texts = [text.text for panel in figure.panels for text in panel.texts()]
    words = [note.text.removeprefix("<b>").removesuffix("</b>") for note in drawn.layout.annotations]
    assert words[: len(texts)] == [_plotly.plain(text) for text in texts]
    assert {text.get_text() for one in axes for text in one.texts} >= set(texts)


def test_every_figure_has_a_function_for_each_library():
    assert set(plot_names()) <= set(visualization.__all__) & set(matplotlib.__all__) & set(dir(visualization))
    for library in (visualization, matplotlib):
        for name in plot_names():
            assert getattr(library, name).__name__ == name
            assert getattr(library, name).__doc__.startswith("Plot ")
    with pytest.raises(AttributeError, match="plot_pareto"):
        visualization.plot_nothing()


def test_a_new_figure_is_one_file_and_one_entry(monkeypatch):
    def steps_figure(values):
        """Plot values in steps."""
        frame = Frame(visualization.PAGE)
        line = Line(range(len(values)), values, "#0072b2", "values", is_step=True)
        panel = Panel(frame.rects(1, [200])[0], Axis((0, 3), "step"), Axis((0, 10)), (line,), ("heading",))
        return Figure("Steps", (panel,), frame.height([200]))

    file = ModuleType("sfgsearch.visualization.figures._steps")
    file.steps_figure = steps_figure
    monkeypatch.setitem(sys.modules, file.__name__, file)
    monkeypatch.setattr("sfgsearch.visualization.figures.FIGURES", [*FIGURES, "steps"])
    drawn = visualization.plot_steps([1, 5, 3])
    assert drawn.data[0].y == (1, 5, 3)
    assert drawn.layout.annotations[0].text == "<b>heading</b>"
    picture = io.BytesIO()
    matplotlib.plot_steps([1, 5, 3]).savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")


def boxes(texts, points, width, height):
    """Return where names stand, in letters of six pixels: left, bottom, right and top."""
    for text, (x, y) in zip(texts, points, strict=True):
        left = x * width + text.shift[0] - {"left": 0, "center": 3, "right": 6}[text.horizontal] * len(text.text)
        bottom = y * height + text.shift[1] - {"bottom": 0, "middle": 6.5, "top": 13}[text.vertical]
        yield left, bottom, left + 6 * len(text.text), bottom + 13


def test_names_keep_clear_of_each_other_and_of_the_edges():
    points = [(0.0, 0.5), (0.02, 0.52), (0.5, 0.5), (0.52, 0.5), (0.5, 0.54), (1.0, 0.0), (0.99, 0.03)]
    names = [f"network_{index}" for index in range(len(points))]
    found = list(boxes(place_names(names, points, [], 800, 400), points, 800, 400))
    for index, (left, bottom, right, top) in enumerate(found):
        assert left >= 0
        assert right <= 800
        for other in found[index + 1 :]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


def test_names_keep_clear_of_the_front():
    points = [(0.1, 0.4), (0.5, 0.38), (0.9, 0.36)]
    lines = list(pairwise(points))
    texts = place_names(["hard_sharing", "a_long_name_of_a_finalist", "single_task"], points, lines, 800, 400)
    for left, bottom, right, top in boxes(texts, points, 800, 400):
        across = np.linspace(max(left, 80), min(right, 720), 50)
        line = np.interp(across, [80, 400, 720], [160, 152, 144])
        assert left > 720 or right < 80 or not ((bottom < line) & (line < top)).any()


def test_a_dotted_marker_is_two_artists_and_one_entry():
    marker = Marker("#882255", fill="dotted")
    frame = Frame(visualization.PAGE)
    panel = Panel(frame.rects(1, [100])[0], Axis((0, 2)), Axis((0, 2)), (Points([1], [1], marker, "Monte Carlo"),))
    figure = Figure("Dots", (panel,), frame.height([100]))
    twin = _renderer.draw(figure)
    assert len(twin.axes[0].lines) == 2
    assert [text.get_text() for text in twin.legends[0].get_texts()] == ["Monte Carlo"]
    assert _plotly.draw(figure).data[0].marker.symbol == "circle-open-dot"
