"""Records beside Optuna's tables."""

from dataclasses import replace

import optuna
import pytest
from sqlalchemy import create_engine, event, inspect, text

from sfgsearch import __version__
from sfgsearch.allocation import Allocation, LayerAllocation
from sfgsearch.errors import LeaseLostError, RecordsError
from sfgsearch.records import SCHEMA_VERSION, ArchitectureRecord, Lease, MonteCarloRecord, Records

LEARNED = ArchitectureRecord(
    trial=3,
    role="trial",
    kind="learned",
    name="learned-3",
    backbone={"name": "vgg_small", "norm": "batch", "plan": [4, "pool", 6]},
    image_shape=(1, 8, 8),
    tasks=[{"type": "classification", "name": "a", "num_classes": 3}],
    structure={"kind": "allocated", "assignments": {}, "separate": False},
    allocation=Allocation(("a", "b", "shared"), (LayerAllocation("conv1", (1, 1, 2), (0.3, 0.2, 0.5), 0.7),)),
    seed=2**40,
    epochs=5,
    parameters=123,
    macs=2**33,
    metrics={"validation": {"a/accuracy": 0.5, "b/mae": 3.25}},
    units={"a/accuracy": "fraction", "b/mae": "degrees"},
    scores={"validation": 0.25},
    training_seconds=1.5,
    probabilities_artifact="some-id",
    weights_artifact="another-id",
    weights_digest="0" * 64,
    data_digest="f" * 16,
    monte_carlo=MonteCarloRecord(
        samples=5,
        parameters=234,
        macs=2**34,
        metrics={"validation": {"a/accuracy": 0.6, "a/uncertainty": 0.1}, "test": {"a/accuracy": 0.7}},
        scores={"validation": 0.2, "test": 0.3},
    ),
)


@pytest.fixture
def engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'study.db'}")
    yield engine
    engine.dispose()


def test_round_trip(engine):
    Records(engine, "study").add(LEARNED)
    (read,) = Records(engine, "study").all()
    assert read == LEARNED
    assert read.allocation.to_json() == LEARNED.allocation.to_json()
    assert read.package_version == __version__


def test_records_are_selected_by_study_role_and_trial(engine):
    records = Records(engine, "study")
    finalist = replace(LEARNED, role="finalist", seed=7, scores={"validation": 0.2, "test": 0.3})
    other = replace(LEARNED, trial=4)
    for record in (LEARNED, finalist, other):
        records.add(record)
    assert records.all("finalist") == [finalist]
    assert records.all("trial", trial=4) == [other]
    assert Records(engine, "another").all() == []


def test_recording_again_replaces(engine):
    records = Records(engine, "study")
    records.add(LEARNED)
    changed = replace(LEARNED, scores={"validation": 0.125})
    records.add(changed)
    assert records.all() == [changed]


def test_clearing_forgets_one_study_only(engine):
    for name in ("one", "two"):
        Records(engine, name).add(LEARNED)
    Records(engine, "one").clear()
    assert Records(engine, "one").all() == []
    assert Records(engine, "two").all() == [LEARNED]


def test_optuna_and_records_share_a_database(engine):
    url = engine.url.render_as_string()
    Records(engine, "study").add(LEARNED)
    study = optuna.create_study(study_name="study", storage=url)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert Records(engine, "study").all() == [LEARNED]
    assert len(optuna.load_study(study_name="study", storage=url).trials) == 1
    own = {name for name in inspect(engine).get_table_names() if name.startswith("sfgsearch_")}
    assert own == {"sfgsearch_schema", "sfgsearch_architectures", "sfgsearch_metrics", "sfgsearch_jobs"}


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_another_schema_version_is_refused(engine, version):
    Records(engine, "study").create_tables()
    with engine.begin() as connection:
        connection.execute(text("UPDATE sfgsearch_schema SET version = :version"), {"version": version})
    opened_later = create_engine(engine.url)
    with pytest.raises(RecordsError, match=f"schema version {version}"):
        Records(opened_later, "study")
    opened_later.dispose()


def test_reading_creates_nothing(engine):
    assert Records(engine, "study").all() == []
    assert inspect(engine).get_table_names() == []


def test_nothing_is_recorded_for_who_lost_the_job(engine):
    records = Records(engine, "study")
    records.create_tables()
    records.jobs.claim("trial/3", "me", "me", None)
    records.add(LEARNED, Lease(records.jobs, "trial/3", "me", 8.0))
    records.jobs.claim("trial/3", "another", "another", records.jobs.all()["trial/3"])
    with pytest.raises(LeaseLostError, match="belongs to another worker"):
        records.add(replace(LEARNED, parameters=1), Lease(records.jobs, "trial/3", "me", 8.0))
    assert records.all() == [LEARNED]


def test_tables_are_looked_for_once(engine):
    records = Records(engine, "study")
    records.add(LEARNED)
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    records.add(replace(LEARNED, trial=4))
    assert statements
    assert not [statement for statement in statements if "sqlite_master" in statement or "PRAGMA" in statement]
