"""Folders of random pictures with a table, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train", "validation", "test")


def write_folder(path: Path, header: str, rows: list[str], size: tuple[int, int] = (6, 8)) -> Path:
    """Write pictures p0.png, p1.png and so on, whose first pixel is the row's number, and a table of the rows.

    Args:
        path: The folder.
        header: The first line of the table.
        rows: The others; ``{}`` becomes the name of the row's picture.
        size: Height and width of the pictures.
    """
    path.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(len(rows)):
        pixels = random.integers(0, 255, (*size, 3), dtype=np.uint8)
        pixels[0, 0] = index
        Image.fromarray(pixels).save(path / f"p{index}.png")
    lines = [header, *(row.format(f"p{index}.png") for index, row in enumerate(rows))]
    (path / "labels.csv").write_text("\n".join(lines) + "\n")
    return path


def by_row(data, name):
    """Return the targets of a task in the order of the rows, as numpy."""
    images = np.concatenate([getattr(data, split).images.numpy() for split in SPLITS])
    targets = np.concatenate([getattr(data, split).targets[name].numpy() for split in SPLITS])
    return targets[np.argsort(images[:, 0, 0, 0])]
