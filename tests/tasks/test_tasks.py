"""Tasks: likelihoods, metrics, trivial errors and averages, against plain references."""

import math

import pytest
import torch

from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification, DenseRegression, Regression, Segmentation

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


def test_uncertainty_of_classes_is_mutual_information_in_nats():
    task = Classification("digit", num_classes=2)
    sure, unsure = [[9.0, -9.0]] * 2, [[9.0, -9.0], [-9.0, 9.0]]
    predictions = torch.tensor([sure, unsure]).transpose(0, 1)
    torch.testing.assert_close(task.uncertainty(predictions), torch.tensor([0.0, math.log(2)]), atol=1e-3, rtol=0)
    assert task.uncertainty_unit == "nats"


def test_uncertainty_of_numbers_is_their_deviation_in_units():
    task = Regression("age", scale=100.0, unit="years")
    torch.testing.assert_close(task.uncertainty(torch.tensor([[0.1, 0.5], [0.3, 0.5]])), torch.tensor([10.0, 0.0]))
    assert task.uncertainty_unit == "years"


def test_uncertainty_of_voxels_has_their_shape():
    segmentation = Segmentation("organs", num_classes=3)
    logits = torch.randn(4, 2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    per_voxel = segmentation.uncertainty(logits)
    expected = Classification("organs", num_classes=3).uncertainty(logits[:, :, :, 2, 3])
    assert per_voxel.shape == (2, 5, 6)
    torch.testing.assert_close(per_voxel[:, 2, 3], expected)
    dense = DenseRegression("ct", scale=10.0, unit="HU")
    torch.testing.assert_close(dense.uncertainty(torch.tensor([[[1.0]], [[3.0]]])), torch.tensor([[10.0]]))


def test_regression_by_absolute_errors():
    task, prediction, target = Regression("age", loss="l1"), torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])
    assert task.negative_log_likelihood(prediction, target).item() == pytest.approx(1.5)
    with pytest.raises(DataError, match="loss must be 'squared' or 'l1', got 'huber'"):
        Regression("age", loss="huber")
