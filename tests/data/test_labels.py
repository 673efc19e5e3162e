"""Counts and checks of targets."""

import pytest
import torch

from sfgsearch.data import InMemory, LabelCount, MultiTaskData, WholeImages
from sfgsearch.data._labels import check_labels, describe_labels
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING, Classification, DenseRegression, Regression

NAN = float("nan")
TASKS = (Classification("sex"), Regression("age"))


def split(sex, age):
    return InMemory(torch.zeros(len(sex), 1, 4, 4), {"sex": torch.tensor(sex), "age": torch.tensor(age)})


def data(validation=None):
    train = split([0, 1, MISSING, 0], [1.0, NAN, NAN, 2.0])
    return MultiTaskData(TASKS, train, validation or split([0, 1], [1.0, NAN]), split([1, MISSING], [0.5, 2.0]))


def test_labels_are_counted_by_split_and_task():
    assert data().labels == {
        "train": {"sex": LabelCount(3, 4), "age": LabelCount(2, 4)},
        "validation": {"sex": LabelCount(2, 2), "age": LabelCount(1, 2)},
        "test": {"sex": LabelCount(1, 2), "age": LabelCount(2, 2)},
    }
    assert data().labels["train"]["age"].missing == 2


def test_a_sentence_says_how_many_labels_are_present():
    sentence = describe_labels(data())
    assert sentence == (
        "4, 2 and 2 images for training, validation and test; labels present: sex 3, 2 and 1, age 2, 1 and 2"
    )


def test_labels_of_dense_tasks_are_counted_by_pixel():
    depth = [torch.tensor([[1.0, NAN], [0.5, 0.25]])]
    part = WholeImages([torch.zeros(1, 2, 2)], {"depth": depth})
    found = MultiTaskData((DenseRegression("depth"),), part, part, part)
    assert found.labels["test"] == {"depth": LabelCount(3, 4)}
    assert "depth 75, 75 and 75 % of the pixels" in describe_labels(found)


def test_complete_labels_are_said_to_be_all_there():
    part = split([0, 1], [1.0, 2.0])
    assert describe_labels(MultiTaskData(TASKS, part, part, part)).endswith("sex all, age all")


def test_a_split_without_any_label_of_a_task_is_refused():
    with pytest.raises(DataError, match="'age' has no label in the validation split"):
        check_labels(data(validation=split([0, 1], [NAN, NAN])))


def test_a_class_that_training_lacks_is_refused():
    with pytest.raises(DataError, match=r"tasks.sex: the classes 1 are in the test split but not in the training"):
        check_labels(
            MultiTaskData(TASKS, split([0, 0], [1.0, 2.0]), split([0, MISSING], [1.0, 2.0]), split([1], [0.0]))
        )
    check_labels(data())


def test_a_wrong_target_is_refused_with_task_and_split():
    with pytest.raises(DataError, match="'sex', validation split: the class 7"):
        check_labels(data(validation=split([0, 7], [1.0, 2.0])))
