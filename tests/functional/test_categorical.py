import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from sfgsearch.functional import categorical_entropy, categorical_kl, mutual_information


def random_logits(*shape, seed=0, scale=2.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def log(*probs):
    return torch.tensor(probs, dtype=torch.float64).log()


def kl_by_loops(p, q):
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_kl_equals_torch_distributions(groups):
    p, q = random_logits(20, groups, seed=1), random_logits(20, groups, seed=2)
    expected = kl_divergence(Categorical(logits=p), Categorical(logits=q))
    torch.testing.assert_close(categorical_kl(p.log_softmax(-1), q.log_softmax(-1)), expected)


def test_kl_equals_its_definition():
    p, q = random_logits(10, 3, seed=1).softmax(-1), random_logits(10, 3, seed=2).softmax(-1)
    expected = torch.tensor([kl_by_loops(a, b) for a, b in zip(p, q, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(categorical_kl(p.log(), q.log()), expected)


def test_the_prior_broadcasts_over_filters():
    p, prior = random_logits(5, 3).log_softmax(-1), log(0.2, 0.3, 0.5)
    torch.testing.assert_close(categorical_kl(p, prior), categorical_kl(p, prior.expand(5, 3)))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_kl_from_the_uniform_prior_is_log_groups_minus_entropy(num_tasks):
    log_probs = random_logits(20, num_tasks + 1).log_softmax(-1)
    uniform = log(*[1 / (num_tasks + 1)] * (num_tasks + 1))
    entropy = torch.tensor([-sum(p * math.log(p) for p in row.exp().tolist()) for row in log_probs]).double()
    torch.testing.assert_close(
        categorical_kl(log_probs, uniform), math.log(num_tasks + 1) - entropy, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(categorical_entropy(log_probs), entropy, rtol=1e-6, atol=1e-6)


def test_entropy_equals_torch_distributions():
    logits = random_logits(20, 3)
    torch.testing.assert_close(categorical_entropy(logits.log_softmax(-1)), Categorical(logits=logits).entropy())


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ((1.0, 0.0, 0.0), (0.2, 0.3, 0.5), -math.log(0.2)),
        ((0.5, 0.5, 0.0), (0.25, 0.25, 0.5), math.log(2)),
        ((0.5, 0.5, 0.0), (0.5, 0.5, 0.0), 0.0),
        ((0.5, 0.5, 0.0), (1.0, 0.0, 0.0), math.inf),
    ],
)
def test_kl_where_probabilities_are_zero(p, q, expected):
    assert float(categorical_kl(log(*p), log(*q))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("p", "expected"), [((1.0, 0.0, 0.0), 0.0), ((0.5, 0.5, 0.0), math.log(2)), ((0.0, 0.0, 1.0), 0.0)]
)
def test_entropy_where_probabilities_are_zero(p, expected):
    assert float(categorical_entropy(log(*p))) == pytest.approx(expected)


@pytest.mark.parametrize("corner", [[0.0, -1e4, 1e4], [0.0, -torch.inf, 0.0], [1e4, 0.0, 0.0]])
def test_gradients_are_finite_at_the_corners(corner):
    logits = torch.tensor([corner], dtype=torch.float64, requires_grad=True)
    log_probs = logits.log_softmax(-1)
    value = (categorical_kl(log_probs, log(0.2, 0.3, 0.5)) + categorical_entropy(log_probs)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert bool(gradient.isfinite().all())


def test_gradient_equals_the_closed_form():
    logits, prior = random_logits(6, 3).requires_grad_(), log(0.2, 0.3, 0.5)
    (gradient,) = torch.autograd.grad(categorical_kl(logits.log_softmax(-1), prior).sum(), logits)
    p = logits.detach().softmax(-1)
    excess = p.log() - prior
    expected = p * (excess - (p * excess).sum(-1, keepdim=True))
    torch.testing.assert_close(gradient, expected)


def test_gradient_reaches_the_prior():
    logits, prior_logits = random_logits(6, 3), random_logits(3, seed=3).requires_grad_()
    divergence = categorical_kl(logits.log_softmax(-1), prior_logits.log_softmax(-1)).sum()
    (gradient,) = torch.autograd.grad(divergence, prior_logits)
    torch.testing.assert_close(gradient, 6 * prior_logits.detach().softmax(-1) - logits.softmax(-1).sum(0))


def test_mutual_information_equals_its_definition():
    probs = random_logits(4, 6, 3).softmax(-1)
    entropies = [[Categorical(probs=row).entropy() for row in sample] for sample in probs]
    of_mean = Categorical(probs=probs.mean(0)).entropy()
    expected = of_mean - torch.tensor(entropies, dtype=torch.float64).mean(0)
    torch.testing.assert_close(mutual_information(probs.log()), expected)


@pytest.mark.parametrize(
    ("samples", "expected"), [([(1.0, 0.0), (0.0, 1.0)], math.log(2)), ([(0.3, 0.7), (0.3, 0.7)], 0.0)]
)
def test_mutual_information_of_full_and_no_disagreement(samples, expected):
    log_probs = torch.stack([log(*sample) for sample in samples])
    assert float(mutual_information(log_probs)) == pytest.approx(expected, abs=1e-12)
