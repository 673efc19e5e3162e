import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from faults import check, findings, outcomes, twin, write_study
from ray_nodes import ENVIRONMENT, ray_nodes

from sfgsearch import Objective, create_study, load_config
from sfgsearch.cli import main
from sfgsearch.search import records_of

pytest.importorskip("ray", reason="needs Ray: pip install 'sfgsearch[ray]'")

pytestmark = pytest.mark.slow


class Launch:
    """``sfgsearch launch --engine ray`` in a process, with the lines that it has printed so far."""

    def __init__(self, path, *options, **environment):
        command = [sys.executable, "-m", "sfgsearch", "launch", str(path), "--engine", "ray", *options]
        environment = {**os.environ, **ENVIRONMENT, **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.end()

    def _read(self):
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def end(self):
        """Wait for the end and return the exit status and all that was printed."""
        status = self.process.wait(timeout=240)
        self._reader.join()
        self.process.stdout.close()
        return status, "".join(self.lines)


def wait_for(condition, launch, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline and launch.process.poll() is None:
        time.sleep(0.1)
    assert condition(), "".join(launch.lines)


@pytest.fixture(scope="module")
def nodes():
    with ray_nodes() as cluster:
        cluster.start(cpus=2)
        yield cluster


def prepare(path, url):
    """Create a study and return it with its configuration."""
    config = load_config(path).with_overrides(storage=url)
    return create_study(config, objective=Objective(config)), config


def busy_workers(study):
    return {job.worker for job in records_of(study).jobs.all().values() if job.owner and job.epoch > 0}


def test_a_node_that_is_lost_costs_neither_trials_nor_workers(nodes, postgres, tmp_path):
    path, url = write_study(tmp_path, 6, epochs=50), postgres()
    study, config = prepare(path, url)
    second = nodes.start(cpus=2)
    with Launch(path, "--workers", "3", "--address", nodes.address, SFGSEARCH_STORAGE=url) as launch:
        wait_for(lambda: len(busy_workers(study)) == 3, launch)
        nodes.kill(second)
        wait_for(lambda: any(" died (" in line for line in launch.lines), launch)
        third = nodes.start(cpus=2)
        status, printed = launch.end()
    nodes.kill(third)
    assert status == 0, printed
    assert "retrained finalists on test data" in printed
    assert re.search(r"died \(its node .*\); another one takes its place", printed)
    found = findings(study, config)
    assert check(found) == []
    assert found["taken over"] > 0
    undisturbed, _ = twin(path, tmp_path)
    assert outcomes(study) == outcomes(undisturbed)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_workers_leave_when_asked_and_hand_their_trials_on(nodes, postgres, tmp_path, number, status):
    path, url = write_study(tmp_path, 3, epochs=2000), postgres()
    study, _ = prepare(path, url)
    with Launch(path, "--workers", "2", "--address", nodes.address, SFGSEARCH_STORAGE=url) as launch:
        wait_for(lambda: len(busy_workers(study)) == 2, launch)
        launch.process.send_signal(number)
        ended, printed = launch.end()
    assert ended == status, printed
    assert "Traceback" not in printed
    assert {trial.state.name for trial in study.trials} == {"WAITING"}
    assert {job.owner for job in records_of(study).jobs.all().values()} == {None}


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere", "127.0.0.1:port"])
def test_a_cluster_that_does_not_answer_is_one_line(tmp_path, capsys, address):
    with pytest.raises(SystemExit) as ended:
        main(["launch", str(write_study(tmp_path, 3)), "--workers", "2", "--engine", "ray", "--address", address])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--address {address}: no cluster could be joined" in line


def test_an_address_is_for_ray_only(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["launch", str(write_study(tmp_path, 3)), "--workers", "2", "--address", "auto"])
    assert "--address is for --engine ray" in capsys.readouterr().err
