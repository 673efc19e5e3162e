"""Mutations of pictures and of the tables and names that describe them."""

import os
import random
from pathlib import Path

import numpy as np
from PIL import Image

CELLS = (
    *("", " ", "NA", "nan", "-1", "1e300", "inf", "5,7", "\u0663", "1.0", "9" * 30, "x" * 200_000, '"', "a;b", "\0"),
    *("0x1", "é", "1_0", "-0.0", "true"),
)
PLACES = (
    *("", ".", "..", "/etc/hostname", "../study.toml", "absent.png", "fifo", "folder", "loop", "outside.png"),
    *("empty.png", "p1.png", "./p1.png", "x" * 300),
)


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
        Image.new("L", (12, 12)).save(path, "GIF", save_all=True, append_images=[Image.new("L", (12, 12), 200)])
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


def mutate_some_picture(folder: Path, random: random.Random) -> str:
    pictures = [path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")]
    return mutate_picture(random.choice(sorted(pictures)), random)
