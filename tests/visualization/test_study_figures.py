"""Figures of whole studies: they hold the numbers that were put in, in both drawing libraries."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from made_up_studies import make_study
from matplotlib import colors, pyplot

from sfgsearch import visualization
from sfgsearch.search._attributes import allocation_of
from sfgsearch.visualization import CARD
from sfgsearch.visualization import matplotlib as twins
from sfgsearch.visualization._plotly import plain, rounded
from sfgsearch.visualization._style import KINDS, group_colours
from sfgsearch.visualization.data import best_allocations

ERRORS = {"learned": [0.1, 0.2], "searched": [0.3, 0.34], "manual": [0.2, 0.4]}


def draw_all(library, made):
    study, comparison = made.study, made.comparison
    return {
        "comparison": library.plot_comparison(comparison),
        "pareto": library.plot_pareto(study, comparison),
        "allocations": library.plot_best_allocations(study, comparison),
        "tuning": library.plot_tuning_importances(study),
        "budget": library.plot_budget(study),
    }


@pytest.mark.parametrize(
    ("tasks", "layers", "is_complete"), [(1, 4, True), (2, 4, False), (3, 30, True), (5, 30, True), (5, 30, False)]
)
def test_every_figure_is_drawn(tasks, layers, is_complete):
    made = make_study(ERRORS if is_complete else {}, tasks=tasks, layers=layers, trials=12, relearned=0.02)
    for name, figure in draw_all(visualization, made).items():
        data = json.loads(figure.to_json())
        assert data["layout"]["title"]["text"].startswith("demo: "), name
        assert "bdata" not in figure.to_json(), "the dashboard's plotly reads lists for sure"
        assert len(figure.to_json()) < 60_000, name
    for name, figure in draw_all(twins, made).items():
        picture = io.BytesIO()
        figure.savefig(picture, dpi=40)
        assert picture.getvalue().startswith(b"\x89PNG"), name
    assert not pyplot.get_fignums(), "pyplot knows nothing of them"


def test_an_empty_study_says_so_in_every_figure():
    made = make_study({}, trials=0)
    for figure in draw_all(visualization, made).values():
        assert not figure.data
        assert any(word in figure.layout.annotations[0].text for word in ("No ", "none"))
    for figure in draw_all(twins, made).values():
        assert any("No " in text.get_text() for text in figure.axes[0].texts)


def test_the_comparison_shows_means_and_intervals():
    made = make_study(ERRORS, relearned=0.1)
    figure = visualization.plot_comparison(made.comparison)
    errors = {trace.name: trace for trace in figure.data if trace.xaxis == "x"}
    assert list(errors) == ["learned", "learned, derived", "learned, Monte Carlo", "searched", "manual"]
    row = next(row for row in made.comparison.rows if row.kind == "searched")
    assert errors["searched"].x == (32,)
    assert errors["searched"].error_x.array[0] == pytest.approx(100 * row.error.half_width, rel=1e-3)
    assert errors["learned"].marker.color == KINDS["learned"]
    assert [trace.showlegend for trace in figure.data].count(True) == 5
    panel = twins.plot_comparison(made.comparison).axes[0]
    drawn = [line.get_xydata()[0] for line in panel.lines if line.get_marker() in "osD" and line.get_markersize() > 4]
    np.testing.assert_allclose([point[0] for point in drawn], [15, 25, 25, 32, 30])
    assert [point[1] for point in drawn] == [0, 1, 2, 3, 4]
    assert panel.get_yticklabels()[0].get_text() == "learned-3"


def test_the_same_panels_stand_in_both_libraries():
    made = make_study(ERRORS, tasks=5)
    titles = [f"task_{index} {'accuracy' if index % 2 == 0 else 'mae'}" for index in range(5)]
    shown = [note.text for note in visualization.plot_comparison(made.comparison).layout.annotations]
    bold = [text for text in shown if text.startswith("<b>")]
    assert bold == [f"<b>{title}</b>" for title in ("relative error", *titles)]
    twin = twins.plot_comparison(made.comparison)
    words = [[text.get_text() for text in axes.texts if text.get_weight() == "bold"] for axes in twin.axes]
    assert words == [[title] for title in ("relative error", *titles)]
    only = visualization.plot_comparison(made.comparison, metrics=["task_1/mae"], size=CARD)
    assert len(only.layout.annotations) == 2 * 2
    assert only.layout.height == 450


def test_the_pareto_figure_shows_trials_finalists_and_front():
    made = make_study(ERRORS, trials=20)
    figure = visualization.plot_pareto(made.study, made.comparison)
    by_name = {trace.name: trace for trace in figure.data}
    assert len(by_name["learned trials"].x) == 20
    assert by_name["learned trials"].marker.opacity < 0.5
    assert by_name["learned"].y == (15,)
    assert by_name["learned"].error_y.array[0] > 0
    assert figure.layout.xaxis.type == "log", "20 trials from 1k to 60k multiply-adds"
    axes = twins.plot_pareto(made.study, made.comparison).axes[0]
    assert axes.get_xscale() == "log"
    trials = next(line for line in axes.lines if line.get_alpha() == by_name["learned trials"].marker.opacity)
    np.testing.assert_allclose(trials.get_ydata(), by_name["learned trials"].y, rtol=1e-4)


def test_allocations_show_every_groups_part_in_the_groups_colour():
    made = make_study(ERRORS, tasks=3, layers=20)
    figure = visualization.plot_best_allocations(made.study, made.comparison)
    allocation = made.study.trials[3].system_attrs["sfgsearch:allocation"]
    colours = group_colours(["task_0", "task_1", "task_2"])
    assert len(figure.data) == 3 * 4
    for index, trace in enumerate(figure.data[:4]):
        counts = [layer["counts"][index] for layer in allocation["layers"]]
        assert trace.x == pytest.approx([100 * count / 8 for count in counts])
        assert trace.marker.color == colours[trace.name]
    assert figure.layout.yaxis.ticktext == tuple(f"conv{index + 1}" for index in range(20))
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "the first layer is on top"
    low = visualization.plot_best_allocations(made.study, made.comparison, size=CARD)
    assert len(low.layout.yaxis.ticktext) < 20, "names that would overlap are left out"
    panel = twins.plot_best_allocations(made.study, made.comparison).axes[0]
    for bars, trace in zip(panel.collections, figure.data[:4], strict=True):
        np.testing.assert_allclose([np.ptp(path.vertices[:, 0]) for path in bars.get_paths()], trace.x, rtol=1e-4)
        assert colors.to_hex(bars.get_facecolor()[0]) == trace.marker.color


def test_layers_that_tasks_skip_leave_a_gap_beside_the_other_kinds(monkeypatch):
    made = make_study(ERRORS, tasks=2, layers=3)
    first = best_allocations(made.study, made.comparison)[0]
    skipping = replace(first.allocation, layers=first.allocation.layers[::2])

    def without_a_layer(trial):
        return skipping if trial.number == first.trial else allocation_of(trial)

    monkeypatch.setattr("sfgsearch.visualization.figures._best_allocations.allocation_of", without_a_layer)
    figure = visualization.plot_best_allocations(made.study, made.comparison)
    assert [trace.y for trace in figure.data[:4:3]] == [(0, 2), (0, 1, 2)]
    assert figure.layout.yaxis.ticktext == ("conv1", "conv2", "conv3")
    panel = twins.plot_best_allocations(made.study, made.comparison).axes[0]
    assert [round(path.vertices[:4, 1].mean()) for path in panel.collections[0].get_paths()] == [0, 2]


def test_the_budget_ends_where_the_kinds_budget_ends():
    made = make_study({}, trials=8)
    figure = visualization.plot_budget(made.study)
    time = next(trace for trace in figure.data if trace.name == "learned" and trace.mode == "lines")
    assert time.x[-1] == pytest.approx(80), "eight trials of ten seconds"
    assert list(time.y) == sorted(time.y, reverse=True)
    number = next(
        trace for trace in figure.data if trace.name == "learned" and trace.xaxis == "x2" and trace.mode == "lines"
    )
    assert number.x[-1] == 8
    axes = twins.plot_budget(made.study).axes[1]
    steps = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    np.testing.assert_allclose(steps.get_xdata(), number.x)


def test_names_are_shown_as_they_are_written():
    name = "<b>a</b> $x$ <script>"
    made = make_study(ERRORS, name=name)
    assert plain(name) == "&lt;b&gt;a&lt;/b&gt; $x$ &lt;script&gt;"
    for figure in draw_all(visualization, made).values():
        assert figure.layout.title.text.startswith(plain(name))
        assert "<script>" not in figure.to_json()
    figure = twins.plot_budget(made.study)
    figure.savefig(io.BytesIO())
    assert figure.texts[0].get_text().startswith("<b>a</b> \\$x\\$ <script>")


def test_what_is_not_finite_is_left_out():
    assert rounded([1.234567, float("inf"), float("nan")]) == [1.23457, None, None]
