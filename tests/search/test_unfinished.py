import optuna
import pytest
from optuna.trial import TrialState

from sfgsearch.search._unfinished import unfinished_trials
from sfgsearch.storage import open_storage


@pytest.mark.parametrize("place", ["database", "memory"])
def test_running_trials_come_first_and_finished_ones_not(place, tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/study.db") if place == "database" else None
    study = optuna.create_study(storage=storage)
    other = optuna.create_study(storage=storage) if storage else study
    for _ in range(5):
        study.enqueue_trial({})
    if other is not study:
        other.enqueue_trial({})
    running, done = study.ask(), study.ask()
    study.tell(done, 1.0)
    study._storage.set_trial_state_values(study.trials[3]._trial_id, TrialState.RUNNING)
    states = (TrialState.RUNNING, TrialState.RUNNING, TrialState.WAITING, TrialState.WAITING)
    found = unfinished_trials(study)
    assert [(trial.number, trial.state) for trial in found] == list(zip((0, 3, 2, 4), states, strict=True))
    assert [trial.id for trial in found] == [study.trials[trial.number]._trial_id for trial in found]
    assert found[0].id == running._trial_id
    if storage:
        storage.engine.dispose()
