"""Tables and notes of networks with many layers: by stage, and every layer for who asks."""

from dataclasses import replace

import pytest
from made_up_studies import finalist, tasks_of

from sfgsearch.allocation import Allocation
from sfgsearch.errors import StudyError
from sfgsearch.reporting import trial_tables
from sfgsearch.reporting._trial_note import trial_note

LAYERS = [f"layer{stage}.{block}.conv" for stage in (1, 2, 3, 4) for block in range(30)]
PARAMS = {"kind": "searched", **{f"searched.{layer}.shared": 0.5 for layer in LAYERS}, "searched.space": "layers"}


@pytest.fixture
def record():
    """Give a record of 120 layers of 256 filters, more than 30,000."""
    tasks = tasks_of(2)
    allocation = Allocation.equal(dict.fromkeys(LAYERS, 256), [task["name"] for task in tasks])
    return replace(finalist(tasks, "searched", "searched-3", 3, 0, 0.2), allocation=allocation)


def tables(record, path=None, params=PARAMS):
    """Return allocation and parameters of a trial as tables."""
    first, *_, last = trial_tables({"trial": 3, "params": params}, record, path)
    return first, last


def test_trials_are_shown_by_stage(record):
    allocation, params = tables(record)
    assert [row[0] for row in allocation.rows] == ["layer1", "layer2", "layer3", "layer4"]
    assert [int(cell) for cell in allocation.rows[0][1:4]] == [85 * 30, 85 * 30, 86 * 30]
    assert "--layers" in allocation.note
    assert [name for name, _ in params.rows] == ["kind", "searched.space"]
    assert params.note.startswith("120 proportions")


def test_layers_are_shown_for_who_asks(record):
    allocation, params = tables(record, "layer2")
    assert [row[0] for row in allocation.rows] == LAYERS[30:60]
    assert len(params.rows) == 122
    assert [row[0] for row in tables(record, "")[0].rows] == LAYERS
    with pytest.raises(StudyError, match="no layer is in 'layer5'; the network has layer1, layer2, layer3, layer4"):
        tables(record, "layer5")


def test_small_networks_are_shown_layer_by_layer(record):
    small = replace(record, allocation=Allocation.equal(dict.fromkeys(LAYERS[:20], 8), record.allocation.tasks))
    allocation, params = tables(small)
    assert [row[0] for row in allocation.rows] == LAYERS[:20]
    assert "--layers" not in allocation.note
    assert len(params.rows) == 122


def test_notes_stay_short(record):
    lines = trial_note(record, PARAMS, [f"layer {layer}: one filter is shared" for layer in LAYERS], [])
    assert "Shared part by stage: layer1 34, layer2 34, layer3 34, layer4 34 %." in "\n".join(one.text for one in lines)
    assert sum(len(line.text) for line in lines) < 2000
    assert "115 more" in next(line.text for line in lines if line.label == "Repairs")
