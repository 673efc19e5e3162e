"""The names of Optuna that are not public, as we use them: if a release changes one, these tests say which."""

import ast
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

import sfgsearch
from sfgsearch import _optuna
from sfgsearch.storage import open_storage

PACKAGE = Path(sfgsearch.__file__).parent


@pytest.fixture
def study(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    yield optuna.create_study(study_name="contract", storage=storage)
    storage.engine.dispose()


def test_a_study_leads_to_its_storage_and_its_engine(study):
    assert _optuna.storage_of(study).get_study_name_from_id(_optuna.study_id(study)) == "contract"
    assert _optuna.engine_of(study) is _optuna.engine_of(_optuna.storage_of(study))
    assert _optuna.engine_of(study).dialect.name == "sqlite"
    assert _optuna.engine_of(optuna.create_study()) is None


def test_a_trial_that_waits_is_begun_once_and_goes_on_elsewhere(study):
    study.enqueue_trial({"x": 0.5})
    (waiting,) = study.get_trials()
    assert _optuna.enqueued_params(waiting) == {"x": 0.5}
    assert _optuna.set_state(study, waiting, TrialState.RUNNING)
    assert not _optuna.set_state(study, waiting, TrialState.RUNNING)
    again = optuna.load_study(study_name="contract", storage=_optuna.storage_of(study))
    trial = _optuna.resume(again, waiting)
    assert _optuna.trial_id(trial) == _optuna.trial_id(waiting)
    assert trial.suggest_float("x", 0, 1) == 0.5
    trial.report(1.0, 3)
    assert 3 in _optuna.reported_steps(_optuna.resume(again, waiting))
    assert 2 not in _optuna.reported_steps(trial)
    again.tell(trial.number, 1.0)
    with pytest.raises(UpdateFinishedTrialError):
        _optuna.set_state(study, waiting, TrialState.RUNNING)


def test_what_nobody_enqueued_has_no_parameters_of_that_kind(study):
    study.ask()
    assert _optuna.enqueued_params(study.trials[0]) is None


def test_artifacts_are_found_by_name_also_where_the_dashboard_deleted_one(study, tmp_path):
    store, file, trial = optuna.artifacts.FileSystemArtifactStore(tmp_path), tmp_path / "a.txt", study.ask()
    file.write_text("a")
    kept, deleted = (
        optuna.artifacts.upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial)
        for _ in range(2)
    )
    trial.storage.set_trial_system_attr(_optuna.trial_id(trial), f"artifacts:{deleted}", "null")
    assert _optuna.artifact_ids(study.trials[0].system_attrs) == {"a.txt": kept}


PRIVATE = {"_storage", "_study_id", "_trial_id", "_backend", "_cached_frozen_trial", "_study", "_optimize"}


def private_names(tree):
    """Yield what a module imports of other packages' private parts, and what looks like Optuna's private attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("sfgsearch"):
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            yield from (name for name in names if name.startswith("_") and not name.startswith("__"))
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE and ast.unparse(node.value) != "self":
            yield node.attr


def test_no_other_module_uses_private_names_of_optuna():
    found = {
        file.relative_to(PACKAGE).as_posix(): sorted(set(private_names(ast.parse(file.read_text()))))
        for file in PACKAGE.rglob("*.py")
    }
    assert {file: names for file, names in found.items() if names and file != "_optuna.py"} == {}
    assert {"_storage", "_study_id", "_trial_id"} <= set(found["_optuna.py"]), "the test sees them"
