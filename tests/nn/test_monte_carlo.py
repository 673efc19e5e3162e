import math

import pytest
import torch

from sfgsearch.nn import MonteCarloEnsemble
from sfgsearch.tasks import Classification, Regression

DIGIT, ANGLE = Classification("digit", num_classes=3), Regression("angle")


class Constant(torch.nn.Module):
    """A member that predicts stored values for every image."""

    def __init__(self, logits, angle):
        super().__init__()
        self.logits, self.angle = torch.tensor(logits).double(), torch.tensor(angle).double()

    def forward(self, images):
        batch = len(images)
        return {"digit": self.logits.expand(batch, -1) * images.mean(), "angle": self.angle.expand(batch)}


MEMBERS = [([1.0, -2.0, 0.5], 1.0), ([30.0, 0.0, -30.0], 4.0), ([-0.3, 0.2, 0.1], -0.5)]


def make_ensemble(members=MEMBERS):
    averages = {task.name: task.average for task in (DIGIT, ANGLE)}
    return MonteCarloEnsemble([Constant(*member) for member in members], averages)


def softmax_by_loops(logits):
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def test_class_probabilities_are_averaged():
    prediction = make_ensemble()(torch.ones(2, 1, 1, 1).double())["digit"]
    rows = [softmax_by_loops(logits) for logits, _ in MEMBERS]
    expected = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert prediction.shape == (2, 3)
    for row in prediction:
        assert softmax_by_loops(row.tolist()) == pytest.approx(expected)


def test_class_predictions_are_log_probabilities():
    prediction = make_ensemble()(torch.ones(1, 1, 1, 1).double())["digit"]
    assert prediction.exp().sum().item() == pytest.approx(1)


def test_probabilities_and_not_logits_are_averaged():
    prediction = make_ensemble()(torch.ones(1, 1, 1, 1).double())["digit"]
    mean_logits = torch.stack([torch.tensor(logits).double() for logits, _ in MEMBERS]).mean(0)
    assert not torch.allclose(prediction.softmax(1)[0], mean_logits.softmax(0), atol=1e-2)


def test_regression_means_are_averaged():
    prediction = make_ensemble()(torch.ones(2, 1, 1, 1).double())["angle"]
    assert prediction.tolist() == pytest.approx([1.5, 1.5])


def test_one_member_predicts_as_it_does_alone():
    images = torch.ones(2, 1, 1, 1).double()
    alone = Constant(*MEMBERS[0])(images)
    ensemble = make_ensemble(MEMBERS[:1])(images)
    torch.testing.assert_close(ensemble["digit"].softmax(1), alone["digit"].softmax(1))
    torch.testing.assert_close(ensemble["angle"], alone["angle"])


def test_the_members_follow_its_mode():
    ensemble = make_ensemble().eval()
    assert not any(member.training for member in ensemble.members)
