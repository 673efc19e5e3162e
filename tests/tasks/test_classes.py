"""Tasks with classes: names, weights, checks and metrics, against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from sfgsearch.errors import DataError
from sfgsearch.tasks import MISSING, Classification, Regression, Segmentation
from sfgsearch.tasks._classes import balanced_weights


def draw(number, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(number, classes, generator=generator)
    target = torch.randint(classes, (number,), generator=generator) * torch.randint(2, (number,), generator=generator)
    return logits, target


def measured(task, *batches):
    metrics = task.metrics()
    for batch in batches:
        metrics.update(*batch)
    return {name: float(value) for name, value in metrics.compute().items()}


@pytest.mark.parametrize("classes", [2, 5])
def test_metrics_equal_those_of_scikit_learn_over_all_batches(classes):
    logits, target = draw(60, classes, seed=classes)
    found = measured(Classification("t", num_classes=classes), (logits[:40], target[:40]), (logits[40:], target[40:]))
    answers, truth = logits.argmax(1).numpy(), target.numpy()
    assert found["accuracy"] == pytest.approx((answers == truth).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, answers))
    assert found["f1"] == pytest.approx(f1_score(truth, answers, average="macro"))
    if classes == 2:
        assert found["auroc"] == pytest.approx(roc_auc_score(truth, logits.softmax(1)[:, 1].numpy()))
    assert set(found) == set(Classification("t", num_classes=classes).units)


def test_a_class_that_does_not_occur_is_left_out_of_the_balanced_accuracy():
    logits, target = torch.eye(4)[[0, 1, 2, 1]], torch.tensor([0, 1, 1, 1])
    found = measured(Classification("t", num_classes=4), (logits, target))
    assert found["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)


def test_logits_between_zero_and_one_are_logits_for_the_area_under_the_curve():
    logits, target = torch.tensor([[0.9, 0.8], [0.1, 0.7], [0.6, 0.2]]), torch.tensor([0, 1, 0])
    assert measured(Classification("t"), (logits, target))["auroc"] == 1


def test_logits_far_apart_are_told_from_each_other_by_the_area_under_the_curve():
    logits = torch.tensor([[0.0, 40.0], [0.0, 60.0], [0.0, 50.0], [0.0, 45.0], [0.0, 50.0]])
    target = torch.tensor([0, 1, 1, 0, 0])
    expected = roc_auc_score(target.numpy(), logits[:, 1].numpy())
    assert measured(Classification("t"), (logits, target))["auroc"] == pytest.approx(expected)


def test_class_weights_without_a_cross_entropy_are_refused():
    with pytest.raises(DataError, match="class_weights are of the cross-entropy"):
        Segmentation("t", loss="dice", class_weights=(1.0, 2.0))


def test_the_area_under_the_curve_of_a_single_class_is_undefined():
    assert np.isnan(measured(Classification("t"), (torch.randn(3, 2), torch.tensor([1, 1, 1])))["auroc"])


def test_class_weights_weigh_the_loss_and_balance_the_error():
    logits, target = draw(60, 3, seed=9)
    weights = (0.5, 2.0, 3.0)
    task = Classification("t", num_classes=3, class_weights=weights)
    each = functional.cross_entropy(logits, target, reduction="none")
    share = torch.tensor(weights)[target]
    expected = (each * share).sum() / share.sum()
    torch.testing.assert_close(task.negative_log_likelihood(logits, target), expected)
    found = measured(task, (logits, target))
    assert task.error(found) == 1 - found["balanced_accuracy"]
    assert task.headline == ("balanced_accuracy",)
    assert task.trivial_error(target, target) == pytest.approx(2 / 3)


def test_class_weights_weigh_the_cross_entropy_of_a_segmentation():
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.randint(3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    task = Segmentation("t", num_classes=3, loss="cross_entropy", class_weights=(1.0, 5.0, 2.0))
    expected = functional.cross_entropy(logits, target, weight=torch.tensor([1.0, 5.0, 2.0]))
    torch.testing.assert_close(task.negative_log_likelihood(logits, target), expected)


def test_balanced_weights_are_those_of_scikit_learn_over_present_targets():
    target = np.array([0, 0, 0, 1, 2, 2])
    holes = torch.tensor([MISSING, *target, MISSING], dtype=torch.int16)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=target)
    assert balanced_weights(holes, 3) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [Classification, Segmentation])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "at least 2 classes"),
        ({"num_classes": 3, "classes": ("a", "b")}, "as many names"),
        ({"num_classes": 2, "classes": ("a", "a")}, "all distinct"),
        ({"num_classes": 2, "class_weights": (1.0,)}, "2 numbers from 1e-06"),
        ({"num_classes": 2, "class_weights": (1.0, 0.0)}, "2 numbers from 1e-06"),
        ({"num_classes": 2, "class_weights": (1.0, float("inf"))}, "2 numbers from 1e-06"),
    ],
)
def test_names_and_weights_that_do_not_fit_the_classes_are_refused(kind, options, message):
    with pytest.raises(DataError, match=message):
        kind("t", **options)


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (Classification("t"), torch.tensor([0, 2]), "class 2 is not in 0 to 1"),
        (Classification("t"), torch.tensor([0, -2]), "class -2 is not in 0 to 1"),
        (Segmentation("t"), torch.tensor([[[0, 255]]], dtype=torch.uint8), "class 255 is not in 0 to 1"),
        (Classification("t"), torch.tensor([0.0, 1.0]), "classes are integers"),
        (Classification("t"), torch.tensor([True, False]), "classes are integers"),
        (Regression("t"), torch.tensor([1, -1]), "floating point"),
        (Regression("t"), torch.tensor([1.0, float("inf")]), "infinite"),
    ],
)
def test_targets_that_a_task_cannot_take_are_refused(task, target, message):
    with pytest.raises(DataError, match=message):
        task.check_target(target)


def test_missing_targets_are_no_wrong_ones():
    Classification("t").check_target(torch.tensor([0, MISSING, 1]))
    Regression("t").check_target(torch.tensor([0.5, float("nan")]))
