"""Mutated data sets: a good one of every loader for files, broken in one place."""

import io
import os
import random
import zipfile
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from ._studies import BOUNDS, NUMBERS, OTHERS, TEXTS, Study, write

ROWS = 24
CELLS = (
    *("", " ", "NA", "nan", "-1", "1e300", "inf", "5,7", "\u0663", "1.0", "9" * 30, "x" * 200_000, '"', "a;b", "\0"),
    *("0x1", "é", "1_0", "-0.0", "true"),
)
PLACES = (
    *("", ".", "..", "/etc/hostname", "../study.toml", "absent.png", "fifo", "folder", "loop", "outside.png"),
    *("empty.png", "p1.png", "./p1.png", "x" * 300),
)


def write_npz(folder: Path, seed: int = 0) -> dict[str, str]:
    """Write an npz file and return the keys of its study."""
    np.savez(folder / "data.npz", **_arrays(np.random.default_rng(seed)))
    return {
        "data.name": '"npz"',
        "data.path": '"data.npz"',
        "data.tasks.kind": '{type = "classification"}',
        "data.tasks.size": '{type = "regression"}',
        "data.tasks.mask": '{type = "segmentation", num_classes = 3}',
    }


def _arrays(draw: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "images": draw.integers(0, 255, (ROWS, 12, 12, 3), dtype=np.uint8),
        "kind": np.arange(ROWS) % 2,
        "size": np.arange(ROWS) * 1.0,
        "mask": draw.integers(0, 3, (ROWS, 12, 12)),
    }


