"""Refined trials: what they start from, and that it does not depend on when or where they begin."""

import json
from itertools import count

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from sfgsearch import Objective, create_study
from sfgsearch.allocation import Allocation
from sfgsearch.comparison import read_comparison, read_status
from sfgsearch.comparison._progress import read_progress
from sfgsearch.search._attributes import allocation_of
from sfgsearch.search._proportions import GroupPrior
from sfgsearch.workers import Worker

SECTIONS = {
    "manual": {"methods": ["equal"]},
    "quota": {"learned": 2, "searched": 1, "refined": 2},
    "sampler": {"name": "random"},
    "pruner": {"name": "none"},
    "comparison": {"seeds": 1, "as_learned": False},
    "training": {"epochs": 1},
    "execution": {"retries": 1, "checkpoint_every": 0.0},
}
NOTHING = "no learned trial is complete that a refined one could start from"
FIRST = 4
"""The number of the first refined trial: after a manual one, two learned ones and a searched one."""


@pytest.fixture
def begin(study):
    def begin(**sections):
        config = study(**{**SECTIONS, **sections})
        objective = Objective(config)
        return create_study(config, objective=objective), objective

    return begin


def test_they_draw_from_a_dirichlet_around_what_the_best_learned_trials_found(begin):
    created, objective = begin(refined={"best": 1, "strength": 5.0})
    created.optimize(objective, n_trials=6)
    learned = min(
        (trial for trial in created.trials if trial.params["kind"] == "learned"),
        key=lambda trial: trial.user_attrs["relative_error"],
    )
    for trial in created.trials[FIRST:]:
        assert trial.user_attrs["start"] == str(learned.number)
        assert trial.user_attrs["name"] == f"refined-{trial.number}"
        assert trial.params["kind"] == "searched"
        for given, layer in zip(allocation_of(learned).layers, allocation_of(trial).layers, strict=True):
            prior = GroupPrior.around(given.mean_probs, 5.0)
            shared = prior.share_at(trial.params[f"refined.{given.name}.shared"])
            assert layer.shared == pytest.approx(shared * layer.num_filters, abs=2), "up to rounding and repairs"
    medians = {name: value for name, value in created.trials[FIRST].params.items() if name != "kind"}
    assert set(medians.values()) == {0.5}
    assert created.trials[FIRST + 1].params.keys() == created.trials[FIRST].params.keys()
    assert set(created.trials[FIRST + 1].params.values()).isdisjoint({0.5})


def trained(created):
    kept = ("name", "start", "relative_error")
    return {
        trial.number: (trial.params, trial.values, [trial.user_attrs.get(key) for key in kept], allocation_of(trial))
        for trial in created.trials
    }


@pytest.mark.slow
def test_workers_take_them_last_whoever_waits_and_as_in_the_undisturbed_twin(begin, monkeypatch):
    """A learned trial that fails at first comes again after the refined ones, which wait for it nevertheless."""
    created, objective = begin()
    assert Worker(created, objective).run() == 0
    twin = trained(created)

    disturbed, objective = begin(study={"folder": "disturbed"})
    train, attempts, order = objective.train, count(), []

    def fail_first(trial, *arguments):
        order.append(trial.number)
        if trial.number == 1 and next(attempts) == 0:
            trial.set_user_attr("failure", "a reason")
            trial.set_user_attr("retry_with", "same")
            raise RuntimeError
        return train(trial, *arguments)

    monkeypatch.setattr(objective, "train", fail_first)
    assert Worker(disturbed, objective).run() == 0
    again = FIRST + 2
    assert order.index(again) < order.index(FIRST)
    found = trained(disturbed)
    assert [found[number][:2] for number in (FIRST, FIRST + 1)] == [twin[number][:2] for number in (FIRST, FIRST + 1)]
    assert [found[number][3] for number in (FIRST, FIRST + 1)] == [twin[number][3] for number in (FIRST, FIRST + 1)]
    assert sorted(found[FIRST][2][1].split(", ")) == ["3", str(again)]


