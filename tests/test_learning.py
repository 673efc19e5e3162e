"""That the method learns: the one test that trains for a minute."""

import pytest

from sfgsearch.backbones import vgg_small
from sfgsearch.data import digit_pairs
from sfgsearch.methods import StochasticFilterGroups, manual_methods
from sfgsearch.nn import NetworkSpec
from sfgsearch.training import Experiment, TrainingSettings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained():
    """Return hard sharing and stochastic filter groups, trained equally long on the same data."""
    data = digit_pairs(0)
    spec = NetworkSpec(vgg_small, data.tasks, data.image_shape)
    experiment = Experiment(data, spec, TrainingSettings(epochs=12, lr=5e-3, device="cpu"))
    methods = (manual_methods["hard_sharing"](spec), StochasticFilterGroups())
    return [experiment.train(method, seed=0, splits=("validation", "test")) for method in methods]


def test_the_derived_network_is_within_two_points_of_hard_sharing(trained):
    hard_sharing, learned = trained
    for metric, accuracy in hard_sharing.metrics["test"].items():
        assert accuracy > 0.9
        assert learned.metrics["test"][metric] > accuracy - 0.02


def test_entropy_falls_in_every_layer_until_gates_settle(trained):
    _, learned = trained
    entropies = [report.mean_entropy for report in learned.history]
    for layer in entropies[0]:
        assert entropies[0][layer] > entropies[3][layer] > entropies[5][layer]
        assert {epoch[layer] for epoch in entropies[6:]} == {entropies[5][layer]}


def test_deep_filters_are_less_shared_than_shallow_ones(trained):
    _, learned = trained
    shared = [layer.mean_probs[-1] for layer in learned.system.allocation().layers]
    assert shared[0] > 0.8
    assert shared[0] > shared[-1] + 0.1
