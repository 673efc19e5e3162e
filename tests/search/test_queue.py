"""Quotas: every kind gets its trials, once."""

from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from sfgsearch.search import enqueue_missing
from sfgsearch.search._queue import FAILURE, drop_surplus, fail_running


@pytest.fixture
def plain():
    return optuna.create_study()


def kinds(study, *states):
    trials = study.get_trials(states=states or None)
    return Counter(trial.system_attrs["fixed_params"]["kind"] for trial in trials)


def test_the_plan_is_enqueued_once(plain, study):
    config = study()
    assert enqueue_missing(plain, config) == 8
    assert kinds(plain) == {"manual": 4, "learned": 2, "searched": 2}
    names = [trial.user_attrs.get("manual_name") for trial in plain.get_trials()]
    assert names[:4] == ["single_task", "hard_sharing", "equal", "constant_probabilities"]
    assert enqueue_missing(plain, config) == 0


def test_a_raised_quota_adds_the_difference(plain, study):
    enqueue_missing(plain, study())
    assert enqueue_missing(plain, study(quota={"learned": 5})) == 3
    assert kinds(plain)["learned"] == 5


def test_a_new_manual_allocation_joins(plain, study):
    enqueue_missing(plain, study())
    assert enqueue_missing(plain, study(manual={"allocations": {"mine": {"*": [0.5, 0.5, 0.0]}}})) == 1
    assert plain.get_trials()[-1].user_attrs["manual_name"] == "mine"


def test_a_lower_budget_drops_waiting_trials(plain, study):
    config = study()
    enqueue_missing(plain, config)
    fewer = config.with_overrides(trials=3)
    assert drop_surplus(plain, fewer) == 5
    assert enqueue_missing(plain, fewer) == 0
    waiting = plain.get_trials(states=(TrialState.WAITING,))
    assert sorted(trial.system_attrs["fixed_params"]["kind"] for trial in waiting) == ["learned", "manual", "searched"]
    assert enqueue_missing(plain, config) == 5


def test_a_manual_candidate_that_is_gone_is_dropped(plain, study):
    enqueue_missing(plain, study())
    fewer = study(manual={"methods": ["equal"]})
    assert drop_surplus(plain, fewer) == 3
    names = [t.user_attrs.get("manual_name") for t in plain.get_trials(states=(TrialState.WAITING,))]
    assert names == ["equal", None, None, None, None]


def test_finished_and_pruned_trials_count(plain, study):
    config = study()
    enqueue_missing(plain, config)
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
        trial = plain.ask()
        trial.set_user_attr(FAILURE, "loss was not finite") if state is TrialState.FAIL else None
        plain.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
    assert enqueue_missing(plain, config) == 0


def test_interrupted_trials_come_again_with_their_parameters(plain, study):
    config = study(manual={"methods": []})
    enqueue_missing(plain, config)
    trial = plain.ask()
    trial.suggest_categorical("kind", ["learned", "searched"])
    drawn = trial.suggest_float("learned.lr", 0.01, 0.1)
    assert fail_running(plain) == 1
    assert enqueue_missing(plain, config) == 1
    again = plain.get_trials(states=(TrialState.WAITING,))[-1]
    assert again.system_attrs["fixed_params"] == {"kind": "learned", "learned.lr": drawn}
    assert enqueue_missing(plain, config) == 0


def test_an_interrupted_trial_is_not_taken_up_twice(plain, study):
    config = study(manual={"methods": []}, quota={"learned": 1, "searched": 0})
    enqueue_missing(plain, config)
    trial = plain.ask()
    trial.suggest_categorical("kind", ["learned", "searched"])
    drawn = trial.suggest_float("learned.lr", 0.01, 0.1)
    fail_running(plain)
    enqueue_missing(plain, config)
    again = plain.ask()
    again.suggest_categorical("kind", ["learned", "searched"])
    assert again.suggest_float("learned.lr", 0.01, 0.1) == drawn
    plain.tell(again, 1.0)
    more = study(manual={"methods": []}, quota={"learned": 2, "searched": 0})
    assert enqueue_missing(plain, more) == 1
    assert plain.get_trials()[-1].system_attrs["fixed_params"] == {"kind": "learned"}


def test_manual_trials_come_first_and_the_others_take_turns(plain, study):
    enqueue_missing(plain, study(manual={"methods": ["equal"]}, quota={"learned": 3, "searched": 1}))
    order = [trial.system_attrs["fixed_params"]["kind"] for trial in plain.get_trials()]
    assert order == ["manual", "learned", "searched", "learned", "learned"]
