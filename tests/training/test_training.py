"""The trainer, against a loop written out by hand, and the scale-free score."""

import functools
from dataclasses import replace

import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import vgg_small
from sfgsearch.data import InMemory, MultiTaskData, batches
from sfgsearch.errors import DataError, NonFiniteLossError, SFGSearchError
from sfgsearch.methods import ConstantProbabilities, FixedAllocation, Randomness, SFGSettings, StochasticFilterGroups
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import Classification, Regression
from sfgsearch.training import Experiment, RelativeError, TrainingSettings, evaluate, resolve_device

CPU = torch.device("cpu")
TASKS = (Classification("bright", num_classes=2, weight=0.5), Regression("mean", scale=2.0, unit="grey"))


def make_split(number, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(number, 1, 6, 6, generator=generator) + torch.randn(number, 1, 1, 1, generator=generator)
    mean = images.mean((1, 2, 3))
    return InMemory(images, {"bright": (mean > 0.5).long(), "mean": mean - 0.5})


@pytest.fixture(scope="module")
def experiment():
    data = MultiTaskData(TASKS, make_split(65, 0), make_split(40, 1), make_split(40, 2))
    spec = NetworkSpec(functools.partial(vgg_small, plan=(4, "pool", 6)), TASKS, data.image_shape)
    settings = TrainingSettings(epochs=3, batch_size=16, lr=0.02, task_weighting="fixed", device="cpu")
    return Experiment(data, spec, settings)


def hard_sharing(experiment):
    return FixedAllocation(Allocation.hard_sharing(experiment.spec.filters, experiment.spec.task_names))


def kernels(network):
    return [p for name, p in network.named_parameters() if p.ndim > 1 and not name.endswith("logits")]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_fixed_networks_follow_the_loop_by_hand(experiment, schedule):
    """Weighted likelihoods plus l^2 / 2N of the squared kernels, Adam, and a cosine decay per step."""
    experiment = replace(experiment, settings=replace(experiment.settings, lr_schedule=schedule, length_scale=3.0))
    trained = experiment.train(hard_sharing(experiment), seed=7)
    randomness = Randomness.from_seed(7, CPU)
    network = hard_sharing(experiment).build(experiment.spec, randomness, CPU).network
    optimiser = torch.optim.Adam(network.parameters())
    steps, step = 3 * 4, 0  # 65 images make four batches of 16 and one of a single image, which is dropped
    for _ in range(3):
        for images, targets in batches(experiment.data.train, 16, CPU, randomness.order):
            factor = (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2 if schedule == "cosine" else 1
            optimiser.param_groups[0]["lr"] = 0.02 * factor
            predictions = network(images)
            loss = 0.5 * torch.nn.functional.cross_entropy(predictions["bright"], targets["bright"])
            loss = loss + 0.5 * ((predictions["mean"] - targets["mean"]) ** 2).mean()
            loss = loss + sum((kernel**2).sum() for kernel in kernels(network)) * 9 / 2 / 65
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    assert step == steps
    for ours, theirs in zip(trained.system.network.parameters(), network.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_kl_weight_leaves_the_prior_of_weights_alone(experiment):
    """The objective of the first step is the likelihood plus the kernel norm: KL is zero, whatever it counts."""
    one_step = replace(experiment, settings=replace(experiment.settings, epochs=1, batch_size=65, length_scale=2.0))
    settings = SFGSettings(kl_weight=5.0)
    trained = one_step.train(StochasticFilterGroups(settings), seed=1)
    network = StochasticFilterGroups(settings).build(one_step.spec, Randomness.from_seed(1, CPU), CPU).network
    squares = sum(kernel.detach().double().square().sum().item() for kernel in kernels(network))
    report = trained.history[0]
    likelihood = 0.5 * report.task_losses["bright"] + report.task_losses["mean"]
    assert report.loss == pytest.approx(likelihood + 2.0**2 / 2 * squares / 65, rel=1e-4)


def test_probabilities_learn_at_a_rate_of_their_own(experiment):
    still = experiment.train(StochasticFilterGroups(SFGSettings(lr=1e-12)), seed=0)
    moving = experiment.train(StochasticFilterGroups(SFGSettings(lr=0.5)), seed=0)
    for name, probs in still.system.probabilities().items():
        assert torch.allclose(probs, torch.tensor([0.25, 0.25, 0.5]).expand_as(probs), atol=1e-4)
        assert not torch.allclose(moving.system.probabilities()[name], probs, atol=0.05)


@pytest.mark.parametrize("method", ["fixed", "learned", "hard", "constant"])
def test_the_same_seed_gives_the_same_numbers_bit_by_bit(experiment, method):
    build = {
        "fixed": lambda: hard_sharing(experiment),
        "learned": StochasticFilterGroups,
        "hard": lambda: StochasticFilterGroups(SFGSettings(hard=True)),
        "constant": lambda: ConstantProbabilities(samples=2),
    }[method]
    torch.manual_seed(1)
    one = experiment.train(build(), seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    same = experiment.train(build(), seed=3)
    other = experiment.train(build(), seed=4)
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator is not ours to touch"
    assert one.history == same.history
    assert one.metrics == same.metrics
    assert one.history != other.history
    states = one.predictor.state_dict(), same.predictor.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_report_per_epoch_and_what_it_raises_ends_training(experiment):
    seen = []

    def stop(report):
        seen.append(report.epoch)
        if report.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment.train(hard_sharing(experiment), seed=0, on_epoch=stop)
    assert seen == [0, 1]


def test_test_data_is_not_read_unless_asked_for(experiment):
    class Sealed:
        def __getattr__(self, name):
            raise AssertionError(f"read {name} of the test split")

    sealed = replace(experiment, data=replace(experiment.data, test=Sealed()), _errors={})
    for method in (hard_sharing(experiment), StochasticFilterGroups(), ConstantProbabilities(samples=2)):
        assert set(sealed.train(method, seed=0).metrics) == {"validation"}


def test_a_loss_that_is_not_finite_is_an_error_with_the_losses(experiment):
    wild = replace(experiment, settings=replace(experiment.settings, lr=1e30, lr_schedule="constant"))
    with pytest.raises(NonFiniteLossError, match=r"not finite in epoch \d.*bright.*lower the learning rate"):
        wild.train(hard_sharing(wild), seed=0)


def test_the_number_of_threads_is_restored(experiment):
    before = torch.get_num_threads()
    seen = []
    settings = replace(experiment.settings, threads=before + 1, epochs=1)
    replace(experiment, settings=settings).train(
        hard_sharing(experiment), seed=0, on_epoch=lambda _report: seen.append(torch.get_num_threads())
    )
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_evaluation_is_by_images_and_restores_the_mode(experiment):
    network = hard_sharing(experiment).build(experiment.spec, Randomness.from_seed(0, CPU), CPU).network
    metrics = evaluate(network, TASKS, batches(experiment.data.validation, 7, CPU), CPU)
    assert network.training
    network.eval()
    predictions, targets = network(experiment.data.validation.images), experiment.data.validation.targets
    right = (predictions["bright"].argmax(1) == targets["bright"]).double().mean().item()
    distance = 2 * (predictions["mean"] - targets["mean"]).abs().mean().item()
    assert metrics["bright/accuracy"] == pytest.approx(right)
    assert metrics["mean/mae"] == pytest.approx(distance, rel=1e-5)


def test_relative_errors_have_no_scale(experiment):
    error = RelativeError(experiment.data, "validation")
    targets, train = experiment.data.validation.targets, experiment.data.train.targets
    wrong = (targets["bright"] != train["bright"].mode().values).double().mean().item()
    distance = 2 * (targets["mean"] - train["mean"].median()).abs().mean().item()
    metrics = {"bright/accuracy": 0.9, "mean/mae": 0.1}
    assert error.per_task(metrics) == {"bright": pytest.approx(0.1 / wrong), "mean": pytest.approx(0.1 / distance)}
    assert error.mean(metrics) == pytest.approx((0.1 / wrong + 0.1 / distance) / 2)
    other_unit = replace(experiment.data, tasks=(TASKS[0], replace(TASKS[1], scale=2000.0)))
    scaled = RelativeError(other_unit, "validation").mean({"bright/accuracy": 0.9, "mean/mae": 100.0})
    assert scaled == pytest.approx(error.mean(metrics))


def test_a_trivial_split_is_refused(experiment):
    constant = InMemory(experiment.data.validation.images, {"bright": torch.ones(40).long(), "mean": torch.zeros(40)})
    train = InMemory(experiment.data.train.images, {"bright": torch.ones(65).long(), "mean": torch.zeros(65)})
    with pytest.raises(DataError, match="'bright' is trivial on the validation split"):
        RelativeError(replace(experiment.data, train=train, validation=constant), "validation")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_devices():
    assert resolve_device("auto") == CPU
    with pytest.raises(SFGSearchError, match="use 'auto' or 'cpu'"):
        resolve_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("learned", [True, False])
def test_training_on_cuda_repeats_itself(experiment, learned):
    cuda = replace(experiment, settings=replace(experiment.settings, device="cuda"))
    method = StochasticFilterGroups() if learned else ConstantProbabilities(samples=2)
    assert cuda.train(method, seed=0).history == cuda.train(method, seed=0).history


def test_metrics_that_are_not_finite_are_an_error(experiment):
    """The loss of the last step can be finite and the step itself not."""

    class Infinite(torch.nn.Module):
        def forward(self, images):
            return {"bright": torch.zeros(len(images), 2), "mean": torch.full((len(images),), torch.inf)}

    class Broken(FixedAllocation):
        def build(self, *args):
            system = super().build(*args)
            system.predictor = lambda _calibration: Infinite()
            return system

    broken = Broken(Allocation.hard_sharing(experiment.spec.filters, experiment.spec.task_names))
    with pytest.raises(NonFiniteLossError, match="predictions of mean on the validation split are not finite"):
        experiment.train(broken, seed=0)
