import copy
import math

import pytest
import torch

from sfgsearch.nn import FilterGroups, GateSampling


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_probs(num_filters, num_tasks, seed=0):
    return torch.randn(num_filters, num_tasks + 1, generator=seeded(seed), dtype=torch.float64).softmax(1)


def random_groups(num_filters=6, num_tasks=2, **options):
    return FilterGroups(num_filters, num_tasks, initial=random_probs(num_filters, num_tasks), **options).double()


def kl_by_loops(probs, prior):
    return sum(p * math.log(p / q) for row in probs.tolist() for p, q in zip(row, prior, strict=True))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_shapes_and_types(num_tasks):
    groups = FilterGroups(6, num_tasks)
    assert groups.probs.shape == (6, num_tasks + 1)
    assert groups.sample(1.0).shape == (6, num_tasks + 1)
    assert groups.kl().shape == ()
    assert groups.entropy().shape == (6,)
    assert groups.assignment().shape == (6,)
    assert groups.assignment().dtype == torch.int64


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("given", [True, False], ids=["given", "uniform"])
def test_kl_is_the_sum_over_filters(num_tasks, given):
    prior = [(index + 1) / ((num_tasks + 1) * (num_tasks + 2) / 2) for index in range(num_tasks + 1)]
    uniform = [1 / (num_tasks + 1)] * (num_tasks + 1)
    probs = random_probs(6, num_tasks)
    groups = FilterGroups(6, num_tasks, prior if given else None, initial=probs)
    assert groups.kl().item() == pytest.approx(kl_by_loops(probs, prior if given else uniform), rel=1e-5)


def test_entropy_of_every_filter():
    groups = random_groups()
    expected = [-sum(p * math.log(p) for p in row) for row in groups.probs.tolist()]
    assert groups.entropy().tolist() == pytest.approx(expected, rel=1e-6)


def test_probabilities_start_where_they_are_told():
    torch.testing.assert_close(random_groups().probs, random_probs(6, 2), rtol=1e-6, atol=1e-6)
    point = torch.tensor([0.2, 0.3, 0.5])
    torch.testing.assert_close(FilterGroups(4, 2, initial=point).probs, point.expand(4, 3))
    torch.testing.assert_close(FilterGroups(4, 2, point).probs, point.expand(4, 3))


def test_groups_that_start_at_the_prior_have_no_divergence():
    assert FilterGroups(4, 2, [0.2, 0.3, 0.5]).kl().item() == pytest.approx(0, abs=1e-6)


def test_initial_probabilities_of_zero_stay_finite():
    groups = FilterGroups(2, 2, initial=torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]))
    sample = groups.sample(0.01)
    (gradient,) = torch.autograd.grad(groups.kl() + (sample * sample).sum(), groups.logits)
    assert bool(gradient.isfinite().all())
    assert groups.probs[0].tolist() == pytest.approx([1, 0, 0])


def test_assignment_is_the_most_probable_group():
    groups = FilterGroups(3, 2, initial=torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]))
    assert groups.assignment().tolist() == [2, 0, 1]


def test_a_learned_prior_receives_gradient():
    groups = random_groups(learn_prior=True)
    (gradient,) = torch.autograd.grad(groups.kl(), groups.prior_logits)
    expected = 6 * torch.full((3,), 1 / 3).double() - groups.probs.detach().sum(0)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


