"""Checkpoint folders: what they keep, and what they do with files that are damaged, unfinished or do not fit."""

import contextlib
import json
import math
import os
import random
import shutil
import subprocess
import sys

import pytest
import torch

from sfgsearch.errors import CheckpointError
from sfgsearch.training import Checkpoint, CheckpointFolder, FolderSession

STATE = {"step": 7, "learning_rates": [0.1 + 0.2, 1e-308, math.pi], "text": "ü \u2603", "nested": {"none": None}}


def make(number=0):
    return Checkpoint({"a": torch.arange(50.0) + number, "b": torch.ones(3, 2) * number}, {**STATE, "number": number})


def same(left, right):
    return (
        left.state == right.state
        and left.tensors.keys() == right.tensors.keys()
        and all(torch.equal(tensor, right.tensors[name]) for name, tensor in left.tensors.items())
    )


def files(folder):
    return sorted(file.name for file in folder.path.iterdir())


def pair(*positions):
    return sorted(f"step-{position:010d}{suffix}" for position in positions for suffix in (".json", ".safetensors"))


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "deep" / "checkpoints")


@pytest.fixture
def two(folder):
    """A folder with checkpoints 0 and 1 at the positions 100 and 123."""
    folder.save(make(0), 100)
    folder.save(make(1), 123)
    return folder


def test_nothing_there_is_no_problem(folder):
    assert folder.load() is None
    assert folder.problems == []
    folder.clear()


def test_the_newest_comes_back_exactly_and_two_are_kept(two):
    assert same(two.load(), make(1))
    two.save(make(2), 1234)
    assert files(two) == pair(123, 1234)
    fresh = CheckpointFolder(two.path)
    assert same(fresh.load(), make(2))
    assert fresh.problems == []


def test_tensors_of_every_sort(folder):
    wide = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    tensors = {
        "transposed": wide.T,
        "strided": wide[::2, 1::3],
        "shared": wide,
        "part of the shared": wide[1],
        "expanded": torch.ones(1).expand(5),
        "empty": torch.empty(0, 3),
        "number": torch.tensor(2.5, dtype=torch.float64),
        "bool": torch.tensor([True, False]),
        "int64": torch.tensor([2**62, -1]),
        "uint8": torch.Generator().get_state(),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "not finite": torch.tensor([torch.inf, -0.0]),
    }
    folder.save(Checkpoint(tensors, {}), 0)
    loaded = folder.load().tensors
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert torch.equal(loaded[name], tensor)


def test_numbers_that_are_not_finite_come_back(folder):
    folder.save(Checkpoint({}, {"values": [math.inf, -math.inf, math.nan, -0.0]}), 0)
    high, low, nan, zero = folder.load().state["values"]
    assert (high, low, math.copysign(1, zero)) == (math.inf, -math.inf, -1)
    assert math.isnan(nan)


def test_loaded_tensors_are_aligned_as_torch_aligns_its_own(folder):
    folder.save(Checkpoint({f"{size}": torch.ones(size, dtype=torch.uint8) for size in range(1, 40)}, {}), 0)
    assert {tensor.data_ptr() % 64 for tensor in folder.load().tensors.values()} == {0}


