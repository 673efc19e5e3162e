import math

import pytest
import torch

from sfgsearch.functional import linear_depth_prior, simplex, uniform_prior


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_uniform_prior(num_tasks):
    prior = uniform_prior(num_tasks)
    assert prior.dtype == torch.float64
    assert prior.tolist() == pytest.approx([1 / (num_tasks + 1)] * (num_tasks + 1))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("num_layers", [1, 2, 8])
def test_shared_mass_is_linear_in_depth(num_layers, num_tasks):
    first, last = 0.8, 0.2
    prior = linear_depth_prior(num_layers, num_tasks, first, last)
    assert prior.shape == (num_layers, num_tasks + 1)
    assert prior.dtype == torch.float64
    for layer in range(num_layers):
        shared = first + (last - first) * layer / max(num_layers - 1, 1)
        assert float(prior[layer, -1]) == pytest.approx(shared)
        assert prior[layer, :-1].tolist() == pytest.approx([(1 - shared) / num_tasks] * num_tasks)


def test_first_and_last_are_reached():
    shared = linear_depth_prior(5, 2, 0.9, 0.1)[:, -1].tolist()
    assert (shared[0], shared[-1]) == pytest.approx((0.9, 0.1))


@pytest.mark.parametrize("ratio", [(1, 3), (0.25, 0.75), (10.0, 30.0)])
def test_tasks_split_the_rest_by_their_ratio(ratio):
    prior = linear_depth_prior(4, 2, 0.8, 0.2, ratio)
    torch.testing.assert_close(3 * prior[:, 0], prior[:, 1])
    torch.testing.assert_close(prior.sum(1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("first", "last", "named"), [(0.0, 0.5, "first"), (0.5, 1.0, "last"), (math.nan, 0.5, "first")]
)
def test_shared_masses_outside_the_open_interval_are_refused(first, last, named):
    with pytest.raises(ValueError, match=f"{named} must be a shared probability between 0 and 1"):
        linear_depth_prior(3, 2, first, last)


@pytest.mark.parametrize("ratio", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (-1.0, 2.0)])
def test_ratios_that_do_not_fit_are_refused(ratio):
    with pytest.raises(ValueError, match="task_ratio must be 2 positive numbers"):
        linear_depth_prior(3, 2, 0.8, 0.2, ratio)


def test_simplex_accepts_and_normalises():
    point = simplex([0.33333, 0.33333, 0.33333], 3)
    assert point.dtype == torch.float64
    assert float(point.sum()) == pytest.approx(1, abs=1e-15)


def test_simplex_accepts_tensors():
    assert simplex(torch.tensor([0.25, 0.75], requires_grad=True), 2).tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        ([0.5, 0.5], "prior must be 3 numbers"),
        ([0.25] * 4, "prior must be 3 numbers"),
        ([[0.2, 0.3, 0.5]], "prior must be 3 numbers"),
        ([0.5, 0.5, 0.0], "prior must all be positive"),
        ([0.7, 0.5, -0.2], "prior must all be positive"),
        ([0.5, 0.5, math.nan], "prior must all be positive"),
        ([0.2, 0.3, 0.4], "prior must sum to one"),
        ([1.0, 1.0, 1.0], "prior must sum to one"),
    ],
)
def test_simplex_explains_what_is_off(probs, message):
    with pytest.raises(ValueError, match=message):
        simplex(probs, 3, "prior")
