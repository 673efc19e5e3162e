"""Files of a folder: orientation, copies, links, paths that lead elsewhere and files that are no pictures."""

import os

import numpy as np
import pytest
from pictured_tables import SPLITS, by_row, write_folder
from PIL import Image

from sfgsearch.data import folder
from sfgsearch.errors import DataError

NUMBER = 24
KIND = {"kind": {"type": "classification"}}
ORIENTATION = 0x0112
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is stored under each orientation."""


def write_kinds(path):
    return write_folder(path, "file,kind", [f"{{}},{i % 2}" for i in range(NUMBER)])


def edit(path, old, new):
    table = path / "labels.csv"
    table.write_text(table.read_text().replace(old, new))


def store(picture, file, orientation):
    """Store an upright picture as a camera does."""
    exif = picture.getexif()
    exif[ORIENTATION] = orientation
    turn = STORED[orientation]
    (picture if turn is None else picture.transpose(turn)).save(file, exif=exif)


@pytest.mark.parametrize("size", [None, 10])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_pictures_and_masks_are_upright(tmp_path, suffix, size):
    """Every white pixel of a picture lies in its mask, whichever way either is stored."""
    random = np.random.default_rng(0)
    for index in range(NUMBER):
        upright = np.zeros((20, 30), np.uint8)
        top, left = random.integers(0, 10, 2)
        upright[top : top + 8, left : left + 12] = 255
        store(Image.fromarray(upright), tmp_path / f"p{index}.{suffix}", index % 8 + 1)
        store(Image.fromarray((upright > 0).astype(np.uint8)), tmp_path / f"m{index}.{suffix}", index // 3 % 8 + 1)
    rows = [f"p{i}.{suffix},m{i}.{suffix}" for i in range(NUMBER)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,mask", *rows]) + "\n")
    tasks = {"mask": {"type": "segmentation"}}
    data = folder(0, path=tmp_path, tasks=tasks, size=size, colours="grey")
    assert data.image_shape == ((1, 20, 30) if size is None else (1, 10, 10))
    for split in SPLITS:
        images, targets = getattr(data, split).images[:, 0].numpy(), getattr(data, split).targets["mask"].numpy()
        agreement = (images > 127) == (targets == 1)
        assert agreement.mean() > 0.9 if size else agreement.all()


def test_metadata_that_cannot_be_parsed_say_nothing(tmp_path):
    path = write_kinds(tmp_path)
    plain = folder(0, path=path, tasks=KIND)
    for index in range(0, NUMBER, 2):
        Image.open(path / f"p{index}.png").save(path / f"p{index}.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff nonsense")
    np.testing.assert_array_equal(folder(0, path=path, tasks=KIND).train.images, plain.train.images)


@pytest.mark.parametrize(
    "spelling", ["./p0.png", " p0.png", "sub/../p0.png", "soft.png", "hard.png", "sub/soft/p0.png"]
)
def test_a_picture_that_is_named_twice_is_refused_however_it_is_spelled(tmp_path, spelling):
    path = write_kinds(tmp_path)
    (path / "sub").mkdir()
    (path / "soft.png").symlink_to("p0.png")
    (path / "sub" / "soft").symlink_to("..")
    os.link(path / "p0.png", path / "hard.png")
    edit(path, "p7.png", spelling)
    reason = r"1 bad row: line 9 \(.*0\.png\)|1 bad row: line 9 \((soft|hard)\.png\) is the file of line 2 \(p0\.png\)"
    with pytest.raises(DataError, match=reason):
        folder(0, path=path, tasks=KIND)


def test_equal_pictures_stay_in_one_split_and_are_counted(tmp_path):
    path = write_kinds(tmp_path)
    assert folder(0, path=path, tasks=KIND).notes == ()
    for index in range(4):
        Image.open(path / f"p{index}.png").save(path / f"p{index + 20}.png", compress_level=0)
    for seed in range(4):
        data = folder(seed, path=path, tasks=KIND)
        rows = [set(getattr(data, split).images[:, 0, 0, 0].tolist()) for split in SPLITS]
        assert sum(map(len, rows)) == len(set.union(*rows)) == 20
        (note,) = data.notes
        assert note.startswith(
            "4 of 24 images are copies of others, byte for byte, such as line 2 (p0.png) and line 22"
        )
    names = [SPLITS[max(0, i - 21)] for i in range(NUMBER)]
    lines = ["file,kind,part", *(f"p{i}.png,{i % 2},{name}" for i, name in enumerate(names))]
    (path / "labels.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"2 bad rows: line 4 \(p2\.png\) in train equals line 24 \(p22.png\) in valid"):
        folder(0, path=path, tasks=KIND, split="part")


@pytest.mark.parametrize("option", ["row", "table", "mask"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../outside.png", "lies outside the folder"),
        ("{absolute}", "lies outside the folder"),
        ("link.png", "lies outside the folder"),
        ("elsewhere/outside.png", "lies outside the folder"),
        ("pipe", "is no regular file"),
        ("sub", "is no regular file"),
        ("p0.png/x", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
    ],
)
def test_other_files_are_not_opened(tmp_path, option, name, reason):
    path = write_kinds(tmp_path / "faces")
    (tmp_path / "outside.png").write_bytes((path / "p0.png").read_bytes())
    (path / "link.png").symlink_to("../outside.png")
    (path / "elsewhere").symlink_to("..")
    (path / "loop").symlink_to("loop")
    (path / "sub").mkdir()
    os.mkfifo(path / "pipe")
    name = name.format(absolute=tmp_path / "outside.png")
    if option == "row":
        edit(path, "p7.png", name)
        with pytest.raises(DataError, match=rf"1 bad row: line 9 \(.*\) \({reason}\); replace"):
            folder(0, path=path, tasks=KIND)
    elif option == "table":
        with pytest.raises(DataError, match=rf"table: cannot read .*{reason}"):
            folder(0, path=path, tasks=KIND, table=name)
    else:
        table = ["file,kind", *(f"p{i}.png,{name if i == 7 else ''}" for i in range(NUMBER))]
        (path / "labels.csv").write_text("\n".join(table) + "\n")
        with pytest.raises(DataError, match=rf"line 9 \(p7\.png\) \(.*: {reason}\)"):
            folder(0, path=path, tasks={"kind": {"type": "segmentation"}})


def test_the_folder_may_be_a_link_and_paths_may_wander_inside(tmp_path):
    path = write_kinds(tmp_path / "faces")
    (path / "sub").mkdir()
    (path / "p7.png").rename(path / "sub" / "p7.png")
    (tmp_path / "link").symlink_to("faces")
    edit(path, "p7.png", "sub/../sub/p7.png")
    np.testing.assert_array_equal(by_row(folder(0, path=tmp_path / "link", tasks=KIND), "kind"), np.arange(NUMBER) % 2)


@pytest.mark.parametrize("suffix", ["gif", "tiff"])
def test_files_of_several_pictures_are_refused(tmp_path, suffix):
    path = write_kinds(tmp_path)
    frames = [Image.fromarray(np.full((6, 8), grey, np.uint8)) for grey in (0, 90)]
    frames[0].save(path / f"film.{suffix}", save_all=True, append_images=frames[1:])
    edit(path, "p7.png", f"film.{suffix}")
    with pytest.raises(DataError, match=r"line 9 \(film\..*\) \(holds several pictures; save the one that is meant\)"):
        folder(0, path=path, tasks=KIND)


def test_pictures_beyond_memory_are_refused_before_they_are_read(tmp_path):
    path = write_kinds(tmp_path)
    with pytest.raises(DataError, match=r"all 24 pictures takes 7[0-9.]+ TB of memory, but .* available; set size"):
        folder(0, path=path, tasks=KIND, size=1_000_000)


def test_damaged_pictures_are_listed(tmp_path):
    """Every byte that is changed leaves a picture or an error for the user."""
    path = write_kinds(tmp_path)
    whole, refused = (path / "p7.png").read_bytes(), 0
    for place in range(0, len(whole), 5):
        content = bytearray(whole)
        content[place] ^= 0x5A
        (path / "p7.png").write_bytes(content)
        try:
            folder(0, path=path, tasks=KIND)
        except DataError as error:
            assert "1 bad row: line 9 (p7.png)" in str(error)  # noqa: PT017 - most bytes are refused, not all
            refused += 1
    assert refused > len(whole) // 10