def write_folder(folder: Path) -> dict[str, str]:
    """Write pictures with a table, and return the keys of their study."""
    draw, place = np.random.default_rng(0), folder / "pictures"
    place.mkdir()
    lines = ["file,sex,age,mask,patient"]
    for index in range(ROWS):
        Image.fromarray(draw.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(place / f"p{index}.png")
        Image.fromarray(draw.integers(0, 3, (12, 12), dtype=np.uint8)).save(place / f"m{index}.png")
        lines.append(f"p{index}.png,{'mf'[index % 2]},{index},m{index}.png,{index // 2}")
    (place / "labels.csv").write_text("\n".join(lines) + "\n")
    return {
        "data.name": '"folder"',
        "data.path": '"pictures"',
        "data.tasks.sex": '{type = "classification"}',
        "data.tasks.age": '{type = "regression"}',
        "data.tasks.lesion": '{type = "segmentation", key = "mask", num_classes = 3}',
    }


def write_subjects(folder: Path) -> dict[str, str]:
    """Write five subjects of MRI, CT and labels, and return the keys of their study."""
    draw = np.random.default_rng(0)
    for index in range(5):
        place = folder / "subjects" / f"s{index}"
        place.mkdir(parents=True)
        labels = draw.integers(0, 3, (10, 10, 6), dtype=np.uint8)
        volumes = {"mr": labels * 100.0, "ct": labels * 400.0 - 500, "labels": labels}
        for name, volume in volumes.items():
            noise = 0 if name == "labels" else draw.normal(0, 5, volume.shape)
            stored = (volume + noise).astype(np.uint8 if name == "labels" else np.float32)
            nibabel.save(nibabel.Nifti1Image(stored, np.diag([2.0, 2.0, 3.0, 1.0])), place / f"{name}.nii")
    return {"data.name": '"mr_ct"', "data.path": '"subjects"', "data.patch": "8", "training.batch_size": "8"}


def write_faces(folder: Path) -> dict[str, str]:
    """Write faces named as UTKFace names them, and return the keys of their study."""
    place = folder / "faces"
    place.mkdir()
    for index in range(ROWS):
        name = f"{index * 3 % 117}_{index % 2}_{index % 5}_201701161745{index:05}.jpg"
        Image.new("RGB", (32, 32), (index * 9 % 256, 200 * (index % 2), 0)).save(place / name)
    return {"data.name": '"utkface"', "data.path": '"faces"', "data.size": "16"}


WRITERS = {"npz": write_npz, "folder": write_folder, "mr_ct": write_subjects, "utkface": write_faces}


def mutate_file(path: Path, random: random.Random) -> str:
    """Break a file, whatever it holds."""
    change = random.choice(
        [
            "cut",
            "empty",
            "flip",
            "noise",
            "zeros",
            "text",
            "fifo",
            "folder",
            "link-out",
            "loop",
            "gone",
            "device",
            "locked",
        ]
    )
    content = path.read_bytes()
    path.unlink()
    place = random.randrange(len(content))
    if change == "cut":
        path.write_bytes(content[:place])
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "flip":
        spoilt = bytearray(content)
        for _ in range(random.choice((1, 8))):
            spoilt[random.randrange(min(len(spoilt), random.choice((60, 400, len(spoilt)))))] = random.randrange(256)
        path.write_bytes(spoilt)
    elif change == "noise":
        path.write_bytes(random.randbytes(len(content)))
    elif change == "zeros":
        path.write_bytes(bytes(len(content)))
    elif change == "text":
        path.write_text("not what the name says\n")
    elif change == "fifo":
        os.mkfifo(path)
    elif change == "folder":
        path.mkdir()
    elif change == "link-out":
        outside = path.parents[1] / f"outside{path.suffix}"
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif change == "loop":
        path.symlink_to(path.name)
    elif change == "device":
        path.symlink_to("/dev/zero")
    elif change == "locked":
        path.write_bytes(content)
        path.chmod(0)
    return f"{path.name}: {change}"


def mutate_array(folder: Path, random: random.Random) -> str:
    """Change an array of an npz file, or what stands around it."""
    draw = np.random.default_rng(random.randrange(2**32))
    arrays = _arrays(draw)
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
        "half": lambda: array.astype(np.float16) * 7e4,
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


def mutate_table(folder: Path, random: random.Random) -> str:
    """Change cells, columns or the form of the table."""
    path = folder / "pictures" / "labels.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    encoding, separator = "utf-8", ","
    row, column = random.randrange(1, len(rows)), random.randrange(len(rows[0]))
    change = random.choice(
        [
            "cell",
            "cell",
            "cell",
            "place",
            "place",
            "column",
            "column-gone",
            "column-twice",
            "swap",
            "long",
            "short",
            "semicolon",
            "header",
            "no-rows",
            "one-row",
            "utf-16",
            "latin",
            "zero",
            "quote",
            "returns",
            "again",
            "one-class",
            "blank-lines",
        ]
    )
    if change == "cell":
        rows[row][column] = random.choice(CELLS)
    elif change == "column":
        cell = random.choice(CELLS)
        for entry in rows[1:]:
            entry[column] = cell
    elif change == "place":
        _special_places(folder / "pictures")
        rows[row][random.choice((0, 3))] = random.choice(PLACES)
    elif change == "column-gone":
        rows = [entry[:column] + entry[column + 1 :] for entry in rows]
    elif change == "column-twice":
        rows = [[*entry, entry[column]] for entry in rows]
    elif change == "swap":
        for entry in rows:
            entry[0], entry[column] = entry[column], entry[0]
    elif change in ("long", "short"):
        rows[row] = [*rows[row], "7"] if change == "long" else rows[row][:-1]
    elif change == "header":
        rows[0][column] = random.choice(("", " file", "FILE", "age", "\ufeff", "x" * 5000))
    elif change in ("no-rows", "one-row"):
        rows = rows[: 1 + (change == "one-row")]
    elif change == "again":
        rows[row][0] = random.choice(("p0.png", "./p0.png", "p0.PNG", " p0.png", "../pictures/p0.png"))
    elif change == "one-class":
        rows = [rows[0], *([*entry[:1], "m", *entry[2:]] for entry in rows[1:])]
    elif change == "blank-lines":
        rows = [entry for pair in zip(rows, [[""]] * len(rows), strict=True) for entry in pair]
    separator = ";" if change == "semicolon" else ","
    text = "\n".join(separator.join(entry) for entry in rows) + "\n"
    endings = {"zero": "\0\n", "quote": '"p0.png,m\n', "latin": "é\n"}
    text = text.replace("\n", "\r") if change == "returns" else text + endings.get(change, "")
    encoding = {"utf-16": "utf-16", "latin": "latin-1"}.get(change, "utf-8")
    path.write_bytes(text.encode(encoding, errors="replace"))
    return f"labels.csv: {change} {rows[min(row, len(rows) - 1)][:4]}"[:200]


def _special_places(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (12, 12)).save(folder.parent / "outside.png")
    (folder / "outside.png").symlink_to(folder.parent / "outside.png")


def mutate_picture(path: Path, random: random.Random) -> str:
    """Store a picture in another size, mode or format, or with a header that lies."""
    change = random.choice(("size", "tiny", "mode", "float", "gif", "tiff", "bomb", "chunk", "exif", "text chunk"))
    if change in ("size", "tiny"):
        Image.new("RGB", random.choice(((1, 1), (12, 11), (500, 3))) if change == "tiny" else (24, 24)).save(path)
    elif change == "mode":
        Image.new(random.choice(("1", "L", "LA", "P", "RGBA", "I;16", "CMYK")), (12, 12)).save(path, "TIFF")
    elif change == "float":
        Image.fromarray(np.full((12, 12), np.nan, np.float32)).save(path, "TIFF")
    elif change == "gif":
        Image.new("P", (12, 12)).save(path, "GIF", save_all=True, append_images=[Image.new("P", (12, 12), 3)])
    elif change == "tiff":
        Image.fromarray(np.zeros((12, 12), np.int32) - 5).save(path, "TIFF")
    elif change == "exif":
        exif = Image.Exif()
        exif[0x0112] = random.randrange(0, 12)
        Image.new("RGB", (12, 12)).save(path, "JPEG", exif=exif)
    else:
        sides = {"bomb": (60_000, 60_000), "chunk": (0, 7), "text chunk": (2**31 - 1, 2**31 - 1)}[change]
        content = bytearray(path.read_bytes())
        content[16:24] = sides[0].to_bytes(4, "big") + sides[1].to_bytes(4, "big")
        path.write_bytes(content)
    return f"{path.name}: {change}"


def mutate_volume(path: Path, random: random.Random) -> str:
    """Change values, grid or header of a NIfTI file."""
    image = nibabel.load(path)
    values, affine = np.asarray(image.dataobj), image.affine.copy()
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


def mutate_face_name(folder: Path, random: random.Random) -> str:
    """Call a face something else."""
    path = random.choice(sorted((folder / "faces").iterdir()))
    names = (
        *(
            "\u0663\u0660_1_0_20170116174500000.jpg",
            "-5_0_0_1.jpg",
            "1" * 200 + "_0_0_1.jpg",
            "30_1.jpg",
            "30_9_9_1.jpg",
        ),
        *("a_b_c_d.jpg", ".jpg", "\udcff_1_0_2.jpg", "30_1_0_2\n.jpg", "\uff13_1_0_2.jpg", "1e1_0_0_2.jpg"),
        *("30_0_0_.JPG", "30__0_2.jpg", "\xb2_0_0_1.jpg"),
    )
    name = random.choice(names)
    path.rename(path.with_name(name))
    return f"faces: {name!r}"


def mutate_options(study: Study, random: random.Random) -> str:
    """Give an option of the data set or of one of its tasks a nasty value."""
    name = study.values["data.name"].strip('"')
    task = [key for key in study.values if key.startswith("data.tasks.")]
    value = random.choice(random.choice((NUMBERS, BOUNDS, TEXTS, OTHERS)))
    if task and random.random() < 0.6:
        key = random.choice(task)
        option = random.choice(
            [
                "type",
                "key",
                "unit",
                "scale",
                "num_classes",
                "weight",
                "hidden",
                "loss",
                "missing",
                "ignore",
                "invalid",
                "classes",
                "class_weights",
            ]
        )
        old = dict(part.split(" = ", 1) for part in study.values[key].strip("{}").split(", "))
        study.values[key] = "{" + ", ".join(f"{k} = {v}" for k, v in (old | {option: value}).items()) + "}"
        return f"{key}.{option} = {value[:60]}"
    options = {
        "npz": "images layout image_scale shares groups split path missing",
        "folder": "table size colours shares groups split path missing",
        "mr_ct": "mode patch patches_per_volume overlap classes ct_range ct_loss organ_loss spacing path",
        "utkface": "size tasks path",
    }
    option = random.choice(options[name].split())
    study.set(f"data.{option}", value)
    return f"data.{option} = {value[:60]}"


def make(random: random.Random, folder: Path) -> tuple[str, Path, tuple[str, ...]]:
    """Write a data set that is broken in one place, with a study, and return what was done to it."""
    name = random.choice(tuple(WRITERS))
    study = Study()
    del study.values["data.pairs_per_digit"]
    study.values |= WRITERS[name](folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    ways = {
        "npz": lambda: mutate_array(folder, random),
        "folder": lambda: random.choice((mutate_table, _mutate_some_picture))(folder, random),
        "mr_ct": lambda: mutate_volume(random.choice(files), random),
        "utkface": lambda: random.choice((mutate_face_name, _mutate_some_picture))(folder, random),
    }
    way = random.random()
    if way < 0.2:
        what = mutate_file(random.choice(files), random)
    elif way < 0.4:
        what = mutate_options(study, random)
    else:
        what = ways[name]()
    return f"{name}: {what}", write(study, folder), ()


def _mutate_some_picture(folder: Path, random: random.Random) -> str:
    pictures = [path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")]
    return mutate_picture(random.choice(sorted(pictures)), random)
