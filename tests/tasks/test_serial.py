"""Tasks as plain data, and back."""

import json
from dataclasses import dataclass

import pytest

from sfgsearch.errors import DataError, RegistryError
from sfgsearch.tasks import (
    Classification,
    DenseRegression,
    Regression,
    Segmentation,
    task_from_dict,
    task_to_dict,
    task_types,
)

TASKS = [
    Classification("digit", weight=0.1, hidden=3, num_classes=10),
    Regression("angle", scale=60.5, unit="degrees"),
    Segmentation("organs", num_classes=3, classes=("background", "heart", "lung"), loss="dice"),
    Segmentation("mask"),
    DenseRegression("ct", 2.0, 0, 1000.0, "HU", "l1", span=3000.0),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_comes_back_from_json_exactly(task):
    described = json.loads(json.dumps(task_to_dict(task)))
    back = task_from_dict(described)
    assert back == task
    assert type(back) is type(task)
    assert task_to_dict(back) == described


def test_every_type_has_a_name():
    assert set(task_types) == {"classification", "regression", "segmentation", "dense_regression"}
    assert {task_to_dict(task)["type"] for task in TASKS} == set(task_types)
    with pytest.raises(RegistryError, match="registered already"):
        task_types.register("regression")


def test_missing_keys_have_their_defaults():
    assert task_from_dict({"type": "regression", "name": "age"}) == Regression("age")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "detection", "name": "a"}, "must be one of classification, .*, got 'detection'"),
        ({"name": "a"}, "got None"),
        ({"type": ["x"], "name": "a"}, "must be one of"),
        ({"type": "regression", "name": "a", "units": "m"}, "no key .units.; allowed: name, weight, hidden, scale"),
        ({"type": "regression"}, "name: Field required"),
        ({"type": "regression", "name": "a", "scale": "big"}, "task 'a' of type 'regression': scale: "),
        ({"type": "segmentation", "name": "a", "num_classes": 1}, "at least 2 classes"),
        ({"type": "segmentation", "name": "a", "loss": "l2"}, "loss"),
        ({"type": "regression", "name": "a", "unit": object()}, "plain data"),
    ],
)
def test_what_is_no_task_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        task_from_dict(data)


def test_a_type_that_nobody_registered_is_refused():
    @dataclass(frozen=True)
    class Private(Regression):
        pass

    with pytest.raises(DataError, match=r"Private is not a registered task type; register it with @sfgsearch\.tasks"):
        task_to_dict(Private("a"))
