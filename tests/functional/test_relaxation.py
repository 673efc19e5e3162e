import pytest
import torch
from scipy import stats

from sfgsearch.functional import gumbel_softmax

TEMPERATURES = [0.01, 0.1, 1.0, 10.0]
POINTS = [
    [0.5, 0.5],
    [1 / 3, 1 / 3, 1 / 3],
    [0.7, 0.2, 0.1],
    [0.98, 0.015, 0.005],
    [1e-6, 1 - 2e-6, 1e-6],
    [0.4, 0.3, 0.2, 0.1],
]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_log_probs(rows=6, groups=3, seed=0):
    return torch.randn(rows, groups, generator=seeded(seed), dtype=torch.float64).log_softmax(-1)


def softmax_gradient(sample, upstream, temperature):
    """Return v -> J^T v of z = softmax(x / tau), from dz_i / dx_j = z_i (delta_ij - z_j) / tau."""
    gradient = torch.zeros_like(sample)
    rows, groups = sample.shape
    for row in range(rows):
        for i in range(groups):
            for j in range(groups):
                derivative = sample[row, i] * (float(i == j) - sample[row, j]) / temperature
                gradient[row, j] += upstream[row, i] * derivative
    return gradient


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_hard_samples_are_exactly_one_hot(temperature):
    sample = gumbel_softmax(random_log_probs(500).float(), temperature, hard=True, generator=seeded(1))
    assert torch.equal(sample.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]).expand(500, 3))


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_hard_sample_is_the_largest_entry_of_the_relaxed_one(temperature):
    log_probs = random_log_probs(200)
    relaxed = gumbel_softmax(log_probs, temperature, generator=seeded(1))
    hard = gumbel_softmax(log_probs, temperature, hard=True, generator=seeded(1))
    assert torch.equal(hard.argmax(-1), relaxed.argmax(-1))


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradient_is_that_of_the_relaxed_sample(temperature, hard):
    log_probs = random_log_probs().requires_grad_()
    upstream = torch.randn(6, 3, generator=seeded(2), dtype=torch.float64)
    relaxed = gumbel_softmax(log_probs.detach(), temperature, generator=seeded(1))
    sample = gumbel_softmax(log_probs, temperature, hard=hard, generator=seeded(1))
    (gradient,) = torch.autograd.grad((sample * upstream).sum(), log_probs)
    torch.testing.assert_close(gradient, softmax_gradient(relaxed, upstream, temperature), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_it_follows_the_formula_with_noise_that_knows_neither_p_nor_the_temperature(temperature):
    first, second = random_log_probs(seed=0), random_log_probs(seed=5)
    noise = gumbel_softmax(first, 1.0, generator=seeded(1)).log() - first
    expected = ((second + noise) / temperature).exp()
    expected = expected / expected.sum(-1, keepdim=True)
    torch.testing.assert_close(gumbel_softmax(second, temperature, generator=seeded(1)), expected)


def test_the_noise_is_gumbel():
    log_probs = torch.tensor([0.3, 0.7], dtype=torch.float64).log().expand(4000, 2)
    noise = gumbel_softmax(log_probs, 1.0, generator=seeded(3)).log() - log_probs
    # The softmax hides a common shift, so only differences can be seen: two Gumbels differ by a logistic variate.
    assert stats.kstest((noise[:, 0] - noise[:, 1]).numpy(), "logistic").pvalue > 1e-3


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_the_largest_entry_follows_p_at_every_temperature(point, temperature, hard):
    draws = 20_000
    log_probs = torch.tensor(point).log().expand(draws, len(point))
    sample = gumbel_softmax(log_probs, temperature, hard=hard, generator=seeded(4))
    counts = sample.argmax(-1).bincount(minlength=len(point)).tolist()
    for count, prob in zip(counts, point, strict=True):
        assert stats.binomtest(count, draws, prob).pvalue > 1e-4


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_rows_sum_to_one(temperature, hard):
    sample = gumbel_softmax(random_log_probs(50), temperature, hard, seeded(1))
    torch.testing.assert_close(sample.sum(-1), torch.ones(50, dtype=torch.float64))
    assert bool((sample >= 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("smallest", [1e-30, 0.0])
def test_extreme_probabilities_stay_finite_when_cold(smallest, hard, dtype):
    log_probs = torch.tensor([[smallest, 1.0, smallest], [0.5, 0.5, smallest]], dtype=dtype).log().repeat(200, 1)
    log_probs.requires_grad_()
    sample = gumbel_softmax(log_probs, 0.01, hard, seeded(1))
    (gradient,) = torch.autograd.grad((sample * torch.tensor([1.0, -2.0, 3.0], dtype=dtype)).sum(), log_probs)
    assert bool(sample.isfinite().all())
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperatures_that_are_not_positive_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        gumbel_softmax(random_log_probs(), temperature)


def test_a_generator_fixes_the_sample():
    log_probs = random_log_probs()
    sample = gumbel_softmax(log_probs, 1.0, generator=seeded(1))
    assert torch.equal(sample, gumbel_softmax(log_probs, 1.0, generator=seeded(1)))
    assert not torch.equal(sample, gumbel_softmax(log_probs, 1.0, generator=seeded(2)))


def test_a_generator_advances_from_draw_to_draw():
    generator = seeded(1)
    log_probs = random_log_probs()
    assert not torch.equal(
        gumbel_softmax(log_probs, 1.0, generator=generator), gumbel_softmax(log_probs, 1.0, generator=generator)
    )


def test_a_generator_leaves_the_global_state_alone():
    before = torch.random.get_rng_state()
    gumbel_softmax(random_log_probs(), 1.0, generator=seeded(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_default_generator_serves_without_one():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = gumbel_softmax(random_log_probs(), 1.0)
        torch.manual_seed(0)
        assert torch.equal(gumbel_softmax(random_log_probs(), 1.0), first)


def test_it_leaves_its_argument_alone():
    log_probs = random_log_probs()
    before = log_probs.clone()
    gumbel_softmax(log_probs, 1.0, hard=True, generator=seeded(1))
    assert torch.equal(log_probs, before)
