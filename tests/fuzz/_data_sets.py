"""Mutated data sets: a good one of every loader for files, broken in one place."""

import os
import random
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from ._arrays import ROWS, arrays_of, mutate_array, mutate_volume
from ._pictures import mutate_face_name, mutate_some_picture, mutate_table
from ._studies import BOUNDS, NUMBERS, OTHERS, TEXTS, Study, write


def write_npz(folder: Path, seed: int = 0) -> dict[str, str]:
    """Write an npz file and return the keys of its study."""
    np.savez(folder / "data.npz", **arrays_of(np.random.default_rng(seed)))
    return {
        "data.name": '"npz"',
        "data.path": '"data.npz"',
        "data.tasks.kind": '{type = "classification"}',
        "data.tasks.size": '{type = "regression"}',
        "data.tasks.mask": '{type = "segmentation", num_classes = 3}',
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
        "folder": lambda: random.choice((mutate_table, mutate_some_picture))(folder, random),
        "mr_ct": lambda: mutate_volume(random.choice(files), random),
        "utkface": lambda: random.choice((mutate_face_name, mutate_some_picture))(folder, random),
    }
    way = random.random()
    if way < 0.2:
        what = mutate_file(random.choice(files), random)
    elif way < 0.4:
        what = mutate_options(study, random)
    else:
        what = ways[name]()
    return f"{name}: {what}", write(study, folder), ()
