"""Missing targets: where targets are present, and what reaches losses and metrics."""

import pytest
import torch

from sfgsearch.tasks import (
    MISSING,
    Classification,
    DenseRegression,
    Regression,
    Segmentation,
    is_present,
    select_present,
)

NAN = float("nan")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_quantities_are_missing_where_they_are_nan(dtype):
    target = torch.tensor([[0.0, NAN], [-1.0, float("inf")]], dtype=dtype)
    assert is_present(target).tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_classes_are_missing_where_they_are_minus_one(dtype):
    assert is_present(torch.tensor([0, MISSING, 3], dtype=dtype)).tolist() == [True, False, True]


def test_bytes_have_no_value_for_a_missing_class():
    assert is_present(torch.tensor([0, 255], dtype=torch.uint8)).all()


def test_complete_targets_come_back_as_they_are():
    prediction, target = torch.randn(3, 4), torch.tensor([0, 1, 2])
    chosen, kept = select_present(prediction, target)
    assert chosen is prediction
    assert kept is target


CASES = {
    "classification": (
        Classification("t", num_classes=3, class_weights=(1.0, 2.0, 0.5)),
        torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, MISSING, 2, 1, MISSING]),
    ),
    "regression": (
        Regression("t"),
        torch.randn(5, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0.5, NAN, -1.0, NAN, 2.0]),
    ),
    "l1": (
        Regression("t", loss="l1"),
        torch.randn(5, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0.5, NAN, -1.0, NAN, 2.0]),
    ),
    "segmentation": (
        Segmentation("t", num_classes=3),
        torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(2)),
        torch.tensor([[[0, MISSING], [2, 1]], [[MISSING, MISSING], [0, 0]]]),
    ),
    "dense_regression": (
        DenseRegression("t"),
        torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(3)),
        torch.tensor([[[0.5, NAN], [NAN, 1.0]], [[NAN, NAN], [0.1, 0.2]]]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_that_of_the_present_targets_alone(name):
    """One by one, the absent ones are taken out of the batch."""
    task, prediction, target = CASES[name]
    dense = target.ndim > 1
    columns = prediction.movedim(1, -1) if prediction.ndim > target.ndim else prediction
    absent = target.isnan() if target.is_floating_point() else target == -1
    places = [tuple(place) for place in (~absent).nonzero().tolist()]
    kept = torch.stack([columns[place] for place in places])
    truth = torch.stack([target[place] for place in places])
    if dense:  # a single image of as many voxels
        kept = kept.T[None] if kept.ndim > 1 else kept[None]
        truth = truth[None]
    expected = task.negative_log_likelihood(kept, truth)
    torch.testing.assert_close(task.negative_log_likelihood(*select_present(prediction, target)), expected)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_of_an_absent_target_is_exactly_zero(name):
    task, prediction, target = CASES[name]
    prediction = prediction.clone().requires_grad_()
    task.negative_log_likelihood(*select_present(prediction, target)).backward()
    gradient = prediction.grad.movedim(1, -1) if prediction.ndim > target.ndim else prediction.grad
    assert (gradient[~is_present(target)] == 0).all()
    assert (gradient[is_present(target)] != 0).any()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_those_of_the_present_targets_whatever_is_predicted_elsewhere(name):
    task, prediction, target = CASES[name]
    absent = ~is_present(target)
    other = prediction.clone()
    (other.movedim(1, -1) if other.ndim > target.ndim else other)[absent] = 1e6
    results = []
    for predicted in (prediction, other):
        metrics = task.metrics()
        metrics.update(*select_present(predicted, target))
        results.append({key: float(value) for key, value in metrics.compute().items()})
    assert results[0] == results[1]
