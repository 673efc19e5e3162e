import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import optuna
import pytest
import storage_processes
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from optuna_dashboard import get_note, save_note
from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import Session

from sfgsearch import load_config
from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.cli import main
from sfgsearch.errors import StudyError
from sfgsearch.records import ArchitectureRecord, MonteCarloRecord, Records
from sfgsearch.records._models import ArchitectureRow
from sfgsearch.search import copy_study, create_study, current_finalists, load_study
from sfgsearch.search._transfer import is_unfinished_copy
from sfgsearch.storage import open_storage

RECORD = ArchitectureRecord(
    trial=0,
    role="trial",
    kind="searched",
    name="searched-0",
    backbone={"name": "vgg_small"},
    image_shape=(1, 8, 8),
    tasks=[{"type": "classification", "name": "a", "num_classes": 3}],
    structure={"kind": "allocated"},
    allocation=Allocation(("a", "shared"), (LayerAllocation("conv1", (1, 3)),)),
    seed=2**40,
    epochs=5,
    parameters=123,
    macs=2**33,
    metrics={"validation": {"a/accuracy": 0.5, "a/loss": math.inf}},
    units={"a/accuracy": "fraction"},
    scores={"validation": 0.1 + 0.2},
    training_seconds=1.5,
    probabilities_artifact="artifact",
    weights_artifact="weights",
    weights_digest="0" * 64,
    data_digest="f" * 16,
    monte_carlo=MonteCarloRecord(5, 234, 2**34, {"test": {"a/accuracy": 0.7}}, {"test": 0.3}),
)
SPACE = {"x": FloatDistribution(1e-5, 1, log=True), "kind": CategoricalDistribution(["learned", "searched"])}
NOTE = "long " * 500 + "![picture](/artifacts/{study}/{trial}/abc)"
PARAMS = {"x": 0.1 + 0.2, "kind": "learned"}


@pytest.fixture
def source(tmp_path):
    """A study of every state in SQLite beside another study, with records of both."""
    url = f"sqlite:///{tmp_path}/study.db"
    storage = open_storage(url)
    optuna.create_study(study_name="other", storage=storage).add_trial(create_trial(value=1.0))
    study = optuna.create_study(study_name="study", storage=storage, directions=["minimize"])
    study.set_user_attr("sfgsearch.settings", '{"a": 1}')
    reported = {0: 0.5, 1: math.nan, 2: math.inf}
    common = {"params": PARAMS, "distributions": SPACE, "intermediate_values": reported}
    study.add_trial(
        create_trial(value=0.1 + 0.2, user_attrs={"note": "é"}, system_attrs={"artifacts:1": "{}"}, **common)
    )
    study.add_trial(create_trial(value=math.inf, **common))
    study.add_trial(create_trial(state=TrialState.PRUNED, value=0.5, **common))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"failure": "why"}, **common))
    study.add_trial(create_trial(state=TrialState.RUNNING, **common))
    study.enqueue_trial({"kind": "searched"}, user_attrs={"manual_name": "equal"})
    for name in ("other", "study"):
        Records(storage.engine, name).add(RECORD)
        Records(storage.engine, name).add(replace(RECORD, role="finalist", seed=7))
    first = optuna.Trial(study, study.trials[0]._trial_id)
    save_note(first, NOTE.format(study=study._study_id, trial=first._trial_id))
    storage.engine.dispose()
    return url


def trials_of(url, name="study"):
    storage = open_storage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.engine.dispose()


def records_in(url, name="study"):
    engine = create_engine(url)
    try:
        with Session(engine) as session:
            rows = session.scalars(select(ArchitectureRow).where(ArchitectureRow.study == name)).all()
            times = [row.recorded_at for row in rows]
        return Records(engine, name).all(), times
    finally:
        engine.dispose()


def everything(trial):
    values = [None if trial.values is None else list(trial.values), repr(trial.intermediate_values)]
    attributes = [trial.user_attrs, trial.system_attrs, trial.params, trial.distributions]
    return [trial.number, trial.state, trial.datetime_start, trial.datetime_complete, *values, *attributes]


def assert_is_copy(target, source):
    copied, original = trials_of(target), trials_of(source)
    waits = original[4]
    assert waits.state is TrialState.RUNNING
    waits.state = TrialState.WAITING
    assert [everything(trial) for trial in copied] == [everything(trial) for trial in original]
    assert records_in(target)[0] == records_in(source)[0]


def test_a_study_moves_from_sqlite_to_a_server_and_back(source, postgres, tmp_path):
    target = postgres()
    before = [everything(trial) for trial in trials_of(source)]
    copy_study(source, target, "study")
    assert_is_copy(target, source)
    assert [everything(trial) for trial in trials_of(source)] == before
    assert records_in(target, "other") == ([], [])
    back = f"sqlite:///{tmp_path}/back.db"
    copy_study(target, back, "study")
    assert [everything(trial) for trial in trials_of(back)] == [everything(trial) for trial in trials_of(target)]
    assert records_in(back) == records_in(source)


def test_times_stay_the_same_instant(source, postgres):
    target = postgres()
    postgres.execute(f"ALTER DATABASE {target.split('?')[0].rsplit('/', 1)[1]} SET timezone = 'Asia/Tokyo'")
    copy_study(source, target, "study")
    for naive, aware in zip(records_in(source)[1], records_in(target)[1], strict=True):
        assert aware == naive.replace(tzinfo=UTC)
        assert datetime.now(UTC) - aware < timedelta(minutes=10)


