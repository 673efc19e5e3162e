"""Pruning within a kind."""

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from sfgsearch.search import WithinKindPruner


def finished(kind, value, state=TrialState.COMPLETE):
    return create_trial(
        state=state,
        value=value,
        params={"kind": kind},
        distributions={"kind": CategoricalDistribution(["learned", "searched"])},
        intermediate_values={0: value, 1: value},
    )


def judged(pruner, kind, value):
    study = optuna.create_study(pruner=pruner)
    for _ in range(4):
        study.add_trial(finished("searched", 0.1))
        study.add_trial(finished("learned", 0.5))
    study.enqueue_trial({"kind": kind})
    trial = study.ask()
    trial.suggest_categorical("kind", ["learned", "searched"])
    trial.report(value, 1)
    return trial.should_prune()


def median():
    return optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)


def test_a_learned_trial_is_not_judged_by_searched_ones():
    assert judged(median(), "learned", 0.4), "the plain pruner would stop it"
    assert not judged(WithinKindPruner(median()), "learned", 0.4)
    assert judged(WithinKindPruner(median()), "learned", 0.6)
    assert judged(WithinKindPruner(median()), "searched", 0.4)


def test_successive_halving_works_within_a_kind():
    pruner = WithinKindPruner(optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))
    assert not judged(pruner, "learned", 0.4)


class _Counting:
    """A pruner that counts what it is shown."""

    def __init__(self):
        self.shown = []

    def prune(self, study, _trial):
        self.shown.append(len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))))
        return False


def test_every_trial_is_judged_by_all_that_finished_before_it():
    plain = _Counting()
    study = optuna.create_study(pruner=WithinKindPruner(plain))
    for _ in range(3):
        trial = study.ask()
        trial.suggest_categorical("kind", ["learned", "searched"])
        trial.should_prune()
        study.add_trial(finished(trial.params["kind"], 0.5))
    assert len(plain.shown) == 3
    kinds = [trial.params["kind"] for trial in study.trials[::2]]
    assert plain.shown == [kinds[:index].count(kind) for index, kind in enumerate(kinds)]
