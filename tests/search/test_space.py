"""What trials are asked: learned settings and searched proportions."""

import numpy as np
import optuna
import pytest
from optuna.trial import FixedTrial
from scipy.stats import beta, kstest

from sfgsearch.config import Choices, Fixed, LearnedSection, Range, SearchedSection
from sfgsearch.search._space import suggest, suggest_learned, suggest_searched

FILTERS = {"conv1": 1000, "conv2": 1000}


def ask(study=None):
    return (study or optuna.create_study()).ask()


def test_a_fixed_setting_is_no_parameter():
    trial = ask()
    assert suggest(trial, "x", Fixed(3.0)) == 3.0
    assert trial.params == {}


def test_choices_and_ranges_are_parameters():
    trial = ask()
    assert suggest(trial, "choice", Choices(("a", "b"))) in ("a", "b")
    assert 0.1 <= suggest(trial, "range", Range(0.1, 10.0, log=True)) <= 10
    assert trial.distributions["range"].log


def test_vectors_are_chosen_by_their_json():
    trial = FixedTrial({"probs": "[0.2, 0.8]"})
    assert suggest(trial, "probs", Choices(((0.5, 0.5), (0.2, 0.8)))) == (0.2, 0.8)


def section(**changes):
    return LearnedSection.model_validate(changes)


def test_names_are_the_keys_of_the_study_file():
    learned = section(
        lr={"low": 0.01, "high": 0.1},
        execution=["dense", "streams"],
        settle={"low": 0.0, "high": 0.95},
        temperature={"schedule": ["linear", "cosine"], "start": {"low": 1.0, "high": 2.0}},
        prior={"family": ["linear"], "first": {"low": 0.5, "high": 0.9}},
        initial={"family": ["dirichlet", "near_vertex"]},
    )
    trial = FixedTrial(
        {
            "learned.lr": 0.05,
            "learned.execution": "streams",
            "learned.settle": 0.25,
            "learned.temperature.schedule": "cosine",
            "learned.temperature.start": 1.5,
            "learned.prior.family": "linear",
            "learned.prior.first": 0.7,
            "learned.initial.family": "near_vertex",
        }
    )
    settings = suggest_learned(trial, learned)
    assert (settings.lr, settings.kl_weight, settings.hard) == (0.05, 1.0, True)
    assert (settings.execution, settings.settle) == ("streams", 0.25)
    assert (settings.temperature.family, settings.temperature.start) == ("cosine", 1.5)
    assert (settings.prior.family, settings.prior.first, settings.prior.last) == ("linear", 0.7, 0.2)
    assert settings.initial.family == "near_vertex"


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({"temperature": {"schedule": "constant", "end": [0.1, 0.2]}}, "learned.temperature.end"),
        ({"temperature": {"rate": [1e-4, 1e-3], "end": [0.1, 0.2]}}, "learned.temperature.end"),
        ({"temperature": {"schedule": "linear", "rate": [1e-4, 1e-3]}}, "learned.temperature.rate"),
        ({"prior": {"family": "uniform", "first": [0.5, 0.6]}}, "learned.prior.first"),
        ({"initial": {"family": "prior", "concentration": [1.0, 2.0]}}, "learned.initial.concentration"),
    ],
)
def test_parameters_that_a_choice_makes_idle_are_not_asked_for(changes, idle):
    trial = ask()
    suggest_learned(trial, section(**changes))
    assert idle not in trial.params


def draw(concentration, draws=2000):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    searched = SearchedSection(concentration=concentration)
    drawn = []
    for _ in range(draws):
        allocation = suggest_searched(ask(study), searched, {"conv1": 100_000}, ("a", "b"))
        drawn.append(np.array(allocation.layers[0].counts) / 100_000)
    return np.array(drawn)


@pytest.mark.parametrize("alpha", [[1.0, 1.0, 1.0], [0.5, 2.0, 4.0]])
def test_proportions_are_dirichlet(alpha):
    """Every margin of a Dirichlet is a beta distribution; the covariance tells how groups trade off."""
    drawn, total = draw(alpha if alpha[0] != alpha[1] else 1.0), sum(alpha)
    for group, own in enumerate(alpha):
        assert kstest(drawn[:, group], beta(own, total - own).cdf).pvalue > 1e-3
    covariance = -alpha[0] * alpha[1] / (total**2 * (total + 1))
    assert np.cov(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(covariance, abs=0.005)


def test_searched_parameters_are_one_fewer_than_groups():
    trial = ask()
    allocation = suggest_searched(trial, SearchedSection(), FILTERS, ("a", "b"))
    assert set(trial.params) == {f"searched.{layer}.{group}" for layer in FILTERS for group in ("shared", "a")}
    assert allocation.groups == ("a", "b", "shared")
    allocation.check_fits(FILTERS, ("a", "b"))


def test_extreme_quantiles_are_corners_of_the_simplex():
    corner = FixedTrial({"searched.conv1.shared": 1.0, "searched.conv1.a": 0.0})
    assert suggest_searched(corner, SearchedSection(), {"conv1": 8}, ("a", "b")).layers[0].counts == (0, 0, 8)
    corner = FixedTrial({"searched.conv1.shared": 0.5, "searched.conv1.a": 1.0})
    assert suggest_searched(corner, SearchedSection(), {"conv1": 8}, ("a", "b")).layers[0].counts[1] == 0
