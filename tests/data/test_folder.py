"""Pictures in a folder with a table that a study file describes."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from sfgsearch.config import build_experiment
from sfgsearch.data import folder
from sfgsearch.errors import DataError

NUMBER = 30
SPLITS = ("train", "validation", "test")
TASKS = {
    "age": {"type": "regression", "key": "years", "unit": "years", "scale": 100},
    "animal": {"type": "classification"},
}
ANIMALS = ("cat", "dog", "yak")


def entry(index):
    return {
        "file": f"pictures/{index:02}.png",
        "years": 3 * index,
        "animal": ANIMALS[index % 3],
        "farm": index // 5,
        "pen": index % 3 * 5,
        "part": SPLITS[min(index % 10 // 4, 2)],
    }


@pytest.fixture
def place(tmp_path):
    """A folder of pictures whose grey shows the row's number, and its table."""
    (tmp_path / "pictures").mkdir()
    entries = [entry(index) for index in range(NUMBER)]
    for index, row in enumerate(entries):
        Image.new("RGB", (8, 6), (8 * index,) * 3).save(tmp_path / row["file"])
    write_table(tmp_path, entries)
    return tmp_path


def write_table(place, entries, name="labels.csv"):
    with (place / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(entries[0]))
        writer.writeheader()
        writer.writerows(entries)


def change_row(place, index, **changes):
    """Change one row of the table."""
    entries = [entry(row) for row in range(NUMBER)]
    entries[index] |= changes
    write_table(place, entries)


@pytest.mark.parametrize(("options", "shape"), [({}, (3, 6, 8)), ({"size": 4, "colours": "grey"}, (1, 4, 4))])
def test_pictures_and_targets_belong_together(place, options, shape):
    data = folder(0, path=place, tasks=TASKS, **options)
    assert data.image_shape == shape
    assert [len(getattr(data, split)) for split in SPLITS] == [21, 5, 4]
    for split in SPLITS:
        images, targets = getattr(data, split).__getitems__(list(range(len(getattr(data, split)))))
        rows = (images[:, 0, 0, 0] * 255 / 8).round()
        torch.testing.assert_close(targets["age"], rows * 3 / 100)
        assert torch.equal(targets["animal"], rows.long() % 3)
    assert (data.tasks[0].unit, data.tasks[1].num_classes) == ("years", 3)


def test_whole_numbers_are_ordered_as_numbers(place):
    data = folder(0, path=place, tasks={"pen": {"type": "classification"}})
    rows = (data.train.images[:, 0, 0, 0].long() / 8).round().long()
    assert torch.equal(data.train.targets["pen"], rows % 3), "5 before 10, unlike text"


def test_named_splits_and_groups(place):
    data = folder(0, path=place, tasks=TASKS, split="part")
    assert [len(getattr(data, split)) for split in SPLITS] == [12, 12, 6]
    farms = folder(0, path=place, tasks=TASKS, groups="farm")
    seen = [set((getattr(farms, split).images[:, 0, 0, 0] // 8 // 5).tolist()) for split in SPLITS]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 6


def test_another_table(place):
    write_table(place, [entry(index) for index in range(12)], "few.csv")
    data = folder(0, path=place, tasks=TASKS, table="few.csv")
    assert sum(len(getattr(data, split)) for split in SPLITS) == 12


def test_maps_of_dense_tasks(place):
    organs = np.random.default_rng(0).integers(4, size=(NUMBER, 6, 8))
    for index, labels in enumerate(organs):
        Image.fromarray(labels.astype(np.uint8)).save(place / f"organs{index}.png")
        Image.fromarray(labels.astype(np.float32) / 2).save(place / f"dose{index}.tiff")
    maps = {"organs": "organs{}.png", "dose": "dose{}.tiff"}
    entries = [entry(index) | {name: text.format(index) for name, text in maps.items()} for index in range(NUMBER)]
    write_table(place, entries)
    tasks = {"organs": {"type": "segmentation"}, "dose": {"type": "dense_regression", "scale": 4.0}}
    data = folder(0, path=place, tasks=tasks)
    rows = (data.train.images[:, 0, 0, 0].long() / 8).round().long()
    expected = torch.from_numpy(organs)[rows]
    assert data.tasks[0].num_classes == 4
    assert torch.equal(data.train.targets["organs"].long(), expected)
    torch.testing.assert_close(data.train.targets["dose"], expected / 8)
    half = folder(0, path=place, tasks=tasks, size=3)
    assert half.train.targets["organs"].shape[1:] == half.train.targets["dose"].shape[1:] == (3, 3)
    assert half.train.targets["organs"].dtype == torch.int16
    with pytest.raises(DataError, match=r"line 2 .*pictures/00\.png: has 3 channels instead of one"):
        folder(0, path=place, tasks={"organs": {"type": "segmentation", "key": "file"}})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"years": "old"},
            r"1 bad row: line 6 \(pictures/04\.png\) \(years is 'old', no finite number\).*tasks\.age\.missing",
        ),
        ({"years": "inf"}, "no finite number"),
        ({"years": "1_0"}, "no finite number"),
        ({"file": ""}, r"line 6 \(nothing in column 'file'\); fill in"),
        ({"file": "pictures/03.png"}, r"line 6 \(pictures/03\.png\) is the file of line 5 \(pictures/03\.png\)"),
        (
            {"file": "pictures/99.png"},
            r"line 6 \(pictures/99\.png\) \(No such file or directory\); replace or leave out",
        ),
        ({"file": "labels.csv"}, r"line 6 \(labels\.csv\) \(no picture\)"),
    ],
)
def test_bad_rows_are_listed_with_a_remedy(place, changes, reason):
    change_row(place, 4, **changes)
    with pytest.raises(DataError, match=reason):
        folder(0, path=place, tasks=TASKS)
    with pytest.raises(DataError, match=reason):
        folder(0, path=place, tasks=TASKS, size=4)


