"""npz files that are damaged, lie about their size or are none."""

import os
import zipfile

import numpy as np
import pytest

from sfgsearch.data import npz
from sfgsearch.errors import DataError

NUMBER = 40
TASKS = {"age": {"type": "regression"}}


@pytest.fixture
def write(tmp_path):
    """Write random images and other arrays."""

    def write(**arrays):
        np.savez(tmp_path / "faces.npz", images=np.random.default_rng(0).random((NUMBER, 6, 4)), **arrays)
        return tmp_path / "faces.npz"

    return write


def header(shape, kind="<f8"):
    described = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    padded = described + " " * (63 - (10 + len(described)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            header((10**6, 10**6)),
            r"its header claims the shape \(1000000, 1000000\) of float64, 8 TB, but it holds 0",
        ),
        (header((-2, -2)) + bytes(32), r"its header claims the shape \(-2, -2\)"),
        (header((40,)) + bytes(7), r"320 bytes, but it holds 7 bytes"),
        (header((40,), "|O") + bytes(320), "it holds Python objects"),
        (header("(" * 3000), "save it as numbers or text"),
        (b"age of 40 people", "it is no array of numbers or text"),
        (b"", "it is no array of numbers or text"),
    ],
)
def test_members_that_are_not_what_they_claim_are_one_line(write, content, reason):
    path = write()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("age.npy", content)
    with pytest.raises(DataError, match=f"cannot read 'age' .*{reason}") as error:
        npz(0, path=path, tasks=TASKS)
    assert "\n" not in str(error.value)


def test_archives_beyond_memory_are_refused_before_they_are_read(write):
    """A small file whose directory and headers agree that it unpacks to terabytes."""
    path = write()
    with zipfile.ZipFile(path, "a") as archive:
        begun = header((40, 10**12))
        archive.writestr("age.npy", begun)
        archive.getinfo("age.npy").file_size = len(begun) + 320 * 10**12
    with pytest.raises(DataError, match=r"faces\.npz holds takes 320 TB of memory, but .* are available; leave"):
        npz(0, path=path, tasks=TASKS)


@pytest.mark.parametrize("kind", ["encrypted", "folder", "pipe"])
def test_archives_that_cannot_be_opened_are_one_line(write, tmp_path, kind):
    path = write(age=np.arange(NUMBER))
    if kind == "encrypted":
        content = bytearray(path.read_bytes())
        place = content.rindex(b"PK\x01\x02")
        while place >= 0:
            content[place + 8] |= 1
            place = content.rfind(b"PK\x01\x02", 0, place)
        path.write_bytes(content)
    else:
        path = tmp_path / kind
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(DataError, match=r"is no regular file; write one|cannot read 'images' .*encrypted"):
        npz(0, path=path, tasks=TASKS)


def test_files_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no file .*absent\.npz"):
        npz(0, path=tmp_path / "absent.npz", tasks=TASKS)
    np.save(tmp_path / "faces.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"faces\.npy is no npz file; write one with numpy\.savez"):
        npz(0, path=tmp_path / "faces.npy", tasks=TASKS)


def test_damaged_files_are_refused(tmp_path):
    """Every byte that is changed leaves data or an error for the user."""
    np.savez_compressed(
        tmp_path / "whole.npz", images=np.random.default_rng(0).random((NUMBER, 4, 4)), age=np.arange(NUMBER)
    )
    whole, damaged, refused = (tmp_path / "whole.npz").read_bytes(), tmp_path / "damaged.npz", 0
    for place in range(0, len(whole), 37):
        content = bytearray(whole)
        content[place] ^= 0x5A
        damaged.write_bytes(content)
        try:
            npz(0, path=damaged, tasks={"age": TASKS["age"]})
        except DataError:
            refused += 1
    assert refused > 50
