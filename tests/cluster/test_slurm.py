"""The script for SLURM in studies/cluster, on a real one."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from cluster_study import CLUSTER, PASSWORD, USER, wait_for
from faults import outcomes, twin
from slurm_cluster import PROGRAMS, SlurmCluster

pytestmark = pytest.mark.slow

LEFT = "sfgsearch: interrupted; the same command continues"


@pytest.fixture(scope="module")
def slurm():
    """Start a SLURM of one node, see :class:`SlurmCluster`."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs SLURM and munge (Debian: slurm-wlm, munge); {', '.join(missing)} not found")
    if os.geteuid() != 0:
        pytest.skip("only root can start a SLURM whose jobs run as anybody")
    cluster = SlurmCluster(tempfile.mkdtemp(prefix="sfgslurm-", dir="/tmp"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def submit(slurm, cluster_study, tmp_path):
    """Fill in the script as a user would; return a function that submits it and returns the array's number."""
    values = {
        "/shared/sfgsearch/.venv/bin": Path(sys.executable).parent,
        "/shared/sfgsearch/studies/study.toml": cluster_study.path,
        "postgresql://sfg@db.example.org/sfg": cluster_study.url,
    }
    script = (CLUSTER / "worker.sbatch").read_text()
    for placeholder, value in values.items():
        assert placeholder in script
        script = script.replace(placeholder, str(value))
    (tmp_path / "study.sh").write_text(script)
    passwords = tmp_path / ".pgpass"
    passwords.touch(0o600)
    passwords.write_text(f"127.0.0.1:*:*:{USER}:{PASSWORD}\n")
    environment = {key: value for key, value in slurm.environment.items() if not key.startswith("PG")}
    environment["HOME"] = str(tmp_path)

    def submit(*options):
        return slurm("sbatch", "--parsable", *options, "study.sh", cwd=tmp_path, env=environment).strip()

    yield submit
    slurm("scancel", "--user=root")


def read_log(folder, task):
    return (folder / f"sfgsearch-{task}.log").read_text()


def has_ended(job):
    return job["JobState"] not in {"PENDING", "RUNNING", "COMPLETING"}


def test_preempted_workers_leave_come_back_and_finish_the_study(slurm, submit, cluster_study, tmp_path):
    cluster_study.hold_up(1)
    array = submit("--array=1-2")
    tasks = [f"{array}_1", f"{array}_2"]
    cluster_study.wait_for_workers(2)
    assert {job.worker for job in cluster_study.jobs.values()} == {f"{task}@localhost" for task in tasks}
    slurm("sbatch", "--partition=urgent", "--exclusive", "--wait", "--output=/dev/null", "--wrap=true")
    wait_for(lambda: {slurm.job(task)["JobState"] for task in tasks} == {"PENDING"})
    for task in tasks:
        assert LEFT in read_log(tmp_path, task)
    assert {key: (job.owner, job.finished) for key, job in cluster_study.jobs.items()} == {
        "trial/0": (None, False),
        "trial/1": (None, False),
    }
    assert all(cluster_study.checkpoints_of(key) for key in cluster_study.jobs)
    cluster_study.go_on()
    for task in tasks:  # SLURM itself would let them wait for two minutes
        slurm("scontrol", "update", f"JobId={task}", "StartTime=now")
    wait_for(lambda: {slurm.job(task)["JobState"] for task in tasks} == {"COMPLETED"})
    assert [(slurm.job(task)["ExitCode"], slurm.job(task)["Restarts"]) for task in tasks] == [("0:0", "1")] * 2
    cluster_study.check_end()
    assert {cluster_study.jobs[key].claims for key in ("trial/0", "trial/1")} == {2}
    undisturbed, _ = twin(cluster_study.path, tmp_path)
    assert outcomes(cluster_study.study) == outcomes(undisturbed)


def test_a_worker_whose_time_is_up_leaves_and_the_next_task_goes_on(slurm, submit, cluster_study, tmp_path):
    cluster_study.hold_up(5)
    array = submit("--array=1-2%1")
    first, second = f"{array}_1", f"{array}_2"
    cluster_study.wait_for_workers(1)  # which listens to signals from then on
    slurm("scontrol", "update", f"JobId={first}", "TimeLimit=2")
    wait_for(lambda: has_ended(slurm.job(first)))
    assert (slurm.job(first)["JobState"], slurm.job(first)["ExitCode"]) == ("FAILED", "143:0")
    assert LEFT in read_log(tmp_path, first)
    (left,) = cluster_study.jobs.values()
    assert (left.worker, left.finished) == (f"{first}@localhost", False)
    cluster_study.go_on()
    wait_for(lambda: has_ended(slurm.job(second)))
    assert (slurm.job(second)["JobState"], slurm.job(second)["ExitCode"]) == ("COMPLETED", "0:0")
    assert {job.worker for job in cluster_study.jobs.values()} == {f"{second}@localhost"}
    cluster_study.check_end()
