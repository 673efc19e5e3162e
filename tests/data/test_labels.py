"""Counts and checks of targets."""

from dataclasses import replace

import pytest
import torch

from sfgsearch.data import InMemory, LabelCount, MultiTaskData, WholeImages
from sfgsearch.data._labels import check_labels, describe_labels
from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING, Classification, DenseRegression, Regression, Segmentation
from sfgsearch.training import RelativeError

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


ANY_SHAPE = (Classification("kind"), Segmentation("mask"), Regression("age"), DenseRegression("depth"))


def of_shapes(**others):
    """Eight images, the targets of one task in another shape."""
    shapes = {"kind": (8,), "mask": (8, 4, 4), "age": (8,), "depth": (8, 4, 4)} | others
    targets = {name: torch.rand(shape) for name, shape in shapes.items()}
    targets |= {name: (targets[name] > 0.5).short() for name in ("kind", "mask")}
    part = InMemory(torch.zeros(8, 1, 4, 4), targets)
    return MultiTaskData(ANY_SHAPE, part, part, part)


@pytest.mark.parametrize(
    ("task", "shape", "expected"),
    [
        ("kind", (8, 1), r"\(2,\), one for each image"),
        ("age", (8, 1), r"\(2,\), one for each image"),
        ("age", (8, 3), r"\(2,\), one for each image"),
        ("mask", (8, 1, 4, 4), r"\(2, 4, 4\), one for each pixel"),
        ("depth", (8, 4, 1), r"\(2, 4, 4\), one for each pixel"),
        ("depth", (8,), r"\(2, 4, 4\), one for each pixel"),
    ],
)
def test_targets_of_another_shape_are_refused(task, shape, expected):
    check_labels(of_shapes())
    with pytest.raises(DataError, match=rf"task '{task}', train split: .* reshape them to {expected}"):
        check_labels(of_shapes(**{task: shape}))


UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_classes_may_be_of_any_integer_type(dtype):
    tasks = (Classification("kind", num_classes=3), Segmentation("mask", num_classes=3))
    kind = torch.tensor([0, 1, 2, 1]).to(dtype)
    part = InMemory(torch.zeros(4, 1, 2, 2), {"kind": kind, "mask": kind[:, None, None].expand(4, 2, 2)})
    data = MultiTaskData(tasks, part, part, part)
    check_labels(data)
    assert RelativeError(data, "test").per_task({"kind/accuracy": 0.5, "mask/dice": 0.6})["kind"] == 1
    with pytest.raises(DataError, match="the class 2 is not in 0 to 1"):
        check_labels(replace(data, tasks=(Classification("kind"), tasks[1])))


def test_a_wrong_target_is_refused_with_task_and_split():
    with pytest.raises(DataError, match="'sex', validation split: the class 7"):
        check_labels(data(validation=split([0, 7], [1.0, 2.0])))
