"""Words in figures: none is cut, and none runs into another, with long names, many layers and little room."""

import itertools
from dataclasses import replace

import made_up_studies
import numpy as np
import optuna
import pytest
from made_up_studies import add_trial, make_study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from optuna.distributions import CategoricalDistribution, FloatDistribution
from trial_samples import sample_trial

from sfgsearch import visualization
from sfgsearch.allocation import Allocation, group_names
from sfgsearch.visualization import CARD, PAGE, FigureSize
from sfgsearch.visualization import matplotlib as twins

LONG = ("grey_matter", "organs_of_the_pelvis_in_all_slices", "ct", "diagnosis_of_the_left_eye", "age_at_examination")
ERRORS = {"learned": [0.1, 0.2], "searched": [0.3, 0.34], "manual": [0.2, 0.4]}
LETTER = 5.5
"""Pixels of a letter of twelve pixels, at least on average."""


@pytest.fixture
def study(monkeypatch):
    """Return a function that makes up a study whose tasks have long names."""
    given = made_up_studies.tasks_of

    def named(number):
        return [{**task, "name": name} for task, name in zip(given(number), LONG, strict=False)]

    monkeypatch.setattr(made_up_studies, "tasks_of", named)
    return lambda tasks, layers=4: make_study(ERRORS, tasks=tasks, layers=layers, trials=12, relearned=0.02)


def long_trial(tasks, layers):
    """Return a sample whose tasks have long names."""
    trial, names = sample_trial(tasks, layers), LONG[:tasks]
    renamed = dict(zip(trial.tasks, names, strict=True))
    history = [
        replace(
            report,
            task_losses={renamed[task]: loss for task, loss in report.task_losses.items()},
            metrics={"/".join((renamed[key.split("/")[0]], "mae")): value for key, value in report.metrics.items()},
            task_weights=dict.fromkeys(names, 1.0),
        )
        for report in trial.history
    ]
    allocation = Allocation(group_names(names), trial.allocation.layers)
    return replace(trial, tasks=names, history=history, allocation=allocation, units={})


