import itertools

import pytest
import torch

from sfgsearch.functional import variational_objective


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("num_examples", "kl_weight", "length_scale"),
    [*itertools.product([1, 10, 16_594], [0.0, 1.0, 30.0], [0.0, 0.1, 2.0])],
)
def test_it_equals_the_formula(num_examples, kl_weight, length_scale):
    likelihood, kl, norm = 1.7, 23.0, 451.0
    expected = likelihood + kl_weight * kl / num_examples + length_scale * length_scale * norm / (2 * num_examples)
    value = variational_objective(scalar(likelihood), scalar(kl), scalar(norm), num_examples, kl_weight, length_scale)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_the_defaults_are_the_elbo():
    value = variational_objective(scalar(1.0), scalar(3.0), scalar(8.0), 10)
    assert value.item() == pytest.approx(1.0 + (3.0 + 4.0) / 10)


def test_gradients():
    terms = [scalar(1.0), scalar(3.0), scalar(8.0)]
    gradients = torch.autograd.grad(variational_objective(*terms, 10, 2.0, 3.0), terms)
    assert [float(gradient) for gradient in gradients] == pytest.approx([1.0, 0.2, 0.1 * 4.5])
