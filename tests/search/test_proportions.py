"""The space of searched trials: its prior, the curve over depth, and the allocations that the search begins with."""

import numpy as np
import optuna
import pytest
from optuna.trial import FixedTrial
from scipy.stats import beta, kstest

from sfgsearch.allocation import Allocation
from sfgsearch.config import SearchedSection
from sfgsearch.functional import linear_depth_prior
from sfgsearch.search._proportions import AllocationSpace, GroupPrior

MANY = 100_000


def space(tasks=2, filters=None, **section):
    names = [chr(ord("a") + index) for index in range(tasks)]
    return AllocationSpace(SearchedSection.model_validate(section), filters or {"conv1": MANY}, names)


def draw(searched, draws=1000):
    """Return the proportions of the first channel space in random trials, shape (draws, T+1)."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return np.array([searched.suggest(study.ask()).layers[0].counts for _ in range(draws)]) / MANY


@pytest.mark.parametrize("kind", ["layers", "curve"])
@pytest.mark.parametrize("tasks", [1, 2, 8, 40])
def test_half_is_shared_in_the_mean_however_many_tasks_there_are(tasks, kind):
    drawn = draw(space(tasks, space=kind), 100)
    assert drawn[:, -1].mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 100))
    assert drawn[:, -1].std() == pytest.approx(np.sqrt(1 / 12), abs=0.05)
    assert drawn[:, :-1].mean() == pytest.approx(0.5 / tasks, rel=0.25)


@pytest.mark.parametrize("alpha", [[1.0, 1.0, 1.0], [0.5, 2.0, 4.0]])
def test_proportions_are_dirichlet_where_the_two_stages_are(alpha):
    """Every margin of a Dirichlet is a beta distribution; the covariance tells how groups trade off."""
    *own, shared = alpha
    drawn, total = draw(space(shared=[shared, sum(own)], concentration=own), 2000), sum(alpha)
    for group, parameter in enumerate(alpha):
        assert kstest(drawn[:, group], beta(parameter, total - parameter).cdf).pvalue > 1e-3
    covariance = -alpha[0] * alpha[1] / (total**2 * (total + 1))
    assert np.cov(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(covariance, abs=0.005)


@pytest.mark.parametrize("mean", [[0.7, 0.3], [0.1, 0.3, 0.6], [0.0, 0.2, 0.0, 0.3, 0.5]])
def test_a_prior_around_a_mean_has_that_mean_and_strength(mean):
    prior = GroupPrior.around(mean, 20.0)
    quantiles = np.random.default_rng(0).random((3000, len(mean) - 1))
    drawn = []
    for shared, *tasks in quantiles:
        part = prior.share_at(shared)
        drawn.append([*((1 - part) * share for share in prior.split_at(tasks)), part])
    drawn = np.array(drawn)
    assert drawn.mean(0) == pytest.approx(np.array(mean), abs=0.01)
    assert drawn[:, -1].var() == pytest.approx(mean[-1] * (1 - mean[-1]) / 21, rel=0.1)


def test_parameters_are_one_fewer_than_groups_and_the_first_is_the_shared_share():
    filters = {"conv1": 1000, "conv2": 1000}
    trial = optuna.create_study().ask()
    allocation = space(filters=filters).suggest(trial)
    assert set(trial.params) == {f"searched.{layer}.{group}" for layer in filters for group in ("shared", "a")}
    assert allocation.groups == ("a", "b", "shared")
    allocation.check_fits(filters, ("a", "b"))
    assert allocation.layers[1].shared == pytest.approx(1000 * trial.params["searched.conv2.shared"], abs=1)


def test_extreme_quantiles_are_corners_of_the_simplex():
    few = space(filters={"conv1": 8})
    corner = FixedTrial({"searched.conv1.shared": 1.0, "searched.conv1.a": 0.0})
    assert few.suggest(corner).layers[0].counts == (0, 0, 8)
    corner = FixedTrial({"searched.conv1.shared": 0.5, "searched.conv1.a": 1.0})
    assert few.suggest(corner).layers[0].counts == (4, 0, 4)


DEEP = {f"conv{index}": MANY for index in range(5)}


def curve(first, last, bend, split=0.5, **section):
    names = ("first", "last", "bend", "tasks.a")
    params = dict(zip((f"searched.curve.{name}" for name in names), (first, last, bend, split), strict=True))
    return space(filters=DEEP, space="curve", **section).suggest(FixedTrial(params))


@pytest.mark.parametrize(("bend", "exponent"), [(0.0, 1.0), (1.0, 4.0), (-0.5, 0.5)])
def test_a_curve_bends_between_its_ends(bend, exponent):
    allocation = curve(0.9, 0.1, bend, 0.25)
    depth = np.linspace(0, 1, 5) ** exponent
    shared = 0.9 - 0.8 * depth
    assert [layer.shared / MANY for layer in allocation.layers] == pytest.approx(shared.tolist(), abs=1e-5)
    own = [layer.counts[0] / MANY for layer in allocation.layers]
    assert own == pytest.approx((0.25 * (1 - shared)).tolist(), abs=1e-5)


def test_a_curve_over_one_channel_space_is_its_first_end():
    params = {f"searched.curve.{name}": value for name, value in (("first", 0.3), ("last", 0.9), ("bend", 0.0))}
    assert space(1, space="curve").suggest(FixedTrial(params)).layers[0].shared == 0.3 * MANY


def test_a_list_lets_optuna_choose_the_space():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    both, seen = space(filters=DEEP, space=["layers", "curve"]), set()
    for _ in range(20):
        trial = study.ask()
        both.suggest(trial)
        is_curve = trial.params["searched.space"] == "curve"
        seen.add(is_curve)
        assert ("searched.curve.bend" in trial.params, "searched.conv0.shared" in trial.params) == (
            is_curve,
            not is_curve,
        )
    assert seen == {True, False}


@pytest.mark.parametrize("width", [5, 64, 511])
@pytest.mark.parametrize("kind", ["layers", "curve", ["curve", "layers"]])
@pytest.mark.parametrize("prior", [{}, {"shared": [0.5, 3.0], "concentration": 2.5}])
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_warm_starts_are_exact(tasks, prior, kind, width):
    filters = {f"conv{index}": width + index for index in range(4)}
    searched = space(tasks, filters, space=kind, **prior)
    hard, equal, linear = (searched.suggest(FixedTrial(params)) for params in searched.warm_starts()["searched"])
    assert hard == Allocation.hard_sharing(filters, searched.tasks)
    assert equal == Allocation.equal(filters, searched.tasks)
    shares = dict(zip(filters, linear_depth_prior(4, tasks, 0.8, 0.2).tolist(), strict=True))
    assert linear == Allocation.from_proportions(filters, searched.tasks, shares)


def test_warm_starts_give_every_parameter_and_none_besides():
    for kind in ("layers", "curve", ["layers", "curve"]):
        searched = space(3, DEEP, space=kind)
        for params in searched.warm_starts()["searched"]:
            study = optuna.create_study()
            study.enqueue_trial(params)
            trial = study.ask()
            searched.suggest(trial)
            assert trial.params == params


def test_the_study_file_says_which_warm_starts():
    assert space(warm_starts=[]).warm_starts()["searched"] == []
    (only,) = space(warm_starts=["equal"]).warm_starts()["searched"]
    assert only == pytest.approx({"searched.conv1.shared": 1 / 3, "searched.conv1.a": 0.5})
