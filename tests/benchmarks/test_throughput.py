"""Small runs: what they count must be right, however long it takes."""

from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import create_engine

from sfgsearch import Objective
from sfgsearch.errors import BenchmarkError
from sfgsearch.records import Records
from sfgsearch.search import create_study, records_of
from tests.benchmarks import throughput as _throughput
from tests.benchmarks.site import Site
from tests.benchmarks.throughput import ThroughputOptions, check_quota, measure_throughput, summarise


def entry(event, pid, at, cpu):
    return {"event": event, "pid": pid, "at": at, "cpu": cpu}


def test_the_clock_runs_from_the_first_release_to_the_last_end():
    journal = [
        entry("released", 1, 100.0, 5.0),
        entry("released", 2, 100.5, 6.0),
        *(entry("over", pid, 101.0 + pid / 10, 7.0) for pid in (1, 2)),  # those of the start
        *(entry("over", 1, 102.0 + number, 8.0) for number in range(4)),
        *(entry("over", 2, 102.5 + number, 8.5) for number in range(4)),
    ]
    run = summarise(journal, "random", 2, ThroughputOptions(trials_per_worker=4, seconds=1.0))
    assert (run.trials, run.wall_seconds, run.ideal_seconds) == (8, 5.5, 4.0)
    assert run.rate == pytest.approx(8 / 5.5)
    assert run.ratio == pytest.approx(4 / 5.5)
    assert run.ratio == pytest.approx(run.rate / 2), "the ideal rate of two workers is two trials a second"
    assert run.added_seconds == pytest.approx(1.5 / 4)
    assert run.cpu_seconds_per_trial == pytest.approx((3.0 + 2.5) / 8)
    assert run.to_dict()["ratio"] == run.ratio


@pytest.mark.parametrize(("wall", "is_met"), [(4.4, True), (4.5, False)])
def test_a_goal_says_number_and_verdict(wall, is_met):
    journal = [entry("released", 1, 0.0, 0.0), entry("over", 1, wall, 1.0)]
    options = ThroughputOptions(trials_per_worker=4, seconds=1.0)
    found = _throughput.Throughput(options, (summarise(journal, "random", 1, options),))
    (goal,) = found.goals()
    assert goal.is_met is is_met
    assert str(goal).startswith(f"1 worker, random: {4 / wall:.2f} of the ideal rate (goal 0.90): ")
    assert str(goal).endswith("met" if is_met else "MISSED")


@pytest.mark.slow
def test_sleeping_trials_do_all_that_a_real_one_does(postgres, tmp_path, monkeypatch):
    seen, notes, url = {}, [], postgres()

    def look(study, quota):
        check_quota(study, quota)
        seen["trials"], seen["records"] = study.get_trials(), records_of(study).all()
        seen["jobs"] = records_of(study).jobs.all()

    monkeypatch.setattr(_throughput, "check_quota", look)
    options = ThroughputOptions(workers=(2,), trials_per_worker=3, seconds=0.05, epochs=2, samplers=("tpe",))
    found = measure_throughput(Site(tmp_path, url, "a server", notes.append), options)
    (run,) = found.runs
    assert (run.workers, run.trials, run.sampler) == (2, 6, "tpe")
    assert 0 < run.ratio < 1
    assert len(seen["trials"]) == 8, "with the two of the start"
    assert {trial.state for trial in seen["trials"]} == {TrialState.COMPLETE}
    assert Counter(trial.params["kind"] for trial in seen["trials"]) == {"learned": 4, "searched": 4}
    assert all(len(trial.params) > 4 for trial in seen["trials"])
    assert all(list(trial.intermediate_values) == [0, 1] for trial in seen["trials"])
    assert all("relative_error" in trial.user_attrs for trial in seen["trials"])
    assert sorted(record.trial for record in seen["records"]) == list(range(8))
    assert all(record.weights_artifact for record in seen["records"])
    assert all(job.finished and job.claims == 1 for job in seen["jobs"].values())
    assert len({job.worker for job in seen["jobs"].values()}) == 2
    assert notes == ["throughput: 2 workers, sampler tpe"]
    engine = create_engine(url)
    assert optuna.get_all_study_names(url) == []
    assert Records(engine, "any").jobs.all() == {}
    engine.dispose()


def test_a_study_that_is_not_complete_is_void(study):
    config = study()
    created = create_study(config, objective=Objective(config))
    with pytest.raises(BenchmarkError, match="of 8 trials 0 are complete"):
        check_quota(created, 8)
