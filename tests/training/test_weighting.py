"""Task weights, fixed and learned."""

import functools

import pytest
import torch

from sfgsearch.backbones import vgg_small
from sfgsearch.data import InMemory, MultiTaskData
from sfgsearch.methods import manual_methods
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import Regression
from sfgsearch.training import Experiment, TrainingSettings
from sfgsearch.training._weighting import FittedNoise, LearnedNoise, TaskWeighting


def test_fixed_weights_are_a_weighted_sum():
    weighting = TaskWeighting([0.5, 2.0])
    assert float(weighting(torch.tensor([3.0, 4.0]), torch.tensor([True, True]))) == 0.5 * 3 + 2 * 4
    assert list(weighting.parameters()) == []
    assert weighting.current() == [0.5, 2.0]


def test_a_task_without_targets_in_a_batch_adds_nothing_to_the_loss_and_its_noise_stays():
    weighting = LearnedNoise([1.0, 3.0])
    with torch.no_grad():
        weighting.log_variances.fill_(0.7)
    total = weighting(torch.tensor([2.0, 0.0]), torch.tensor([True, False]))
    total.backward()
    assert total.item() == pytest.approx(2 * 2.718281828**-0.7 + 0.35)
    assert weighting.log_variances.grad[1] == 0


def test_learned_noise_gives_the_gaussian_likelihood():
    """Half a squared error becomes -log N(y; x, sigma^2), up to the constant log(2 pi) / 2."""
    weighting = LearnedNoise([1.0])
    with torch.no_grad():
        weighting.log_variances.fill_(0.7)
    prediction, target = torch.tensor([1.5]), torch.tensor([-0.4])
    loss = weighting(0.5 * (prediction - target).square(), torch.tensor([True]))
    likelihood = torch.distributions.Normal(prediction, torch.tensor(0.7 / 2).exp()).log_prob(target)
    assert loss.item() == pytest.approx(-float(likelihood) - torch.log(torch.tensor(2 * torch.pi)).item() / 2)
    assert weighting.current() == pytest.approx([2.718281828**-0.7])


def test_the_noise_settles_where_it_should():
    """The minimum over s of exp(-s) L + s / 2 is at a variance of 2 L."""
    weighting, losses = LearnedNoise([1.0, 3.0]), torch.tensor([0.2, 4.0])
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(1000):
        optimiser.zero_grad()
        weighting(losses, torch.tensor([True, True])).backward()
        optimiser.step()
    torch.testing.assert_close(weighting.log_variances.detach().exp(), 2 * losses, rtol=1e-3, atol=1e-3)


HERE = torch.tensor([True])


@pytest.mark.parametrize(("power", "distribution"), [(2, torch.distributions.Normal), (1, torch.distributions.Laplace)])
def test_fitted_noise_gives_the_likelihood_at_its_best_scale(power, distribution):
    """-log p(r; 0, scale) at the scale that makes all residuals most likely, up to the constant of the family."""
    residuals = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double() * 0.3
    found = FittedNoise([1.0], [power]).double()(residuals.abs().pow(power).mean()[None] / power, HERE)
    scale = residuals.abs().pow(power).mean().pow(1 / power)
    unit = -distribution(0.0, torch.tensor(1.0).double()).log_prob(torch.zeros(1).double())
    torch.testing.assert_close(found, -distribution(0.0, scale).log_prob(residuals).mean() - unit[0])


@pytest.mark.parametrize("power", [1, 2])
def test_fitted_noise_makes_gradients_independent_of_the_scale_of_targets(power):
    gradients = []
    for scale in (1.0, 60.0):
        weighting, residual = FittedNoise([2.0], [power]), torch.tensor(0.4, requires_grad=True)
        weighting(((residual * scale).abs().pow(power) / power)[None], HERE).backward()
        gradients.append(residual.grad.item())
    assert gradients[0] == pytest.approx(gradients[1]) == pytest.approx(2.0 / 0.4)


def test_fitted_noise_follows_the_mean_loss_and_leaves_classes_as_they_are():
    weighting, both = FittedNoise([1.0, 3.0], [2, None]), torch.tensor([True, True])
    for _ in range(200):
        weighting(torch.tensor([0.08, 0.7]), both)
    assert weighting.current() == pytest.approx([1 / 0.16, 3.0])
    for _ in range(20):
        weighting(torch.tensor([0.02, 0.7]), both)
    assert 1 / 0.16 < weighting.current()[0] < 1 / 0.04
    for _ in range(200):
        weighting(torch.tensor([0.02, 0.7]), both)
    assert weighting.current() == pytest.approx([1 / 0.04, 3.0], rel=1e-3)


def test_batches_without_a_target_leave_the_fitted_noise_alone():
    weighting, neither = FittedNoise([1.0, 1.0], [2, 1]), torch.tensor([False, False])
    assert weighting(torch.zeros(2), neither).item() == 0
    assert weighting.current() == [1.0, 1.0]
    weighting(torch.tensor([0.5, 0.0]), torch.tensor([True, False]))
    assert weighting.current() == [1.0, 1.0]
    weighting(torch.tensor([0.125, 0.25]), torch.tensor([True, True]))
    before = weighting.current()
    assert before[1] == pytest.approx(4.0)
    assert weighting(torch.zeros(2), neither).item() == 0
    assert weighting.current() == before


def test_fitted_noise_is_never_less_than_a_hundredth_of_the_largest():
    weighting = FittedNoise([1.0, 1.0], [2, 1])
    for loss in [torch.tensor([0.5, 1.0])] + [torch.zeros(2)] * 1000:
        total = weighting(loss, torch.tensor([True, True]))
    assert total.isfinite()
    assert weighting.current() == pytest.approx([1e4, 1e2])


def test_tasks_of_classes_are_weighed_the_same_by_fitted_noise_and_fixed_weights():
    losses, present = torch.tensor([0.3, 2.1]), torch.tensor([True, True])
    assert FittedNoise([0.5, 2.0], [None, None])(losses, present) == TaskWeighting([0.5, 2.0])(losses, present)


def make_split(number, seed):
    """One target that images show, and one that is noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(number, 1, 6, 6, generator=generator)
    return InMemory(images, {"seen": images.mean((1, 2, 3)) * 6, "noise": torch.randn(number, generator=generator)})


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "fitted"])
def test_training_learns_to_trust_the_task_that_can_be_learned(weighting):
    tasks = (Regression("seen", weight=0.5), Regression("noise"))
    data = MultiTaskData(tasks, make_split(256, 0), make_split(64, 1), make_split(64, 2))
    spec = NetworkSpec(functools.partial(vgg_small, plan=(8, "pool", 8)), tasks, data.image_shape)
    settings = TrainingSettings(epochs=20, batch_size=32, lr=0.02, device="cpu", task_weighting=weighting)
    trained = Experiment(data, spec, settings).train(manual_methods["hard_sharing"](spec), seed=0)
    first, last = trained.history[0].task_weights, trained.history[-1].task_weights
    if weighting == "fixed":
        assert first == last == {"seen": 0.5, "noise": 1.0}
    else:
        assert last["seen"] > 1.5 * first["seen"]
        assert last["seen"] / 0.5 > 1.5 * last["noise"]
