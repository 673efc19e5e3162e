"""Learned routing, against plain networks whose channels are masked by hand with the same draws."""

import pytest
import torch

from sfgsearch.nn import GateSampling, LearnedRouting


def make_network(tiny, num_tasks, temperature=0.7, initial=0.5):
    spec = tiny.spec(num_tasks)
    sampling = GateSampling(temperature, generator=tiny.seeded(5))
    network = LearnedRouting(spec.build(), spec.analysis, initial, sampling)
    tiny.randomise(network)
    return spec, network.double()


def relaxed_by_hand(tiny, network, temperature):
    """Return the relaxed draws with the noise of a generator as the network's starts: two Gumbels per gate."""
    noise = torch.empty(*network.logits.shape, 2, dtype=torch.float64).exponential_(generator=tiny.seeded(5))
    used, unused = (-noise.log()).unbind(-1)
    return torch.sigmoid((network.logits.detach() + used - unused) / temperature)


def norm_by_hand(x, norm):
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    shape = (1, -1, 1, 1)
    return (x - mean) / (variance + norm.eps).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)


def predictions_by_hand(tiny, spec, network, masks):
    """Return the predictions of vgg_small in training, every task's features masked where layers read."""
    plain, found = network.network, {}
    for task, name in enumerate(spec.task_names):
        features = tiny.images(spec).double()
        for index, (size, mask) in enumerate(zip((2, 1, 1), masks[task].split((7, 6, 5)), strict=True), start=1):
            norm = getattr(plain.backbone, f"norm{index}") if task == 0 else network.norms[task - 1][index - 1]
            features = norm_by_hand(plain.backbone.get_submodule(f"conv{index}")(features), norm).clamp_min(0)
            features = torch.nn.functional.max_pool2d(features, size) * mask.view(1, -1, 1, 1)
        found[name] = plain.heads[name](features)
    return found


def total(predictions):
    return sum(prediction.square().sum() for prediction in predictions.values())


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_masks_are_drawn_and_learn_by_the_relaxed_gradient(tiny, num_tasks):
    temperature = 0.7
    spec, network = make_network(tiny, num_tasks, temperature)
    relaxed = relaxed_by_hand(tiny, network, temperature)
    masks = (relaxed > 0.5).double().requires_grad_()
    expected = predictions_by_hand(tiny, spec, network, masks)
    total(expected).backward()
    slope = masks.grad * relaxed * (1 - relaxed) / temperature
    network.zero_grad()
    found = network.train()(tiny.images(spec).double())
    total(found).backward()
    for name in spec.task_names:
        torch.testing.assert_close(found[name], expected[name])
    torch.testing.assert_close(network.logits.grad, slope)


def test_draws_follow_the_probabilities(tiny):
    _, network = make_network(tiny, 2)
    frequencies = torch.stack([network.train().current_masks() for _ in range(4000)]).mean(0)
    assert float((frequencies - network.probs).detach().abs().max()) < 0.05  # six standard deviations


@pytest.mark.parametrize("settled", [True, False])
def test_most_probable_masks_are_not_drawn(tiny, settled):
    spec, network = make_network(tiny, 2)
    network.settled = settled
    network.train(settled)
    images = tiny.images(spec).double()
    assert torch.equal(network.current_masks(), (network.logits >= 0).double())
    first, second = network(images), network(images)
    assert all(torch.equal(first[name], second[name]) for name in spec.task_names)


def test_a_task_without_a_filter_keeps_its_most_probable_one(tiny):
    _, network = make_network(tiny, 2)
    with torch.no_grad():
        network.logits.copy_(-torch.rand(2, 18, generator=tiny.seeded(1)) - 0.1)
        network.logits[0, 7:13] = torch.tensor([-3, -2, -1, -4, 5, -2])
    masks = network.masks_by_space()
    assert masks["conv2"][0].tolist() == [False, False, False, False, True, False]
    assert [int(mask.sum()) for mask in masks["conv1"]] == [1, 1]
    assert int(masks["conv1"][0].int().argmax()) == int(network.logits[0, :7].argmax())


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_the_routed_network_predicts_what_the_learned_one_does(tiny, num_tasks):
    spec, network = make_network(tiny, num_tasks)
    network.eval()
    images = tiny.images(spec).double()
    found, expected = network.route()(images), network(images)
    assert all(torch.equal(found[name], expected[name]) for name in spec.task_names)


@pytest.mark.parametrize("initial", [0.0, 1.0])
def test_certain_probabilities_are_refused(tiny, initial):
    with pytest.raises(ValueError, match="initial must be above 0 and below 1"):
        make_network(tiny, 2, initial=initial)