def test_without_a_learned_trial_they_are_given_up_and_named(begin, monkeypatch):
    created, objective = begin(quota={"learned": 1, "searched": 0, "refined": 1})
    train = objective.train

    def fail(trial, *arguments):
        kind = created.get_trials(deepcopy=False)[trial.number].system_attrs["fixed_params"]["kind"]
        if kind == "learned":
            trial.set_user_attr("failure", "a reason")
            trial.set_user_attr("retry_with", "same")
            raise RuntimeError
        return train(trial, *arguments)

    monkeypatch.setattr(objective, "train", fail)
    assert Worker(created, objective).run() == 0
    shortfall = read_progress(created, objective.config).shortfall()
    assert not shortfall.is_unfinished
    missing = {(one.kind, one.reason) for one in shortfall.missing}
    assert missing == {
        ("learned", "a reason"),
        ("refined", NOTHING),
    }
    status = {kind.kind: kind for kind in read_status(created, objective.config).kinds}
    assert (status["refined"].quota, status["refined"].failed, status["refined"].unfinished) == (1, 1, 0)


def test_they_are_a_row_of_their_own_in_the_comparison(begin):
    created, objective = begin()
    assert Worker(created, objective).run() == 0
    found = read_comparison(created, objective.config)
    rows = json.loads(json.dumps(found.to_dict()))["rows"]
    assert [row["kind"] for row in rows] == ["learned", "searched", "searched", "manual"]
    assert rows[1]["name"] == "searched-2"
    assert rows[2]["name"] in ("refined-4", "refined-5")
    assert list(found.best) == ["learned", "searched", "refined", "manual"]
    assert found.spent["searched"].trials == 1
    assert found.spent["refined"].trials == 2
    learned, refined = found.spent["learned"].seconds, found.spent["refined"].seconds
    assert found.time_ratio("refined") == pytest.approx((learned + refined) / learned, abs=1e-3)
    (line,) = (line for line in found.costs() if line.startswith("refined"))
    assert line.endswith("of the learned time, the learned trials that it starts from included)")
    assert not found.shortfall.missing


def test_a_study_of_ones_own_refines_what_is_complete(study):
    plain, objective = optuna.create_study(), Objective(study(**SECTIONS))
    for kind, attributes in (("searched", {"start": "learned"}), ("learned", None), ("searched", {"start": "learned"})):
        plain.enqueue_trial({"kind": kind}, user_attrs=attributes)
    plain.optimize(objective, n_trials=3, catch=(Exception,))
    assert plain.trials[0].user_attrs["failure"] == NOTHING
    assert [trial.state for trial in plain.trials[1:]] == [TrialState.COMPLETE] * 2
    assert plain.trials[2].user_attrs["start"] == "1"


@pytest.mark.parametrize(("tasks", "space"), [(1, "curve"), (5, "layers")])
def test_any_number_of_tasks_is_searched_and_refined(study, tmp_path, tasks, space):
    """Questions about noise: is it above this value, and above that?"""
    images = np.random.default_rng(0).random((30, 8, 8))
    answers = {f"above_{index}": (images[:, 0, index] > 0.5).astype(np.int64) for index in range(tasks)}
    np.savez(tmp_path / "noise.npz", images=images, split=np.repeat(["train", "validation", "test"], 10), **answers)
    questions = {name: {"type": "classification", "num_classes": 2} for name in answers}
    data = {"name": "npz", "pairs_per_digit": None, "path": "noise.npz", "split": "split", "tasks": questions}
    sections = {**SECTIONS, "manual": {"methods": [], "options": None}, "searched": {"space": space}}
    config = study(**{**sections, "data": data, "quota": {"learned": 1, "searched": 4, "refined": 2}})
    objective = Objective(config)
    created = create_study(config, objective=objective)
    created.optimize(objective, n_trials=7)
    assert [trial.state for trial in created.trials] == [TrialState.COMPLETE] * 7
    names = [trial.user_attrs["name"] for trial in created.trials]
    assert names == ["learned-0", *(f"searched-{number}" for number in (1, 2, 3, 4)), "refined-5", "refined-6"]
    filters, wanted = objective.space.filters, objective.space.tasks
    assert allocation_of(created.trials[1]) == Allocation.hard_sharing(filters, wanted)
    drawn = len(created.trials[4].params) - 1
    assert drawn == (tasks * len(filters) if space == "layers" else 3 + tasks - 1)
