"""Folders of faces as the public release has them: names, broken files, splits."""

import math
import os

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array, hstack

from sfgsearch.data import batches, utkface
from sfgsearch.data._partition import Division, partition
from sfgsearch.errors import DataError

SPLITS = ("train", "validation", "test")
NUMBER = 40


def labels(index):
    """Return age, gender and race of a face, which its colour shows too."""
    return (index * 3) % 117, index % 2, index % 5


def write_face(path, index, side=32):
    age, gender, race = labels(index)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (2 * age, 200 * gender, 50 * race)).save(path, format="JPEG", quality=95)


def name_of(index):
    age, gender, race = labels(index)
    return f"{age}_{gender}_{race}_201701161745{index:05}.jpg"


@pytest.fixture
def folder(tmp_path):
    """Faces, half of them in a folder below and named as the cropped release names them."""
    for index in range(NUMBER):
        name = name_of(index)
        write_face(tmp_path / "crops" / f"{name}.chip.jpg" if index % 2 else tmp_path / name, index)
    return tmp_path


def add_broken_files(folder):
    write_face(folder / "61_1_20170109142408075.jpg.chip.jpg", 0)  # no race, as in the public release
    write_face(folder / "117_0_0_20170109142408075.jpg", 0)
    write_face(folder / "30_2_0_20170109142408075.jpg", 0)
    write_face(folder / "53__0_20170116184028385.jpg", 0)
    write_face(folder / "copies" / name_of(0), 0)
    (folder / "31_0_0_20170109142408075.jpg").write_text("not a photograph")
    write_face(folder / "32_0_0_20170109142408075.jpg", 0, side=300)
    whole = (folder / "32_0_0_20170109142408075.jpg").read_bytes()
    (folder / "32_0_0_20170109142408075.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "readme.txt").write_text("not counted")
    return 7


def test_pictures_and_targets_belong_together(folder):
    data = utkface(0, path=folder, size=16, tasks=("age", "gender", "race"))
    assert data.image_shape == (3, 16, 16)
    assert data.notes == ()
    for split in SPLITS:
        for images, targets in batches(getattr(data, split), 64, torch.device("cpu")):
            colours = images.mean((2, 3)) * 255
            assert images.dtype == torch.float32
            torch.testing.assert_close(colours[:, 0], targets["age"] * 200, atol=4, rtol=0)
            torch.testing.assert_close(colours[:, 1], targets["gender"] * 200.0, atol=4, rtol=0)
            torch.testing.assert_close(colours[:, 2], targets["race"] * 50.0, atol=4, rtol=0)


def test_tasks_are_chosen(folder):
    age, gender = utkface(0, path=folder, size=8).tasks
    assert (age.name, age.scale, age.unit) == ("age", 100.0, "years")
    assert (gender.name, gender.num_classes, gender.classes) == ("gender", 2, ("male", "female"))
    data = utkface(0, path=folder, size=8, tasks=("race", "age"))
    assert [task.name for task in data.tasks] == ["race", "age"]
    assert data.tasks[0].classes == ("White", "Black", "Asian", "Indian", "others")
    assert set(data.train.targets) == {"race", "age"}


def test_images_are_kept_as_bytes(folder):
    data = utkface(0, path=folder, size=8)
    assert data.train.images.dtype == torch.uint8
    image, _ = data.train[3]
    torch.testing.assert_close(image, data.train.images[3].float() / 255)


def test_the_split_has_the_published_sizes_and_the_shares_of_every_class():
    """The 23,708 faces of the release are split 16,594 / 3,557 / 3,557."""
    held_out = math.ceil(0.15 * 23_708) / 23_708
    random = np.random.default_rng(0)
    classes = [random.integers(2, size=23_708), random.choice(5, 23_708, p=[0.42, 0.19, 0.15, 0.17, 0.07])]
    labels = hstack([csr_array((one[:, None] == np.arange(one.max() + 1)).astype(float)) for one in classes])
    shares = (1 - 2 * held_out, held_out, held_out)
    parts = partition(Division(0, shares), np.arange(23_708), labels.tocsr(), [""] * 23_708)
    assert [len(part) for part in parts] == [16_594, 3_557, 3_557]
    for part, share in zip(parts, shares, strict=True):
        for one in classes:
            np.testing.assert_allclose(np.bincount(one[part]), share * np.bincount(one), atol=1)


def test_faces_are_split_once_by_seed(folder):
    one, same, other = (utkface(seed, path=folder, size=8) for seed in (0, 0, 1))
    assert [len(getattr(one, split)) for split in SPLITS] == [28, 6, 6]
    ages = torch.cat([getattr(one, split).targets["age"] for split in SPLITS])
    expected = sorted(labels(index)[0] for index in range(NUMBER))
    assert sorted((ages * 100).round().int().tolist()) == expected
    assert torch.equal(one.train.images, same.train.images)
    assert not torch.equal(one.train.targets["age"], other.train.targets["age"])


def test_broken_files_are_skipped_counted_and_named(folder):
    good = utkface(0, path=folder, size=8)
    number = add_broken_files(folder)
    data = utkface(0, path=folder, size=8)
    assert sum(len(getattr(data, split)) for split in SPLITS) == NUMBER
    np.testing.assert_array_equal(data.test.images, good.test.images)
    (note,) = data.notes
    assert note.startswith(f"skipped {number} of {NUMBER + number} files: ")
    assert "117_0_0_20170109142408075.jpg (age is '117', not 0 to 116)" in note
    assert note.endswith("and 4 more")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("61_1_20170109142408075.jpg.chip.jpg", "3 fields instead of 4"),
        ("30_2_0_2017.jpg", "gender is '2', not 0 to 1"),
        ("53__0_2017.jpg", "gender is '', not 0 to 1"),
        ("-5_1_0_2017.jpg", "age is '-5'"),
        ("face.jpg", "1 fields"),
    ],
)
def test_the_reason_is_named(folder, name, reason):
    write_face(folder / name, 0)
    (note,) = utkface(0, path=folder, size=8).notes
    assert f"{name} ({reason}" in note


