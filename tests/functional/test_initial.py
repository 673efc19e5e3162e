import numpy as np
import pytest
import torch
from scipy import stats

from sfgsearch.functional import initial_probs

FAMILIES = ["prior", "fixed", "dirichlet", "near_vertex"]
CENTRES = [(0.5, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1), (0.1, 0.2, 0.3, 0.4)]


def draw(family, num_filters, centre, seed=0, **options):
    centre = torch.tensor(centre, dtype=torch.float64)
    return initial_probs(family, num_filters, centre, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("centre", CENTRES)
def test_rows_are_points_of_the_simplex(family, centre):
    probs = draw(family, 13, centre)
    assert probs.shape == (13, len(centre))
    assert probs.dtype == torch.float64
    assert bool((probs >= 0).all())
    torch.testing.assert_close(probs.sum(1), torch.ones(13, dtype=torch.float64))


@pytest.mark.parametrize("family", ["prior", "fixed"])
def test_all_filters_start_at_the_centre(family):
    probs = draw(family, 4, (0.6, 0.3, 0.1))
    assert torch.equal(probs, torch.tensor([[0.6, 0.3, 0.1]] * 4, dtype=torch.float64))


def test_rows_do_not_share_memory():
    probs = draw("prior", 4, (0.6, 0.4))
    probs[0, 0] = 0.0
    assert float(probs[1, 0]) == 0.6


@pytest.mark.parametrize(
    ("num_filters", "centre", "counts"),
    [(10, (0.6, 0.3, 0.1), [6, 3, 1]), (9, (1 / 3, 1 / 3, 1 / 3), [3, 3, 3]), (7, (0.5, 0.25, 0.25), [3, 2, 2])],
)
def test_near_vertex_deals_filters_in_proportion(num_filters, centre, counts):
    probs = draw("near_vertex", num_filters, centre)
    assert abs(probs.argmax(1).bincount(minlength=3) - torch.tensor(counts)).max() <= 1
    assert int(probs.argmax(1).bincount(minlength=3).sum()) == num_filters


@pytest.mark.parametrize("centre", CENTRES)
def test_near_vertex_probabilities(centre):
    ordered = draw("near_vertex", 20, centre).sort(1, descending=True).values
    assert ordered[:, 0].tolist() == pytest.approx([0.99] * 20)
    rest = 0.01 / (len(centre) - 1)
    assert ordered[:, 1:].flatten().tolist() == pytest.approx([rest] * (20 * (len(centre) - 1)))


@pytest.mark.parametrize("concentration", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("centre", CENTRES)
def test_dirichlet_moments(centre, concentration):
    rows = 20_000
    probs = draw("dirichlet", rows, centre, concentration=concentration)
    mean = torch.tensor(centre, dtype=torch.float64)
    variance = mean * (1 - mean) / (concentration * len(centre) + 1)
    assert bool(((probs.mean(0) - mean).abs() < 5 * (variance / rows).sqrt()).all())
    torch.testing.assert_close(probs.var(0), variance, rtol=0.06, atol=0)


def test_dirichlet_with_a_uniform_centre_is_uniform_on_the_simplex():
    first = draw("dirichlet", 5000, (1 / 3, 1 / 3, 1 / 3))[:, 0]
    assert stats.kstest(first.numpy(), stats.beta(1, 2).cdf).pvalue > 1e-3


def test_dirichlet_draws_are_fixed_by_the_generator():
    assert torch.equal(draw("dirichlet", 5, (0.5, 0.5), seed=1), draw("dirichlet", 5, (0.5, 0.5), seed=1))
    assert not torch.equal(draw("dirichlet", 5, (0.5, 0.5), seed=1), draw("dirichlet", 5, (0.5, 0.5), seed=2))


def test_layers_that_share_a_generator_differ():
    generator, centre = torch.Generator().manual_seed(0), torch.tensor([0.5, 0.5])
    first, second = (initial_probs("dirichlet", 5, centre, generator) for _ in range(2))
    assert not torch.equal(first, second)


def test_dirichlet_leaves_global_states_alone():
    state, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    draw("dirichlet", 5, (0.5, 0.5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match="prior, fixed, dirichlet or near_vertex, got 'gauss'"):
        draw("gauss", 3, (0.5, 0.5))
