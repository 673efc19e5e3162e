from collections import Counter

import optuna
import pytest
import storage_processes
from optuna.trial import TrialState

from sfgsearch import create_study
from sfgsearch.errors import RecordsError
from sfgsearch.search import records_of

METHODS = ["equal", "single_task", "constant_probabilities"]


@pytest.mark.slow
def test_processes_that_start_together_make_one_study(postgres, study_file):
    url = postgres()
    path = study_file(manual={"methods": METHODS}, quota={"learned": 3, "searched": 2})
    assert storage_processes.run_at_once(6, storage_processes.create_study_of, str(path), url) == [0] * 6
    storage = optuna.storages.RDBStorage(url)
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.study_name == "tiny"
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert {trial.state for trial in study.trials} == {TrialState.WAITING}
    kinds = Counter(trial.system_attrs["fixed_params"]["kind"] for trial in study.trials)
    assert kinds == {"manual": 3, "learned": 3, "searched": 2}
    assert sorted(trial.user_attrs["manual_name"] for trial in study.trials[:3]) == sorted(METHODS)
    assert records_of(study).all() == []
    storage.engine.dispose()


def test_a_refused_password_is_one_line_without_it(postgres, study):
    url = postgres.over_network(postgres(), "secretive", "hunter4")
    postgres.require_password("secretive", "hunter2")
    with pytest.raises(RecordsError, match="password authentication failed") as caught:
        create_study(study(study={"storage": url}))
    assert "hunter" not in str(caught.value)
    assert "\n" not in str(caught.value)
