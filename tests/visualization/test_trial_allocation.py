"""Allocations of trials in both drawing libraries."""

import json

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from trial_samples import SHAPES, sample_trial

from sfgsearch import visualization
from sfgsearch.errors import StudyError
from sfgsearch.visualization import TrialReview, matplotlib
from sfgsearch.visualization._style import group_colours


def drawn_by_matplotlib(figure):
    """Return the width in percent of every bar, by group and layer."""
    groups = [found for found in figure.axes[0].collections if isinstance(found, PolyCollection)]
    return [[np.ptp(path.vertices[:, 0]) for path in group.get_paths()] for group in groups]


@pytest.mark.parametrize(("tasks", "layers"), SHAPES)
def test_bars_are_the_shares_of_groups(tasks, layers):
    trial = sample_trial(tasks, layers)
    shares = [[count / layer.num_filters for count in layer.counts] for layer in trial.allocation.layers]
    expected = 100 * np.array(shares).T
    bars = [trace for trace in visualization.plot_allocation(trial).data if trace.type == "bar"]
    np.testing.assert_allclose([bar.x for bar in bars], expected, rtol=1e-4)
    np.testing.assert_allclose(drawn_by_matplotlib(matplotlib.plot_allocation(trial)), expected, rtol=1e-9)
    assert [bar.name for bar in bars] == [*trial.tasks, "shared"]
    assert [bar.marker.color for bar in bars] == list(group_colours(trial.tasks).values())
    counts = [[int(text.split(": ")[1].split(" of ")[0]) for text in bar.hovertext] for bar in bars]
    assert np.transpose(counts).tolist() == [list(layer.counts) for layer in trial.allocation.layers]


def test_an_allocation_alone_will_do():
    trial = sample_trial(2, 4)
    figure = visualization.plot_allocation(trial.allocation)
    assert figure.layout.title.text == "Filters of every group by layer"
    assert visualization.plot_allocation(trial).layout.title.text.startswith("Trial 7, learned-7: ")
    assert [bar.x for bar in figure.data] == [bar.x for bar in visualization.plot_allocation(trial).data]
    texts = [text.get_text() for text in matplotlib.plot_allocation(trial.allocation).axes[0].texts]
    widths = [str(layer.num_filters) for layer in trial.allocation.layers]
    assert texts[-len(widths) - 1 :] == [*widths, "filters"]


def test_names_are_shown_as_they_are():
    name = "<b>conv</b> $x$"
    data = sample_trial(1, 1).allocation.to_dict()
    data["layers"][0]["name"] = name
    allocation = type(sample_trial(1, 1).allocation).from_json(json.dumps(data))
    assert "&lt;b&gt;conv" in visualization.plot_allocation(allocation).layout.yaxis.ticktext[0]
    (label,) = matplotlib.plot_allocation(allocation).axes[0].get_yticklabels()
    assert label.get_text() == r"<b>conv</b> \$x\$"


def test_a_trial_without_an_allocation_is_an_error():
    with pytest.raises(StudyError, match="trial 3 has no allocation"):
        visualization.plot_allocation(TrialReview(3, "pruned", ("age",)))