def test_empirical_bayes_moves_the_prior_to_the_mean_of_the_posteriors():
    groups = random_groups(learn_prior=True)
    optimiser = torch.optim.SGD([groups.prior_logits], lr=0.2)
    for _ in range(200):
        optimiser.zero_grad()
        groups.kl().backward()
        optimiser.step()
    torch.testing.assert_close(groups.log_prior.exp(), groups.probs.mean(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("learn", "learn_prior", "expected"),
    [
        (True, False, {"logits"}),
        (True, True, {"logits", "prior_logits"}),
        (False, False, set()),
        (False, True, {"prior_logits"}),
    ],
)
def test_what_is_learned(learn, learn_prior, expected):
    groups = FilterGroups(4, 2, learn=learn, learn_prior=learn_prior)
    assert {name for name, _ in groups.named_parameters()} == expected
    assert set(groups.state_dict()) == {"logits", "prior_logits"}


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([0.5, 0.5], "prior must be 3 numbers"),
        ([0.25] * 4, "prior must be 3 numbers"),
        ([0.5, 0.5, 0.0], "prior must all be positive"),
        ([0.9, 0.9, -0.8], "prior must all be positive"),
        ([0.5, 0.4, 0.2], "prior must sum to one"),
    ],
)
def test_bad_priors_are_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        FilterGroups(4, 2, prior)


@pytest.mark.parametrize(
    "initial",
    [
        torch.full((3, 3), 1 / 3),
        torch.full((2,), 1 / 2),
        torch.tensor([0.5, 0.6, -0.1]),
        torch.tensor([0.5, 0.4, 0.2]),
        torch.tensor([0.5, 0.5, math.nan]),
    ],
)
def test_bad_initial_probabilities_are_refused(initial):
    with pytest.raises(ValueError, match="initial"):
        FilterGroups(4, 2, initial=initial)


@pytest.mark.parametrize(("num_filters", "num_tasks"), [(0, 2), (4, 0), (-1, 2)])
def test_numbers_below_one_are_refused(num_filters, num_tasks):
    with pytest.raises(ValueError, match="num_filters and num_tasks must be at least 1"):
        FilterGroups(num_filters, num_tasks)


@pytest.mark.parametrize("hard", [False, True])
def test_samples_follow_the_probabilities(hard):
    groups, generator, draws = random_groups(2), seeded(1), 3000
    picks = torch.stack([groups.sample(0.5, hard, generator).argmax(1) for _ in range(draws)])
    for filter_index, row in enumerate(groups.probs.tolist()):
        for group, prob in enumerate(row):
            share = float((picks[:, filter_index] == group).double().mean())
            assert abs(share - prob) < 4 * math.sqrt(prob * (1 - prob) / draws)


def test_samples_are_fixed_by_the_generator():
    groups = random_groups()
    assert torch.equal(groups.sample(1.0, generator=seeded(1)), groups.sample(1.0, generator=seeded(1)))
    assert set(groups.sample(1.0, hard=True).unique().tolist()) == {0.0, 1.0}


def test_samples_carry_gradient_to_the_logits():
    for hard in (False, True):
        groups = random_groups()
        (gradient,) = torch.autograd.grad(groups.sample(1.0, hard)[:, 0].sum(), groups.logits)
        assert bool((gradient != 0).all())


def test_a_cold_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature must be positive"):
        random_groups().sample(0.0)


def test_training_samples_as_told():
    groups = random_groups(sampling=GateSampling(0.3, hard=True, generator=seeded(1)))
    assert torch.equal(groups(), groups.sample(0.3, hard=True, generator=seeded(1)))


def test_evaluation_gives_the_most_probable_gates():
    groups = random_groups().eval()
    assert torch.equal(groups(), torch.nn.functional.one_hot(groups.probs.argmax(1), 3).double())


@pytest.mark.parametrize("training", [True, False])
def test_a_fixed_assignment_holds_in_both_modes_until_released(training):
    groups = random_groups(4).train(training)
    groups.fix(torch.tensor([2, 0, 1, 2]))
    gates = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).double()
    assert torch.equal(groups(), gates)
    groups.fix(None)
    assert torch.equal(groups.eval()(), torch.nn.functional.one_hot(groups.assignment(), 3).double())


@pytest.mark.parametrize("assignment", [[0, 1], [0, 1, 2, 3], [0, 1, 2, -1], [[0, 1, 2, 0]]])
def test_bad_assignments_are_refused(assignment):
    with pytest.raises(ValueError, match=r"each of 4 filters a group 0\.\.2"):
        random_groups(4).fix(torch.tensor(assignment))