def corrupt(path, how):
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "half":
        path.write_bytes(data[: len(data) // 2])
    elif how == "one byte short":
        path.write_bytes(data[:-1])
    elif how == "longer":
        path.write_bytes(data + b"\0")
    elif how == "noise":
        path.write_bytes(random.Random(0).randbytes(len(data)))
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(how)


# Some are no JSON, some no object, some nested too deeply, some lack what a checkpoint has.
CONTENTS = [b"[]", b"3", b"null", b'"text"', b"{}", b"[" * 100_000, b'{"sha256": 1}', b"9" * 5000, b"\xff\xfe"]
KINDS = ["missing", "empty", "half", "one byte short", "longer", "noise", "a folder", *CONTENTS]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("how", KINDS, ids=[str(kind)[:20] for kind in KINDS])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(two, suffix, how):
    newest = two.path / f"step-0000000123{suffix}"
    corrupt(newest, how)
    assert same(two.load(), make(0))
    (problem,) = two.problems
    assert str(newest.with_suffix("")) in problem
    assert problem.endswith("falling back to that of step 100")
    corrupt(two.path / f"step-0000000100{suffix}", how)
    assert two.load() is None
    assert len(two.problems) == 2
    assert two.problems[1].endswith("training starts anew")


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize(("place", "bit"), [(0, 0), (1, 5), (8, 0), (0.25, 5), (0.5, 0), (0.75, 5), (-2, 0), (-1, 5)])
def test_a_flipped_bit_is_found(two, suffix, place, bit):
    newest = two.path / f"step-0000000123{suffix}"
    data = bytearray(newest.read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1 << bit
    newest.write_bytes(data)
    loaded = two.load()
    # White space and the case of an exponent may change in a JSON: what is loaded is right nevertheless.
    assert same(loaded, make(0)) if two.problems else suffix == ".json" and same(loaded, make(1))


def test_no_flipped_bit_of_the_json_changes_what_is_loaded(folder):
    folder.save(Checkpoint({}, STATE), 5)
    commit = folder.path / "step-0000000005.json"
    data = commit.read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            commit.write_bytes(data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :])
            loaded = folder.load()
            assert loaded is None or loaded.state == STATE


def test_a_checkpoint_of_another_format_is_not_used(two):
    from sfgsearch.training._checkpoint import _sealed, _unsealed

    newest = two.path / "step-0000000123.json"
    newest.write_bytes(_sealed({**_unsealed(newest.read_bytes()), "format": 2}))
    assert same(two.load(), make(0))
    assert "another version of sfgsearch wrote it" in two.problems[0]


def test_a_renamed_checkpoint_is_not_used(two):
    for suffix in (".json", ".safetensors"):
        shutil.copy(two.path / f"step-0000000100{suffix}", two.path / f"step-0000000999{suffix}")
    assert same(two.load(), make(1))
    assert len(two.problems) == 1


def test_a_save_that_was_killed_between_the_files_does_not_count(two):
    (two.path / "step-0000000150.safetensors").write_bytes(b"all of it")
    assert same(two.load(), make(1))
    assert "its .json file is missing: it was not finished; falling back to that of step 123" in two.problems[0]
    two.save(make(2), 160)
    assert files(two) == pair(123, 160)


def test_a_broken_checkpoint_never_takes_the_place_of_a_good_one(two):
    corrupt(two.path / "step-0000000123.safetensors", "half")
    assert same(two.load(), make(0))
    two.save(make(3), 130)
    assert files(two) == pair(100, 130)


def test_a_late_save_leaves_what_is_further(two):
    """A process that was halted while another one went on with its training may wake at any moment."""
    late = CheckpointFolder(two.path)
    late.save(make(5), 110)
    assert files(two) == pair(110, 123)
    two.save(make(2), 150)
    late.save(make(6), 115)
    assert files(two) == pair(123, 150)
    assert same(CheckpointFolder(two.path).load(), make(2))


def test_a_late_save_leaves_what_was_broken_when_it_was_seen_last(two):
    newest = two.path / "step-0000000123.json"
    whole = newest.read_bytes()
    corrupt(newest, "half")
    late = CheckpointFolder(two.path)
    assert same(late.load(), make(0))
    newest.write_bytes(whole)
    late.save(make(5), 110)
    assert same(CheckpointFolder(two.path).load(), make(1))
    late.save(make(6), 130)
    assert files(two) == pair(110, 130)


def test_a_late_save_that_removes_temporary_files_costs_no_checkpoint(two, monkeypatch):
    """A late process may take those that another one is about to rename for those of a killed one."""
    replace, late = os.replace, [CheckpointFolder(two.path)]

    def replace_after_the_other(source, target):
        if late:
            late.pop().save(make(5), 110)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_after_the_other)
    two.save(make(2), 150)
    assert files(two) == pair(123, 150)
    assert same(two.load(), make(2))


def test_the_same_position_may_be_saved_again(two):
    corrupt(two.path / "step-0000000123.json", "half")
    two.load()
    two.save(make(1), 123)
    assert same(two.load(), make(1))
    assert files(two) == pair(100, 123)


def test_temporary_files_of_a_killed_process_go_at_the_next_save(two):
    stray = two.path / ".sfgsearch-01234567" / "step-0000000124.safetensors"
    stray.parent.mkdir()
    stray.write_bytes(b"half of")
    assert same(two.load(), make(1))
    two.save(make(2), 125)
    assert files(two) == pair(123, 125)


def test_what_is_not_a_checkpoint_stays(two):
    names = ["notes.txt", "step-1.json", "step-0000000123.json.bak", "step-00000000000123.json", "step-٣٣٣٣٣٣٣٣٣٣.json"]
    for name in names:
        (two.path / name).write_text("mine")
    assert same(two.load(), make(1))
    two.save(make(2), 125)
    two.clear()
    assert files(two) == sorted({*names} - {"step-00000000000123.json"})


def test_clear_removes_the_folder_and_may_be_repeated(two):
    (two.path / ".sfgsearch-01234567").mkdir()
    two.clear()
    assert not two.path.exists()
    two.clear()
    two.save(make(0), 1)
    assert same(two.load(), make(0))


def test_state_that_is_no_json_leaves_the_folder_as_it_is(two):
    with pytest.raises(TypeError):
        two.save(Checkpoint({}, {"a": object()}), 200)
    assert files(two) == pair(100, 123)


def test_a_file_in_the_place_of_the_folder_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    folder = CheckpointFolder(tmp_path / "file")
    assert folder.load() is None
    assert "cannot read the checkpoints" in folder.problems[0]
    with pytest.raises(CheckpointError, match=r"file: cannot save a checkpoint: .*; check that the folder"):
        folder.save(make(), 0)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 64 KiB, where that is allowed."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system needs more rights")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_an_error_with_the_remedy(small_disk):
    folder = CheckpointFolder(small_disk / "checkpoints")
    folder.save(make(0), 1)
    folder.save(make(1), 2)
    before = {name: (folder.path / name).read_bytes() for name in files(folder)}
    big = Checkpoint({"big": torch.zeros(50_000)}, {"step": 3})
    with pytest.raises(CheckpointError, match=r"checkpoints: cannot save a checkpoint: No space left.*; free some"):
        folder.save(big, 3)
    assert {name: (folder.path / name).read_bytes() for name in files(folder)} == before
    assert same(folder.load(), make(1))


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
@pytest.mark.parametrize("limit", [100, 300])
def test_a_file_that_cannot_grow_leaves_nothing_behind(two, limit):
    """The limits are bytes that fit neither file, and the tensors only."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot save a checkpoint: File too large"):
            two.save(Checkpoint({"a": torch.zeros(10)}, {"long": "x" * 1000}), 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(two) == pair(100, 123)
    assert same(two.load(), make(1))


KILLING = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from sfgsearch.training import Checkpoint, CheckpointFolder
folder, chance, step = CheckpointFolder(Path(sys.argv[1])), random.Random(0), 0
for kill in range(20):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        while True:
            step += 1
            folder.save(Checkpoint({"a": torch.full((30_000,), float(step))}, {"step": step}), step)
            os.write(writer, b"%d " % step)
    os.close(writer)
    os.read(reader, 1000)
    time.sleep(chance.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    reported = int((b"0 " + os.read(reader, 100_000)).split()[-1])
    loaded = folder.load()
    step = loaded.state["step"]
    assert step >= reported > 0 or reported == 0, (step, reported)
    assert torch.equal(loaded.tensors["a"], torch.full((30_000,), float(step)))
print(len(list(folder.path.iterdir())))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_are_killed_while_they_save_leave_their_last_checkpoint(folder):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLING, str(folder.path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 12, "what killed processes leave does not add up"
    folder.clear()
    assert not folder.path.exists()


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("sfgsearch.training._session.time.monotonic", lambda: self.now)


@pytest.mark.parametrize(
    ("every", "steps", "epochs"),
    [(10.0, [(19.0, False), (20.0, True)], [(9.0, False), (10.0, True)]), (0.0, [(1e6, False)], [(0.0, True)])],
)
def test_sessions_save_in_time(folder, monkeypatch, every, steps, epochs):
    clock = Clock(monkeypatch)
    session = FolderSession(folder, every)
    assert session.restore() is None
    moments = [(session.after_step, *step) for step in steps]
    moments += [(lambda capture: session.after_epoch(0, capture), *epoch) for epoch in epochs]
    for act, later, saves in moments:
        folder.clear()
        clock.now += later
        act(lambda: make(1))
        assert folder.path.exists() == saves
        clock.now -= 0 if saves else later


def test_sessions_tell_of_problems_and_forget_what_does_not_fit(two, caplog):
    corrupt(two.path / "step-0000000123.json", "half")
    session = FolderSession(two)
    assert same(session.restore(), make(0))
    session.rejected("seed was 1 and is 2")
    assert [record.getMessage() for record in caplog.records] == session.problems
    assert "falling back to that of step 100" in session.problems[0]
    assert "starts anew: seed was 1 and is 2" in session.problems[1]
    assert not two.path.exists()


def test_the_json_can_be_read_by_anyone(two):
    with contextlib.closing((two.path / "step-0000000123.json").open()) as file:
        content = json.load(file)
    assert content["position"] == 123
    assert content["state"] == make(1).state
