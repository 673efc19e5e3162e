"""Mutations of arrays: members of npz files, and volumes."""

import io
import random
import zipfile
from pathlib import Path

import nibabel
import numpy as np

ROWS = 24


def arrays_of(draw: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "images": draw.integers(0, 255, (ROWS, 12, 12, 3), dtype=np.uint8),
        "kind": np.arange(ROWS) % 2,
        "size": np.arange(ROWS) * 1.0,
        "mask": draw.integers(0, 3, (ROWS, 12, 12)),
    }


def mutate_array(folder: Path, random: random.Random) -> str:
    """Change an array of an npz file, or what stands around it."""
    draw = np.random.default_rng(random.randrange(2**32))
    arrays = arrays_of(draw)
    name = random.choice(list(arrays))
    array = arrays[name]
    changes = {
        "gone": lambda: None,
        "objects": lambda: np.array([{"a": 1}] * ROWS, dtype=object),
        "complex": lambda: array.astype(complex),
        "text": lambda: array.astype(str),
        "bytes": lambda: array.astype("S4"),
        "dates": lambda: array.astype("datetime64[s]"),
        "records": lambda: np.zeros(ROWS, dtype=[("a", "i4"), ("b", "f8")]),
        "nan": lambda: np.where(draw.random(array.shape) < 0.1, np.nan, array),
        "all nan": lambda: np.full(array.shape, np.nan),
        "inf": lambda: np.where(draw.random(array.shape) < 0.1, np.inf, array),
        "1e300": lambda: array * 1e300,
        "half": lambda: (array % 7).astype(np.float16),
        "negative": lambda: array.astype(int) - 1,
        "2^63": lambda: array.astype(np.uint64) + np.uint64(2**63),
        "big-endian": lambda: array.astype(array.dtype.newbyteorder(">")),
        "no rows": lambda: array[:0],
        "one row": lambda: array[:1],
        "other rows": lambda: array[:-1],
        "scalar": lambda: np.array(3),
        "more axes": lambda: array[..., None, None],
        "fewer axes": lambda: array.reshape(-1),
        "channels first": lambda: np.moveaxis(array, -1, min(1, array.ndim - 1)),
        "constant": lambda: np.zeros_like(array),
        "all different": lambda: np.arange(array.size).reshape(array.shape),
        "fortran": lambda: np.asfortranarray(array),
        "masked": lambda: np.ma.masked_equal(array, 1),
        "void": lambda: np.zeros((ROWS, 0)),
    }
    change = random.choice([*changes, "claims", "claims", "no array", "twice", "plain npy", "version", "pickle"])
    if change in changes:
        changed = changes[change]()
        arrays = {key: value for key, value in arrays.items() if key != name}
        np.savez(folder / "data.npz", **arrays, **({} if changed is None else {name: changed}))
    elif change == "plain npy":
        with (folder / "data.npz").open("wb") as file:
            np.save(file, array)
    else:
        _spoil_member(folder / "data.npz", name, change, random)
    return f"{name}: {change}"


def _spoil_member(path: Path, name: str, change: str, random: random.Random) -> None:
    """Replace the member of an archive by one that lies."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    data = members[f"{name}.npy"]
    if change == "claims":
        shapes = ((10**12,), (2**40, 12, 12, 3), (10**9, 12, 12, 3), (-1, 12), (2**63,), (ROWS, 2**31, 2**31))
        shape = random.choice(shapes)
        data = _header(shape) + data[128:]
    elif change == "no array":
        data = b"nothing like an array"
    elif change == "version":
        data = data[:6] + b"\x09\x00" + data[8:]
    elif change == "pickle":
        data = b"\x80\x04K\x01."
    members[f"{name}.npy"] = data
    with zipfile.ZipFile(path, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        if change == "twice":
            archive.writestr(f"x/../{name}.npy", data)
            archive.writestr("readme.txt", b"hello")


def _header(shape: tuple[int, ...]) -> bytes:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return text.getvalue()


def mutate_volume(path: Path, random: random.Random) -> str:
    """Change values, grid or header of a NIfTI file."""
    image = nibabel.load(path)
    values, affine = np.array(image.dataobj), image.affine.copy()  # not the file, which is written below
    changes = {
        "nan": lambda: (np.full(values.shape, np.nan, np.float32), affine),
        "some nan": lambda: (np.where(values > values.mean(), np.nan, values).astype(np.float32), affine),
        "complex": lambda: (values.astype(np.complex64), affine),
        "colours": lambda: (np.zeros(values.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]), affine),
        "1e300": lambda: (values.astype(np.float64) * 1e300, affine),
        "int16": lambda: (values.astype(np.int16) - 7, affine),
        "sparse": lambda: (values.astype(np.int16) * 41, affine),
        "half": lambda: (values.astype(np.float32) + 0.5, affine),
        "four axes": lambda: (np.stack([values] * 2, -1), affine),
        "two axes": lambda: (values[..., 0], affine),
        "one slice": lambda: (values[..., :1], affine),
        "other shape": lambda: (values[1:], affine),
        "constant": lambda: (np.zeros_like(values), affine),
        "moved": lambda: (values, affine + np.eye(4)[:, [3, 3, 3, 0]].T * 5),
        "no affine": lambda: (values, np.diag([0, 0, 0, 1])),
        "nan affine": lambda: (values, affine * np.nan),
        "sheared": lambda: (values, affine + np.array([[0, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4])),
        "large voxels": lambda: (values, np.diag([1e30, 1e30, 1e30, 1])),
    }
    change = random.choice([*changes, *["header"] * 12])
    if change != "header":
        stored, grid = changes[change]()
        changed = nibabel.Nifti1Image(stored, None)
        changed.header.set_sform(grid, code=1)
        nibabel.save(changed, path)
        return f"{path.parent.name}/{path.name}: {change}"
    content = bytearray(path.read_bytes())
    place = random.choice((40, 42, 44, 46, 48, 70, 72, 76, 80, 108, 112, 116, 252, 254, 280, 344, 348, 0))
    size = 2 if place in (40, 42, 44, 46, 48, 70, 72, 252, 254) else 4
    content[place : place + size] = random.choice(
        (b"\xff" * size, bytes(size), b"\x7f" * size, random.randbytes(size), b"\xff\x7f" * (size // 2))
    )
    path.write_bytes(content)
    return f"{path.parent.name}/{path.name}: header at {place}"
