import pytest
import torch

from sfgsearch.methods import InitialSettings, PriorSettings, Randomness


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 40])
def test_a_uniform_prior_favours_no_group(num_tasks):
    prior = PriorSettings("uniform").per_layer(4, num_tasks)
    torch.testing.assert_close(prior, torch.full((4, num_tasks + 1), 1 / (num_tasks + 1), dtype=torch.float64))


@pytest.mark.parametrize("family", ["sharing", "learned"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 40])
def test_a_sharing_prior_shares_one_half_whatever_the_number_of_tasks(family, num_tasks):
    prior = PriorSettings(family).per_layer(4, num_tasks)
    assert prior[:, -1].tolist() == pytest.approx([0.5] * 4)
    torch.testing.assert_close(prior[:, :-1], torch.full((4, num_tasks), 0.5 / num_tasks, dtype=torch.float64))


def test_a_fixed_prior_is_the_same_in_every_layer():
    prior = PriorSettings("fixed", probs=(0.2, 0.3, 0.5)).per_layer(3, 2)
    assert prior.tolist() == [[0.2, 0.3, 0.5]] * 3


def test_a_linear_prior_has_its_ends_and_ratio():
    prior = PriorSettings("linear", first=0.9, last=0.3, task_ratio=(1, 3)).per_layer(3, 2)
    assert prior[0].tolist() == pytest.approx([0.025, 0.075, 0.9])
    assert prior[2].tolist() == pytest.approx([0.175, 0.525, 0.3])


def test_a_fixed_prior_needs_its_point():
    with pytest.raises(ValueError, match="a fixed prior needs probs: 3 numbers"):
        PriorSettings("fixed").per_layer(3, 2)


@pytest.mark.parametrize(
    "settings",
    [
        PriorSettings("fixed", probs=(0.5, 0.5)),
        PriorSettings("fixed", probs=(0.5, 0.5, 0.0)),
        PriorSettings("linear", first=1.5),
        PriorSettings("linear", task_ratio=(1.0,)),
    ],
)
def test_priors_that_do_not_fit_are_refused(settings):
    with pytest.raises(ValueError, match=r"must|needs"):
        settings.per_layer(3, 2)


def test_probabilities_start_at_the_prior_by_default():
    prior = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    assert torch.equal(InitialSettings().draw(4, prior, seeded(0)), prior.expand(4, 3))


@pytest.mark.parametrize("family", ["fixed", "dirichlet", "near_vertex"])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_other_families_start_around_the_uniform_point_by_default(family, num_tasks):
    prior = torch.tensor([0.9] + [0.1 / num_tasks] * num_tasks, dtype=torch.float64)
    probs = InitialSettings(family).draw(1200, prior, seeded(0))
    assert probs.mean(0).tolist() == pytest.approx([1 / (num_tasks + 1)] * (num_tasks + 1), abs=0.04)


def test_initial_points_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="probs must be 3 numbers"):
        InitialSettings("fixed", probs=(0.5, 0.5)).draw(4, torch.full((3,), 1 / 3), seeded(0))


def test_concentration_reaches_the_draws():
    prior = torch.full((3,), 1 / 3, dtype=torch.float64)
    tight, loose = (InitialSettings("dirichlet", concentration=c).draw(500, prior, seeded(0)) for c in (100.0, 0.1))
    assert float(tight.std(0).max()) < 0.1 < float(loose.std(0).min())


def test_a_seed_gives_three_independent_generators():
    device = torch.device("cpu")
    first, again, other = (Randomness.from_seed(seed, device) for seed in (1, 1, 2))

    def draws(randomness):
        return [
            torch.rand(4, generator=generator).tolist()
            for generator in (randomness.weights, randomness.order, randomness.gates)
        ]

    values = draws(first)
    assert values == draws(again)
    assert values[0] != values[1] != values[2] != values[0]
    assert all(mine != theirs for mine, theirs in zip(values, draws(other), strict=True))


def test_seeds_leave_the_global_state_alone():
    before = torch.random.get_rng_state()
    Randomness.from_seed(1, torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), before)