def test_a_table_of_several_layers_has_a_prior_for_each():
    priors = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    groups = FilterGroups(5, 2, priors, sizes=[2, 3], learn_prior=True)
    expected = priors[[0, 0, 1, 1, 1]]
    torch.testing.assert_close(groups.probs, expected)
    torch.testing.assert_close(groups.log_prior.exp(), priors)
    assert groups.kl().item() == pytest.approx(0, abs=1e-6)
    probs = random_probs(5, 2)
    divergence = sum(
        kl_by_loops(part, prior) for part, prior in zip(probs.split([2, 3]), priors.double().tolist(), strict=True)
    )
    groups = FilterGroups(5, 2, priors, initial=probs, sizes=[2, 3])
    assert groups.kl().item() == pytest.approx(divergence, rel=1e-5)


def test_without_a_prior_every_layer_of_a_table_has_the_uniform_one():
    groups = FilterGroups(5, 2, sizes=[2, 3])
    torch.testing.assert_close(groups.log_prior.exp(), torch.full((2, 3), 1 / 3))
    assert groups.probs.shape == (5, 3)


@pytest.mark.parametrize(
    ("prior", "sizes", "message"),
    [
        (None, [2, 2], "sizes must sum to 5 filters, got 4"),
        ([[0.2, 0.3, 0.5]], [2, 3], "prior must have a row for each of 2 layers, got 1"),
        ([[0.2, 0.3, 0.5], [0.5, 0.5, 0.5]], [2, 3], "prior must sum to one"),
    ],
)
def test_tables_that_do_not_fit_are_refused(prior, sizes, message):
    with pytest.raises(ValueError, match=message):
        FilterGroups(5, 2, prior, sizes=sizes)


def test_copies_of_a_network_share_one_sampling_object_of_their_own():
    sampling = GateSampling(0.5, generator=seeded(1))
    network = torch.nn.ModuleList(FilterGroups(4, 2, sampling=sampling) for _ in range(2))
    first, second = copy.deepcopy(network)
    assert first.sampling is second.sampling
    assert first.sampling is not sampling
    assert first.sampling.temperature == 0.5
    assert first.sampling.generator is sampling.generator


def test_filters_may_be_off():
    prior = torch.tensor([0.2, 0.3, 0.5])
    groups = FilterGroups(4000, 2, prior, off=True)
    torch.testing.assert_close(groups.probs, (0.9 * prior).expand(4000, 3))
    assert groups.kl().item() == pytest.approx(0, abs=1e-3)
    gates = groups.sample(0.7, hard=True, generator=seeded(0))
    assert gates.shape == (4000, 3)
    assert set(gates.sum(1).tolist()) == {0.0, 1.0}
    assert float((gates.sum(1) == 0).float().mean()) == pytest.approx(0.1, abs=0.02)
    with torch.no_grad():
        groups.logits[:7, 3] += 5
    assert groups.assignment().eq(3).nonzero().flatten().tolist() == list(range(7))
    groups.fix(groups.assignment())
    assert groups().sum(1)[:8].tolist() == [0.0] * 7 + [1.0]
    with pytest.raises(ValueError, match=r"a group 0\.\.2"):
        FilterGroups(3, 2).fix(torch.tensor([0, 3, 1]))


def test_entropy_and_divergence_count_being_off():
    groups = FilterGroups(1, 1, [0.5, 0.5], initial=torch.tensor([0.25, 0.75]), off=True)
    probs, prior = [0.225, 0.675, 0.1], [0.45, 0.45, 0.1]
    assert groups.kl().item() == pytest.approx(kl_by_loops(torch.tensor([probs]), prior), rel=1e-5)
    assert groups.entropy().item() == pytest.approx(-sum(p * math.log(p) for p in probs), rel=1e-5)
