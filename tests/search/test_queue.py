"""Quotas: every kind gets its trials, once."""

from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from sfgsearch.search import enqueue_missing
from sfgsearch.search._outstanding import outstanding_trials, retry_given_up, waits_for_learned
from sfgsearch.search._queue import (
    FAILURE,
    RETRY_WITH,
    drop_surplus,
    requeue_running,
)


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
        if state is TrialState.FAIL:
            trial.set_user_attr(FAILURE, "loss was not finite")
            trial.set_user_attr(RETRY_WITH, "nothing")
        plain.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
    assert enqueue_missing(plain, config) == 0


def fail_next(plain, retry_with):
    """Fail the next trial for a reason, with a parameter that it drew, and return its number and that parameter."""
    trial = plain.ask()
    trial.suggest_categorical("kind", ["learned", "searched"])
    drawn = trial.suggest_float("learned.lr", 0.01, 0.1)
    trial.set_user_attr(FAILURE, "a reason")
    trial.set_user_attr(RETRY_WITH, retry_with)
    plain.tell(trial, state=TrialState.FAIL)
    return trial.number, drawn


@pytest.mark.parametrize("retry_with", ["same", "other"])
def test_a_failed_trial_is_tried_again_up_to_the_limit(plain, study, retry_with):
    config = study(manual={"methods": []}, quota={"learned": 1, "searched": 0}, execution={"retries": 2})
    enqueue_missing(plain, config)
    for attempt in (1, 2):
        number, drawn = fail_next(plain, retry_with)
        assert enqueue_missing(plain, config) == 1
        again = plain.get_trials()[-1]
        wanted = {"kind": "learned", "learned.lr": drawn} if retry_with == "same" else {"kind": "learned"}
        assert again.system_attrs["fixed_params"] == wanted
        assert again.user_attrs == {"retry_of": number, "retries": attempt}
        assert enqueue_missing(plain, config) == 0
    fail_next(plain, retry_with)
    assert enqueue_missing(plain, config) == 0


def test_a_retry_that_succeeds_settles_the_matter(plain, study):
    config = study(manual={"methods": []}, quota={"learned": 1, "searched": 0})
    enqueue_missing(plain, config)
    fail_next(plain, "same")
    enqueue_missing(plain, config)
    plain.tell(plain.ask(), 1.0)
    assert enqueue_missing(plain, config) == 0


def test_running_trials_of_dead_processes_wait_again_with_what_they_have(plain, study):
    config = study(manual={"methods": []}, quota={"learned": 1, "searched": 0})
    enqueue_missing(plain, config)
    trial = plain.ask()
    trial.suggest_categorical("kind", ["learned", "searched"])
    drawn = trial.suggest_float("learned.lr", 0.01, 0.1)
    trial.report(0.5, 0)
    assert requeue_running(plain) == 1
    assert enqueue_missing(plain, config) == 0
    again = plain.ask()
    assert (again.number, again.params["learned.lr"]) == (trial.number, drawn)
    assert plain.get_trials()[0].intermediate_values == {0: 0.5}


def test_a_users_trial_that_was_interrupted_before_it_drew_anything_comes_again(plain, study):
    config = study(manual={"methods": []}, quota={"learned": 0, "searched": 1})
    plain.enqueue_trial({"kind": "learned", "learned.lr": 0.05})
    plain.tell(plain.ask(), state=TrialState.FAIL)
    assert enqueue_missing(plain, config) == 2
    asked = [trial.system_attrs["fixed_params"] for trial in plain.get_trials(states=(TrialState.WAITING,))]
    assert {"kind": "learned", "learned.lr": 0.05} in asked
    assert enqueue_missing(plain, config) == 0


def test_interrupted_trials_come_again_with_their_parameters(plain, study):
    config = study(manual={"methods": []})
    enqueue_missing(plain, config)
    trial = plain.ask()
    trial.suggest_categorical("kind", ["learned", "searched"])
    drawn = trial.suggest_float("learned.lr", 0.01, 0.1)
    plain.tell(trial, state=TrialState.FAIL)
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
    plain.tell(trial, state=TrialState.FAIL)
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


