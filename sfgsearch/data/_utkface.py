"""UTKFace: age, gender and race of people in photographs, from the user's own copy."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import torch

from sfgsearch._registry import data_sets
from sfgsearch.data._files import locate
from sfgsearch.data._partition import Division, assemble
from sfgsearch.data._pictures import describe_skipped, read_pictures, unreadable
from sfgsearch.data._splits import MultiTaskData
from sfgsearch.errors import DataError
from sfgsearch.tasks import Classification, Regression, Task

_HELD_OUT_SHARE = 0.15
"""Of all faces, in validation and in test each; rounded up as in the published 16,594 / 3,557 / 3,557."""

_YEARS, _FEWEST = 100.0, 4
_HIGHEST = {"age": 116, "gender": 1, "race": 4}
_SUFFIXES = {".jpg", ".jpeg"}
_TASKS: dict[str, Task] = {
    "age": Regression("age", scale=_YEARS, unit="years"),
    "gender": Classification("gender", num_classes=2, classes=("male", "female")),
    "race": Classification("race", num_classes=5, classes=("White", "Black", "Asian", "Indian", "others")),
}
_WHOLE_NUMBER = re.compile(r"[0-9]{1,3}")


@data_sets.register("utkface")
def utkface(
    seed: int,
    *,
    path: str | Path,
    size: int = 64,
    tasks: tuple[Literal["age", "gender", "race"], ...] = ("age", "gender"),
) -> MultiTaskData:
    """Photographs of faces: how old is a person, and of which gender?

    Reads the user's own copy of UTKFace (Zhang, Song, Qi, CVPR 2017), JPEG files named ``age_gender_race_time.jpg``
    in a folder or below it. Files that are misnamed, lie elsewhere behind a link or cannot be decoded are skipped and
    counted, and so are files with the name of another, since the published archives hold some photographs twice.
    Photographs that are equal byte for byte under other names stay in one split.

    Args:
        seed: Fixes the split: 70 % training, 15 % validation, 15 % test, and of every class to be predicted.
        path: The folder.
        size: Pixels a side to which photographs are resized.
        tasks: Which of ``age`` (years; targets are divided by 100), ``gender`` (0 male, 1 female) and ``race``
            (0 White, 1 Black, 2 Asian, 3 Indian, 4 others; the annotators' terms) to predict, in this order.

    Returns:
        Images of shape (3, size, size) as bytes, which batches hold as float in [0, 1], and the tasks.

    Raises:
        DataError: If the folder is not there or holds no usable photograph, or an option is out of range.
    """
    if size < 1 or not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(_TASKS):
        raise DataError(f"size must be at least 1 and tasks some of {', '.join(_TASKS)}, got {size} and {list(tasks)}")
    folder = Path(path)
    files = _find(folder)
    faces, reasons = _parse(folder, files)
    names = list(faces)
    pictures = read_pictures([file for file, _ in faces.values()], (size, size))
    reasons |= {names[index]: reason for index, reason in pictures.broken.items()}
    usable = [index for index in range(len(names)) if index not in pictures.broken]
    notes = [describe_skipped(len(files), dict(sorted(reasons.items())))] if reasons else []
    if len(usable) < _FEWEST:
        raise DataError(
            f"{folder} holds {len(usable)} usable photographs of {len(files)}, too few for three splits; "
            f"{'; '.join(notes) or 'add more'}"
        )
    names = [names[index] for index in usable]
    targets = {task: torch.tensor([faces[name][1][task] for name in names]) for task in tasks}
    if "age" in targets:
        targets["age"] = targets["age"].float() / _YEARS
    held_out = math.ceil(_HELD_OUT_SHARE * len(names)) / len(names)
    return assemble(
        torch.from_numpy(pictures.pixels[usable]),
        [(targets[task], _TASKS[task]) for task in tasks],
        Division(seed, (1 - 2 * held_out, held_out, held_out)),
        names,
        notes,
    )


def _find(folder: Path) -> list[Path]:
    """Return the JPEG files in a folder and below, in the order of their paths."""
    if not folder.is_dir():
        raise DataError(f"path: there is no folder {folder}; set it to your copy of UTKFace, or name that with --data")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and not file.is_dir())
    if not files:
        raise DataError(f"path: {folder} holds no JPEG file; set it to your copy of UTKFace, or name that with --data")
    return files


def _parse(folder: Path, files: list[Path]) -> tuple[dict[str, tuple[Path, dict[str, int]]], dict[str, str]]:
    """Return by relative path the files that are well named with their labels, and the reason for the others."""
    faces: dict[str, tuple[Path, dict[str, int]]] = {}
    reasons: dict[str, str] = {}
    seen: set[str] = set()
    root = folder.resolve()
    for file in files:
        name, photograph = str(file.relative_to(folder)), file.name.split(".")[0]
        try:
            labels, located = _parse_name(file.name), locate(root, name).path
            if photograph in seen:
                raise ValueError("second file of its name")
        except (OSError, ValueError) as error:
            reasons[name] = unreadable(error)
            continue
        seen.add(photograph)
        faces[name] = located, labels
    return faces, reasons


def _parse_name(name: str) -> dict[str, int]:
    """Return the labels in a file's name; raise a ValueError if it is not named as it should be."""
    fields = name.split("_")
    if len(fields) != 4:
        raise ValueError(f"{len(fields)} fields instead of 4")
    for (label, limit), field in zip(_HIGHEST.items(), fields, strict=False):
        if not _WHOLE_NUMBER.fullmatch(field) or int(field) > limit:
            raise ValueError(f"{label} is {field!r}, not 0 to {limit}")
    return dict(zip(_HIGHEST, map(int, fields[:3]), strict=True))