def test_photographs_are_upright(folder):
    """A camera that was held upright stores faces on their side, and says so."""
    face = Image.new("RGB", (32, 32))
    face.paste((255, 255, 255), (0, 0, 32, 16))
    exif = face.getexif()
    exif[0x0112] = 6
    face.transpose(Image.Transpose.ROTATE_90).save(folder / "7_1_1_2018.jpg", exif=exif, quality=95)
    data = utkface(0, path=folder, size=8)
    images = torch.cat([getattr(data, split).images for split in SPLITS])
    ages = torch.cat([getattr(data, split).targets["age"] for split in SPLITS])
    (upright,) = images[(ages * 100).round() == 7]
    assert upright[:, :3].min() > 200
    assert upright[:, 5:].max() < 50


def test_equal_photographs_stay_in_one_split_and_are_counted(folder):
    for index in range(6):
        write_face(folder / f"{index}_0_0_2018.jpg", 0)
    for seed in range(4):
        data = utkface(seed, path=folder, size=8)
        held = [(getattr(data, split).images.amax((2, 3)) < 9).all(1).sum() for split in SPLITS]
        assert sorted(held) == [0, 0, 7]
        (note,) = data.notes
        assert note.startswith("6 of 46 images are copies of others, byte for byte, such as 0_0_0_2017")


def test_files_elsewhere_and_pipes_are_skipped_and_named(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "1_1_1_2018.jpg"
    write_face(outside, 0)
    (folder / "1_1_1_2018.jpg").symlink_to(outside)
    (folder / "2_1_1_2018.jpg").symlink_to("absent")
    os.mkfifo(folder / "3_1_1_2018.jpg")
    assert utkface(0, path=folder, size=8).notes == (
        "skipped 3 of 43 files: 1_1_1_2018.jpg (lies outside the folder), 2_1_1_2018.jpg (No such file or directory), "
        "3_1_1_2018.jpg (is no regular file)",
    )


def test_text_and_truncated_files_are_named(folder):
    (folder / "31_0_0_20170109142408075.jpg").write_text("not a photograph")
    assert "31_0_0_20170109142408075.jpg (no picture)" in utkface(0, path=folder, size=8).notes[0]
    (folder / "31_0_0_20170109142408075.jpg").unlink()
    path = folder / "32_0_0_20170109142408075.jpg"
    Image.effect_noise((200, 200), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert "32_0_0_20170109142408075.jpg (image file is truncated" in utkface(0, path=folder, size=8).notes[0]


def test_folders_without_usable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*absent; set it to your copy of UTKFace"):
        utkface(0, path=tmp_path / "absent")
    with pytest.raises(DataError, match="holds no JPEG file"):
        utkface(0, path=tmp_path)
    write_face(tmp_path / "holiday.jpg", 0)
    with pytest.raises(DataError, match=r"0 usable photographs of 1.*skipped 1 of 1 files: holiday\.jpg"):
        utkface(0, path=tmp_path)


@pytest.mark.parametrize("options", [{"size": 0}, {"tasks": ()}, {"tasks": ("age", "age")}, {"tasks": ("height",)}])
def test_options_out_of_range_are_refused(folder, options):
    with pytest.raises(DataError, match="tasks some of age, gender, race"):
        utkface(0, path=folder, **options)