def test_what_a_user_enqueues_beyond_the_quota_stays_and_fills_no_slot(plain, study):
    config = study(manual={"methods": ["equal"]}, quota={"learned": 1, "searched": 0})
    enqueue_missing(plain, config)
    for params in ({"kind": "learned", "learned.lr": 0.05}, {"kind": "manual"}, {"learned.lr": 0.02}):
        plain.enqueue_trial(params)
    assert drop_surplus(plain, config) == 0
    assert enqueue_missing(plain, config) == 0
    more = study(manual={"methods": ["equal"]}, quota={"learned": 2, "searched": 0})
    assert enqueue_missing(plain, more) == 1
    assert outstanding_trials(plain.get_trials(), more).unfinished == 3 + 3
    assert drop_surplus(plain, study(manual={"methods": []}, quota={"learned": 0, "searched": 1})) == 3
    assert len(plain.get_trials(states=(TrialState.WAITING,))) == 3


def test_what_a_user_enqueued_is_tried_again_with_its_own_parameters_and_given_up(plain, study):
    config = study(manual={"methods": []}, quota={"learned": 0, "searched": 1}, execution={"retries": 1})
    enqueue_missing(plain, config)
    plain.tell(plain.ask(), 1.0)
    plain.enqueue_trial({"kind": "learned", "learned.lr": 0.05})
    for attempt in (1, 2):
        assert plain.get_trials()[-1].system_attrs["fixed_params"] == {"kind": "learned", "learned.lr": 0.05}
        number, _ = fail_next(plain, "same")
        assert enqueue_missing(plain, config) == (1 if attempt == 1 else 0)
        assert drop_surplus(plain, config) == 0
    assert [trial.number for trial in outstanding_trials(plain.get_trials(), config).given_up] == [number]
    assert retry_given_up(plain, config) == 1
    assert plain.get_trials()[-1].system_attrs["fixed_params"] == {"kind": "learned", "learned.lr": 0.05}
    fail_next(plain, "other")
    assert enqueue_missing(plain, config) == 0, "other parameters are not what the user asked for"
    assert outstanding_trials(plain.get_trials(), config).unfinished == 0


def test_only_what_the_plan_lacks_is_given_up(plain, study):
    config = study(manual={"methods": []}, quota={"learned": 2, "searched": 0}, execution={"retries": 0})
    enqueue_missing(plain, config)
    number, _ = fail_next(plain, "same")
    given_up = outstanding_trials(plain.get_trials(), config)
    assert ([trial.number for trial in given_up.given_up], given_up.unfinished) == ([number], 1)
    plain.tell(plain.ask(), 1.0)
    fewer = study(manual={"methods": []}, quota={"learned": 1, "searched": 0}, execution={"retries": 0})
    assert outstanding_trials(plain.get_trials(), fewer).given_up == []
    assert retry_given_up(plain, fewer) == 0


WARM = {"searched": [{"searched.x": value} for value in (0.1, 0.2, 0.3)]}


def fixed(study, *states):
    return [trial.system_attrs["fixed_params"].get("searched.x") for trial in study.get_trials(states=states or None)]


def searched_alone(study, number, **sections):
    return study(manual={"methods": []}, quota={"learned": 0, "searched": number}, **sections)


@pytest.mark.parametrize(("quota", "values"), [(2, [0.1, 0.2]), (3, [0.1, 0.2, 0.3]), (5, [0.1, 0.2, 0.3, None, None])])
def test_searched_trials_begin_with_warm_starts_as_far_as_the_quota_goes(plain, study, quota, values):
    assert enqueue_missing(plain, searched_alone(study, quota), WARM) == quota
    assert fixed(plain) == values
    assert enqueue_missing(plain, searched_alone(study, quota), WARM) == 0
    assert enqueue_missing(plain, searched_alone(study, 6), WARM) == 6 - quota
    assert fixed(plain) == [0.1, 0.2, 0.3, None, None, None], "those that were left out come with a higher quota"


def test_a_warm_start_that_fails_is_tried_again_with_its_parameters(plain, study):
    config = searched_alone(study, 4, execution={"retries": 1})
    enqueue_missing(plain, config, WARM)
    trial = plain.ask()
    trial.set_user_attr(FAILURE, "a reason")
    trial.set_user_attr(RETRY_WITH, "same")
    plain.tell(trial, state=TrialState.FAIL)
    assert enqueue_missing(plain, config, WARM) == 1
    assert fixed(plain)[-1] == 0.1
    assert enqueue_missing(plain, config, WARM) == 0


def test_a_warm_start_that_was_interrupted_before_it_drew_anything_comes_again(plain, study):
    config = searched_alone(study, 4)
    enqueue_missing(plain, config, WARM)
    plain.tell(plain.ask(), state=TrialState.FAIL)
    assert enqueue_missing(plain, config, WARM) == 1
    assert sorted(map(str, fixed(plain, TrialState.WAITING))) == ["0.1", "0.2", "0.3", "None"]