def test_a_truncated_picture_is_listed(place):
    Image.effect_noise((8, 6), 50).save(place / "noise.png")
    (place / "pictures" / "07.png").write_bytes((place / "noise.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"1 bad row: line 9 \(pictures/07\.png\)"):
        folder(0, path=place, tasks=TASKS)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_pictures_that_bytes_cannot_hold_are_listed(place, dtype):
    pixels = np.linspace(0, 60000, 48, dtype=dtype).reshape(6, 8)
    Image.fromarray(pixels).save(place / "pictures" / "scan.tiff")
    change_row(place, 4, file="pictures/scan.tiff")
    with pytest.raises(
        DataError, match=r"line 6 \(pictures/scan\.tiff\) \(has more than 8 bits a channel .*save it with 8"
    ):
        folder(0, path=place, tasks=TASKS)


@pytest.mark.parametrize("colours", ["rgb", "grey"])
def test_palettes_with_transparency_keep_their_colours(place, colours):
    whole = folder(0, path=place, tasks=TASKS, colours=colours)
    for index in range(NUMBER):
        picture = Image.open(place / entry(index)["file"]).quantize(4)
        picture.save(place / entry(index)["file"], transparency=bytes([99, 0, 255, 3]))
    assert torch.equal(folder(0, path=place, tasks=TASKS, colours=colours).train.images, whole.train.images)


def test_pictures_of_other_sizes_are_listed(place):
    Image.new("RGB", (5, 5)).save(place / "pictures" / "02.png")
    with pytest.raises(DataError, match=r"line 4 \(pictures/02\.png\) \(5x5\); the first picture has 8x6 .*set size"):
        folder(0, path=place, tasks=TASKS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tasks": {"height": {"type": "regression"}}}, "has no column 'height'; it has 'file', 'years'"),
        ({"groups": "ward"}, "has no column 'ward'"),
        ({"table": "absent.csv"}, r"cannot read .*absent\.csv \(No such file"),
        ({"table": "pictures/00.png"}, r"cannot read .*00\.png.*CSV file in UTF-8"),
        ({"size": 0}, "size must be at least 1"),
        ({"split": "animal"}, "split 'cat' is unknown"),
        ({"shares": (0.5, 0.5, 0.5)}, "sum to one"),
    ],
)
def test_what_does_not_fit_is_refused(place, options, reason):
    with pytest.raises(DataError, match=reason):
        folder(0, path=place, **{"tasks": TASKS, **options})


def test_empty_tables_and_missing_folders_are_refused(place):
    (place / "empty.csv").write_text("file,years,animal\n")
    with pytest.raises(DataError, match="a header and no rows"):
        folder(0, path=place, tasks=TASKS, table="empty.csv")
    with pytest.raises(DataError, match=r"no folder .*absent"):
        folder(0, path=place / "absent", tasks=TASKS)


def test_classes_unseen_in_training_are_named(place):
    change_row(place, 9, animal="emu")
    with pytest.raises(DataError, match="classes 'emu' are in the test split but not in the training split"):
        folder(0, path=place, tasks=TASKS, split="part")


def test_study_files_describe_a_folder(place, study):
    described = {"name": "folder", "pairs_per_digit": None, "path": str(place), "tasks": TASKS, "size": 8}
    assert build_experiment(study(data=described)).spec.task_names == ("age", "animal")
