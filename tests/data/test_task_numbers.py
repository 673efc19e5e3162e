"""Numbers and texts of a task that cannot work are refused where the task is described."""

import pytest

from sfgsearch.data._task_tables import read_task_tables
from sfgsearch.errors import DataError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("weight", value) for value in (-1.0, 0, float("nan"), float("inf"), 1e300, 1e-300, True, "1")),
        *(("scale", value) for value in (-1.0, 0, float("nan"), float("inf"), 1e-30, "1")),
        *(("hidden", value) for value in (-1, 0.5, 10**9, True)),
    ],
)
def test_numbers_that_cannot_work_are_refused_by_name(option, value):
    with pytest.raises(DataError, match=rf"^tasks\.age\.{option}: must be a (whole )?number from "):
        read_task_tables({"age": {"type": "regression", option: value}}, (), arrays=True)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"type": "classification", "class_weights": [1e300, 1.0]}, "class_weights must be 2 numbers from 1e-06 to 1e"),
        ({"type": "classification", "class_weights": [0.0, 1.0]}, "to leave a class out, list it in ignore or missing"),
        ({"type": "classification", "classes": ["\x1b[31mred", "blue"]}, "characters that cannot be printed"),
        ({"type": "regression", "unit": "a\nb"}, "characters that cannot be printed"),
        ({"type": "dense_regression", "unit": "\x00"}, "characters that cannot be printed"),
    ],
)
def test_weights_and_texts_that_cannot_work_are_refused(table, reason):
    with pytest.raises(DataError, match=reason.replace("(", r"\(")):
        read_task_tables({"kind": table}, (), arrays=True)