def test_warm_starts_that_a_lower_quota_dropped_come_again_with_a_higher_one(plain, study):
    enqueue_missing(plain, searched_alone(study, 4), WARM)
    assert drop_surplus(plain, searched_alone(study, 1)) == 3
    assert fixed(plain, TrialState.WAITING) == [0.1]
    assert enqueue_missing(plain, searched_alone(study, 4), WARM) == 3
    assert fixed(plain, TrialState.WAITING) == [0.1, 0.2, 0.3, None]


REFINED = {"manual": {"methods": []}, "quota": {"learned": 2, "searched": 1, "refined": 2}}


def numbers_of(study, start):
    return [trial.number for trial in study.get_trials() if trial.user_attrs.get("start") == start]


def test_refined_trials_come_last_and_fill_slots_of_their_own(plain, study):
    config = study(**REFINED)
    assert enqueue_missing(plain, config, {"refined": [{"refined.x": 0.5}]}) == 5
    fixed = [trial.system_attrs["fixed_params"] for trial in plain.get_trials()]
    assert fixed[3:] == [{"kind": "searched", "refined.x": 0.5}, {"kind": "searched"}]
    assert numbers_of(plain, "learned") == [3, 4]
    assert enqueue_missing(plain, config) == 0
    more = study(**{**REFINED, "quota": {"learned": 2, "searched": 2, "refined": 3}})
    assert enqueue_missing(plain, more) == 2
    assert numbers_of(plain, "learned") == [3, 4, 6]
    assert drop_surplus(plain, study(**{**REFINED, "quota": {"learned": 2, "searched": 2, "refined": 0}})) == 3
    assert {trial.number for trial in plain.get_trials(states=(TrialState.WAITING,))} == {0, 1, 2, 5}


def end_next(plain, state, **attributes):
    trial = plain.ask()
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    plain.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
    return trial.number


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_refined_trials_are_held_back_until_learned_ones_are_over(plain, study, state):
    config = study(**REFINED)
    enqueue_missing(plain, config)
    assert waits_for_learned(plain.get_trials(), config)
    end_next(plain, state)
    end_next(plain, state)
    assert waits_for_learned(plain.get_trials(), config), "one of two learned trials is over, and the searched one"
    running = plain.ask()
    assert waits_for_learned(plain.get_trials(), config), "the other one runs"
    plain.tell(running, 1.0)
    assert not waits_for_learned(plain.get_trials(), config)
    more = study(**{**REFINED, "quota": {"learned": 3, "searched": 1, "refined": 2}})
    assert waits_for_learned(plain.get_trials(), more), "a learned trial more is asked for"


def test_refined_trials_wait_for_retries_but_not_for_what_failed_for_good(plain, study):
    config = study(**{**REFINED, "quota": {"learned": 1, "searched": 0, "refined": 1}}, execution={"retries": 1})
    enqueue_missing(plain, config)
    end_next(plain, TrialState.FAIL, **{FAILURE: "a reason", RETRY_WITH: "other"})
    assert waits_for_learned(plain.get_trials(), config), "it is not even enqueued again yet"
    assert enqueue_missing(plain, config) == 1
    assert waits_for_learned(plain.get_trials(), config)
    plain.enqueue_trial({"kind": "learned"})
    retry = next(trial for trial in plain.get_trials() if trial.user_attrs.get("retries") == 1)
    plain._storage.set_trial_state_values(retry._trial_id, state=TrialState.RUNNING)
    plain._storage.set_trial_user_attr(retry._trial_id, FAILURE, "a reason")
    plain._storage.set_trial_state_values(retry._trial_id, state=TrialState.FAIL)
    assert not waits_for_learned(plain.get_trials(), config), "what a user enqueued is not waited for either"


def test_a_refined_trial_is_tried_again_from_the_same_learned_trials(plain, study):
    config = study(**{**REFINED, "quota": {"learned": 1, "searched": 0, "refined": 1}})
    enqueue_missing(plain, config)
    end_next(plain, TrialState.COMPLETE)
    number = end_next(plain, TrialState.FAIL, start="0", **{FAILURE: "a reason", RETRY_WITH: "other"})
    assert enqueue_missing(plain, config) == 1
    again = plain.get_trials()[-1]
    assert again.user_attrs == {"start": "0", "retries": 1, "retry_of": number}
    assert not waits_for_learned(plain.get_trials(), config)
