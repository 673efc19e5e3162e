"""Tasks: likelihoods, metrics, trivial errors and averages, against plain references."""

import math

import pytest
import torch

from sfgsearch.tasks import Classification, Regression

DIGIT = Classification("digit", num_classes=3)
ANGLE = Regression("angle", scale=60.0, unit="degrees")


def test_classification_likelihood_and_accuracy():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]], dtype=torch.float64)
    target = torch.tensor([0, 2])
    expected = 0.0
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        expected -= row[label] - math.log(sum(math.exp(value) for value in row))
    assert DIGIT.negative_log_likelihood(logits, target).item() == pytest.approx(expected / 2)
    metrics = DIGIT.metrics()
    metrics.update(logits, target)
    assert metrics.compute()["accuracy"] == 0.5
    assert DIGIT.error({"accuracy": 0.5}) == 0.5


def test_regression_likelihood_and_error_in_its_unit():
    prediction, target = torch.tensor([0.5, -0.5]), torch.tensor([0.0, 0.5])
    assert ANGLE.negative_log_likelihood(prediction, target).item() == pytest.approx(0.5 * (0.25 + 1.0) / 2)
    metrics = ANGLE.metrics()
    metrics.update(prediction, target)
    assert metrics.compute()["mae"].item() == pytest.approx(60 * 0.75)
    assert ANGLE.units == {"mae": "degrees"}


def test_trivial_errors_come_from_the_training_data():
    assert DIGIT.trivial_error(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0, 2])) == 0.75
    train, target = torch.tensor([0.0, 0.1, 5.0]), torch.tensor([0.1, 0.3])
    assert ANGLE.trivial_error(train, target) == pytest.approx(60 * 0.1)


def test_averages_are_of_predictive_distributions():
    logits = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(DIGIT.average(logits).exp(), logits.softmax(-1).mean(0))
    assert torch.allclose(ANGLE.average(logits[..., 0]), logits[..., 0].mean(0))


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize(("task", "shape"), [(DIGIT, (4, 3)), (ANGLE, (4,))])
def test_heads_read_images_and_volumes(task, shape, hidden):
    task = type(task)(**{**vars(task), "hidden": hidden})
    for space in ((5, 5), (3, 3, 3)):
        assert task.head(6, len(space))(torch.randn(4, 6, *space)).shape == shape
