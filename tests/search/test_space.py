"""What learned trials are asked."""

import optuna
import pytest
from optuna.trial import FixedTrial

from sfgsearch.config import Choices, Fixed, LearnedSection, Range
from sfgsearch.search._space import suggest, suggest_learned


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