def boxes(figure, texts):
    """Return where matplotlib writes texts, in dots: left, lower, right and upper ends."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    return np.array([text.get_window_extent(renderer).extents for text in texts if text.get_text()])


def overlaps(found):
    """Return how many pairs of boxes overlap."""
    return sum(
        bool((np.minimum(one[2:], other[2:]) > np.maximum(one[:2], other[:2])).all())
        for one, other in itertools.combinations(found, 2)
    )


def assert_whole(figure, found):
    """Check that nothing is cut and nothing overlaps."""
    width, height = figure.get_size_inches() * figure.dpi
    assert found[:, :2].min() >= 0
    assert found[:, 2].max() <= width
    assert found[:, 3].max() <= height
    assert overlaps(found) == 0


@pytest.mark.parametrize("name", ["allocation", "probabilities", "simplex", "history"])
@pytest.mark.parametrize(("tasks", "layers"), [(1, 4), (2, 30), (3, 4), (5, 30)])
def test_words_of_trials_stay_apart_in_files(name, tasks, layers):
    figure = getattr(twins, f"plot_{name}")(long_trial(tasks, layers))
    words = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        words += axes.texts
        if axes.axison:
            words += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    assert_whole(figure, boxes(figure, words))


@pytest.mark.parametrize("tasks", [1, 5])
def test_titles_of_a_comparison_stay_apart_in_files(study, tasks):
    figure = twins.plot_comparison(study(tasks).comparison)
    words = [text for axes in figure.axes for text in axes.texts]
    assert_whole(figure, boxes(figure, words))


@pytest.mark.parametrize("tasks", [3, 5])
def test_legends_are_read_line_by_line_in_files(study, tasks):
    made = study(tasks, 30)
    for figure in (twins.plot_allocation(long_trial(tasks, 4)), twins.plot_best_allocations(made.study)):
        texts = [text for legend in figure.legends for text in legend.get_texts()]
        assert_whole(figure, boxes(figure, texts))
        baselines = [text.get_transform().transform(text.get_position())[1] for text in texts]
        assert baselines == sorted(baselines, reverse=True)
        shown = [text.get_text() for text in texts]
        assert [text[:20] for text in shown] == [group[:20] for group in (*LONG[:tasks], "shared")]


@pytest.fixture
def tuned():
    """Return a study with long categories and parameters over many decades."""
    study, generator = optuna.create_study(study_name="demo"), np.random.default_rng(0)
    families = ["uniform", "shared_first_then_specific", "specific_first_then_shared", "linear"]
    for index in range(12):
        params = {
            "learned.kl_weight": (float(10 ** generator.uniform(-6, 0)), FloatDistribution(1e-6, 1, log=True)),
            "learned.prior.family": (families[index % 4], CategoricalDistribution(families)),
            "learned.decay": (float(10 ** generator.uniform(-5, -3)), FloatDistribution(1e-5, 1e-3, log=True)),
        }
        if index < 5:
            params["learned.prior.first"] = (index / 5, FloatDistribution(0, 1))
        add_trial(study, "learned", 0.1 + index / 20, tasks=made_up_studies.tasks_of(1), params=params)
    return study


def test_labels_of_tuned_parameters_stay_apart(tuned):
    figure = twins.plot_tuning_importances(tuned)
    for axes in figure.axes:
        assert overlaps(boxes(figure, [*axes.get_xticklabels(), axes.xaxis.label])) == 0, axes.get_xlabel()
    for size in (PAGE, CARD):
        layout = visualization.plot_tuning_importances(tuned, slices=3, size=size).layout
        plot = size.width - layout.margin.l - layout.margin.r
        for axis in (layout.xaxis2, layout.xaxis3, layout.xaxis4):
            width = plot * (axis.domain[1] - axis.domain[0])
            assert LETTER * sum(map(len, axis.ticktext)) < width, axis.title.text
            assert axis.tickangle == 0
        assert LETTER * max(map(len, layout.xaxis.title.text.split("<br>"))) < plot


@pytest.mark.parametrize("size", [PAGE, CARD])
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_panels_of_plotly_leave_room_for_titles_and_ticks(study, tasks, size):
    made = study(tasks, 30)
    comparison = visualization.plot_comparison(made.comparison, size=size).layout
    plot = size.width - comparison.margin.l - comparison.margin.r
    titles = [note for note in comparison.annotations if note.text.startswith("<b>")]
    apart = plot * (titles[1].x - titles[0].x)
    for title in titles:
        for line in title.text.replace("<b>", "").replace("</b>", "").split("<br>"):
            assert LETTER * len(line) < apart, line
    allocations = visualization.plot_best_allocations(made.study, size=size).layout
    plot = size.width - allocations.margin.l - allocations.margin.r
    assert plot * (allocations.xaxis2.domain[0] - allocations.xaxis.domain[1]) > 26, "100 and 0 are not 1000"


@pytest.mark.parametrize("tasks", [3, 5])
def test_titles_of_group_maps_are_no_wider_than_the_maps(tasks):
    probabilities = {f"encoder.block{index}.conv1": np.eye(tasks + 1) for index in range(4)}
    layout = visualization.plot_simplex(probabilities, tasks=LONG[:tasks]).layout
    first, second = layout.annotations[:2]
    apart = (PAGE.width - layout.margin.l - layout.margin.r) * (second.x - first.x)
    for title in layout.annotations[: tasks + 1]:
        assert 1.3 * LETTER * len(title.text.removeprefix("<b>").removesuffix("</b>")) < apart


@pytest.mark.parametrize("size", [PAGE, CARD])
def test_there_is_room_for_the_lines_of_a_legend(study, size):
    """Entries that are groups of their own follow each other like words, between the margins."""
    made = study(5, 30)
    figures = [
        visualization.plot_comparison(made.comparison, size=size),
        visualization.plot_pareto(made.study, made.comparison, size=size),
        visualization.plot_best_allocations(made.study, size=size),
        visualization.plot_budget(made.study, size=size),
    ]
    for figure in figures:
        entries = [trace for trace in figure.data if trace.showlegend is not False]
        assert all(trace.legendgroup for trace in entries)
        layout = figure.layout
        plot, lines, end = size.width - layout.margin.l - layout.margin.r, 1, 0.0
        for trace in entries:
            width = 45 + LETTER * len(trace.name)
            lines, end = (lines, end + width) if end + width <= plot else (lines + 1, width)
        assert layout.margin.t >= 36 + lines * (19 + layout.legend.tracegroupgap)


def test_marks_of_finalists_in_low_rows_do_not_hide_each_other(study):
    figure = visualization.plot_comparison(study(5).comparison, size=FigureSize(CARD.width, 300))
    layout = figure.layout
    inner = layout.height - layout.margin.t - layout.margin.b
    row = inner * (layout.yaxis.domain[1] - layout.yaxis.domain[0]) / len(layout.yaxis.ticktext)
    assert all(5 <= trace.marker.size < row for trace in figure.data)