def test_two_studies_move_into_one_database(source, postgres):
    target = postgres()
    for name in ("study", "other"):
        copy_study(source, target, name)
    assert_is_copy(target, source)
    assert records_in(target, "other")[0] == records_in(source, "other")[0]


def test_a_study_that_is_there_is_not_written_over(source, postgres):
    target = postgres()
    copy_study(source, target, "study")
    with pytest.raises(StudyError, match=r"there is a study 'study' in postgresql.* already; give study.name"):
        copy_study(source, target, "study")
    with pytest.raises(StudyError, match="already"):
        copy_study(source, source, "study")
    assert len(trials_of(target)) == 6


def test_what_is_not_there_cannot_be_copied(source, postgres, tmp_path):
    target = postgres()
    with pytest.raises(StudyError, match="no study 'nothing'"):
        copy_study(source, target, "nothing")
    with pytest.raises(StudyError, match="no such file"):
        copy_study(f"sqlite:///{tmp_path}/nothing.db", target, "study")


def test_a_copy_that_dies_is_no_study_and_is_begun_again(source, postgres):
    target = postgres()
    with storage_processes.process(storage_processes.copy_and_die, source, target, "study") as copying:
        copying.join(60)
        assert copying.exitcode == 9
    assert is_unfinished_copy(target, "study")
    assert records_in(target)[0] == []
    copy_study(source, target, "study")
    assert_is_copy(target, source)
    assert not is_unfinished_copy(target, "study")
    engine = create_engine(target)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM studies")).scalar() == 1
    engine.dispose()


def test_records_of_a_deleted_namesake_go(source, postgres):
    target = postgres()
    storage = open_storage(target)
    records = Records(storage.engine, "study")
    records.add(replace(RECORD, trial=99))
    Records(storage.engine, "other").add(RECORD)
    storage.engine.dispose()
    copy_study(source, target, "study")
    assert_is_copy(target, source)
    assert records_in(target, "other")[0] == [RECORD]


def test_failures_are_one_line_without_passwords(source):
    target = "postgresql+psycopg://me:hunter2@127.0.0.1:1/db"
    with pytest.raises(Exception, match="Connection refused") as caught:
        copy_study(source, target, "study")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_notes_of_trials_go_along_with_the_paths_in_them(source, postgres):
    url = postgres()
    storage = open_storage(url)
    optuna.create_study(study_name="before", storage=storage).add_trial(create_trial(value=1.0))
    optuna.create_study(study_name="between", storage=storage)
    copy_study(source, url, "study")
    study = optuna.load_study(study_name="study", storage=storage)
    first, second = (optuna.Trial(study, trial._trial_id) for trial in study.trials[:2])
    assert get_note(first) == NOTE.format(study=study._study_id, trial=first._trial_id)
    assert get_note(second) == ""
    storage.engine.dispose()


@pytest.fixture
def bare(trained_study, tmp_path):
    """A copy of a trained study that Optuna made, without its records, and where it came from."""
    config = load_config(trained_study)
    url = f"sqlite:///{tmp_path}/bare.db"
    optuna.copy_study(
        from_study_name=config.name,
        from_storage=config.storage,
        to_storage=open_storage(url),
        to_study_name=config.name,
    )
    return config.with_overrides(storage=url), config.storage


def test_a_study_without_its_records_is_refused_with_the_remedy(bare):
    config, _ = bare
    message = (
        r"4 of the 4 complete trials of the study 'tiny' have no record.*sfgsearch\.search\.copy_study\(SOURCE_URL"
    )
    for use in (create_study, load_study):
        with pytest.raises(StudyError, match=message):
            use(config)
    assert len(trials_of(config.storage, config.name)) == 4, "nothing was enqueued"


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "launch --workers 1",
        "worker",
        "compare",
        "compare --json",
        "status",
        "show --trial 3",
        "export --trial 3",
    ],
)
def test_every_command_says_in_one_line_that_records_are_missing(bare, monkeypatch, capsys, command):
    config, _ = bare
    monkeypatch.setenv("SFGSEARCH_STORAGE", config.storage)
    name, *options = command.split()
    with pytest.raises(SystemExit) as end:
        main([name, str(config.path), *options, *(["--output", "best.pt2"] if name == "export" else [])])
    said = capsys.readouterr()
    assert end.value.code == 2
    assert said.out == ""
    assert "have no record in the database" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


def test_copy_study_brings_the_records_that_a_copy_of_optunas_lacks(bare):
    config, source = bare
    copy_study(source, config.storage, config.name)
    assert records_in(config.storage, config.name) == records_in(source, config.name)
    assert len(current_finalists(load_study(config), config)) == 5
    with pytest.raises(StudyError, match="already"):
        copy_study(source, config.storage, config.name)


def test_copy_study_brings_no_records_to_another_study_of_the_name(bare, source):
    config, _ = bare
    storage = open_storage(config.storage)
    optuna.create_study(study_name="study", storage=storage).add_trial(create_trial(value=3.0))
    storage.engine.dispose()
    with pytest.raises(StudyError, match="already"):
        copy_study(source, config.storage, "study")
    assert records_in(config.storage)[0] == []
