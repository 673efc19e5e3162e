"""Data in an npz file that a study file describes."""

import numpy as np
import pytest
import torch

from sfgsearch.config import build_experiment
from sfgsearch.data import npz
from sfgsearch.errors import ConfigError, DataError

NUMBER = 40
TASKS = {
    "age": {"type": "regression", "unit": "years", "scale": 100},
    "sex": {"type": "classification", "key": "gender"},
}
SPLITS = ("train", "validation", "test")


@pytest.fixture
def write(tmp_path):
    """Write arrays, where image and targets show the row's number, with changes; None leaves one out."""

    def write(**changes):
        rows = np.arange(NUMBER)
        arrays = {
            "images": np.broadcast_to(rows[:, None, None].astype(np.uint8), (NUMBER, 6, 4)),
            "age": rows * 2.0,
            "gender": np.array(["m", "f"])[rows % 2],
            "patient": rows // 4,
            **changes,
        }
        path = tmp_path / "faces.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return write


def everything(data, name):
    return torch.cat([getattr(data, split).targets[name] for split in SPLITS])


def test_images_and_targets_belong_together(write):
    data = npz(0, path=write(), tasks=TASKS)
    assert data.image_shape == (1, 6, 4)
    for split in SPLITS:
        images, targets = getattr(data, split).__getitems__(list(range(len(getattr(data, split)))))
        rows = (images[:, 0, 0, 0] * 255).round()
        torch.testing.assert_close(targets["age"], rows * 2 / 100)
        assert torch.equal(targets["sex"], (rows % 2 == 0).long()), "'f' comes before 'm'"


def test_tasks_are_as_described(write):
    age, sex = npz(0, path=write(), tasks={**TASKS, "sex": {**TASKS["sex"], "weight": 2.0, "hidden": 8}}).tasks
    assert (age.name, age.scale, age.unit) == ("age", 100, "years")
    assert (sex.name, sex.num_classes, sex.weight, sex.hidden) == ("sex", 2, 2.0, 8)


@pytest.mark.parametrize(
    ("layout", "shape", "expected"),
    [
        (None, (6, 4, 3), (3, 6, 4)),
        ("NCHW", (3, 6, 4), (3, 6, 4)),
        ("NDHW", (5, 6, 4), (1, 5, 6, 4)),
        ("NDHWC", (5, 6, 4, 2), (2, 5, 6, 4)),
        ("NCDHW", (2, 5, 6, 4), (2, 5, 6, 4)),
    ],
)
def test_layouts(write, layout, shape, expected):
    images = np.random.default_rng(0).random((NUMBER, *shape))
    data = npz(0, path=write(images=images, number=np.arange(NUMBER)), tasks=TASKS, layout=layout)
    assert data.image_shape == expected
    assert data.train.images.dtype == torch.float32
    row = int(torch.round(data.train.targets["age"][0] * 50))
    channels_last = images[row] if layout in (None, "NDHWC") else np.moveaxis(images[row].reshape(expected), 0, -1)
    np.testing.assert_allclose(np.moveaxis(data.train.images[0].numpy(), 0, -1), channels_last, rtol=1e-6)


def test_images_are_scaled_on_request(write):
    images = np.full((NUMBER, 2, 2), 2048, dtype=np.uint16)
    assert npz(0, path=write(images=images), tasks=TASKS, image_scale=4096).train.images.unique().tolist() == [0.5]


def test_whole_numbers_are_classes_as_they_are_or_in_order(write):
    rows = np.arange(NUMBER)
    path = write(gender=rows % 3 + 4)
    found = npz(0, path=path, tasks=TASKS)
    assert found.tasks[1].num_classes == 3
    assert everything(found, "sex").unique().tolist() == [0, 1, 2]
    given = npz(0, path=path, tasks={"sex": {**TASKS["sex"], "num_classes": 8}})
    assert given.tasks[0].num_classes == 8
    assert everything(given, "sex").unique().tolist() == [4, 5, 6]


def test_groups_and_named_splits(write):
    data = npz(0, path=write(), tasks=TASKS, groups="patient")
    patients = [set(((getattr(data, split).targets["age"] * 50).round().int() // 4).tolist()) for split in SPLITS]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 10
    names = np.array(["train", "train", "train", "validation", "test"] * 8)
    named = npz(0, path=write(part=names), tasks=TASKS, split="part")
    assert sorted((named.test.targets["age"] * 50).round().int().tolist()) == list(range(4, NUMBER, 5))


def test_dense_targets(write):
    organs = np.random.default_rng(0).integers(3, size=(NUMBER, 6, 4))
    tasks = {
        "organs": {"type": "segmentation"},
        "dose": {"type": "dense_regression", "scale": 2.0, "key": "organs"},
    }
    data = npz(0, path=write(organs=organs), tasks=tasks)
    assert data.tasks[0].num_classes == 3
    assert data.train.targets["organs"].dtype == torch.int64
    torch.testing.assert_close(data.train.targets["dose"], data.train.targets["organs"] / 2.0)
    with pytest.raises(DataError, match=r"'organs' has the shape \(40, 4, 6\).*needs \(40, 6, 4\)"):
        npz(0, path=write(organs=organs.transpose(0, 2, 1)), tasks=tasks)


ROWS = np.arange(NUMBER)


@pytest.mark.parametrize(
    ("arrays", "options", "reason"),
    [
        ({"age": None}, {}, "has no array 'age'; it has 'images', 'gender', 'patient'"),
        ({}, {"images": "pictures"}, "has no array 'pictures'"),
        ({}, {"groups": "ward"}, "has no array 'ward'"),
        ({"age": ROWS[:-1] * 1.0}, {}, r"'age' has the shape \(39,\) for 40 images"),
        ({"age": np.zeros((NUMBER, 2))}, {}, r"'age' has the shape \(40, 2\); a regression needs \(40,\)"),
        ({"age": np.where(ROWS % 9 == 5, np.nan, 1.0)}, {}, r"4 bad rows: row 5 \(no finite number\); row 14.*leave"),
        ({"age": np.array(["old"] * NUMBER)}, {}, "a regression needs numbers"),
        ({"gender": ROWS * 0.5}, {}, "a classification needs whole numbers or text"),
        ({"gender": ROWS * 0}, {}, "holds a single class"),
        ({"gender": np.array([None] * NUMBER)}, {}, "cannot read 'gender'.*save it as numbers or text"),
        ({"gender": ROWS % 3 - 1}, {"tasks": {"gender": {"type": "classification", "num_classes": 2}}}, "14 bad rows"),
        ({}, {"tasks": {"gender": {"type": "classification", "num_classes": 1}}}, "num_classes: is 1, but"),
        ({"gender": (ROWS == 39) * 1, "p": np.array(["train"] * 30 + ["validation"] * 5 + ["test"] * 5)},
         {"split": "p"}, r"classes 1 are in the test split but not in the training split"),
        ({"images": np.zeros((NUMBER, 2, 3, 4, 5))}, {}, "set layout"),
        ({}, {"layout": "NCHW"}, "layout 'NCHW' has 4 axes"),
        ({"images": np.full((NUMBER, 2, 2), np.inf)}, {}, "40 bad rows: row 0.*and 20 more"),
        ({}, {"image_scale": 0.0}, "image_scale must be above 0"),
        ({"images": np.full((NUMBER, 2, 2), "a")}, {}, "numbers are wanted"),
        ({}, {"tasks": {}}, "describe at least one"),
        ({}, {"tasks": {"age": {}}}, r"tasks\.age\.type: must be one of 'classification', 'regression'.*got None"),
        ({}, {"tasks": {"age": {"type": "regression", "unti": "years"}}}, "no key 'unti'; allowed: .*unit"),
        ({}, {"tasks": {"age": {"type": "regression", "scale": 0}}}, r"tasks\.age\.scale: must be a number > 0"),
        ({}, {"tasks": {"age": {"type": "regression", "unit": 3}}}, r"tasks\.age: .*unit: .*string"),
        ({}, {"tasks": {"age": {"type": "regression", "key": 3}}}, r"tasks\.age\.key: must be the name"),
        ({"patient": np.zeros((NUMBER, 2))}, {"groups": "patient"}, "one value per image is wanted"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_remedy(write, arrays, options, reason):
    with pytest.raises(DataError, match=reason):
        npz(0, path=write(**arrays), **{"tasks": TASKS, **options})


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


def test_study_files_describe_tasks_in_nested_tables(write, study):
    described = {"name": "npz", "pairs_per_digit": None, "path": str(write()), "tasks": TASKS}
    data = build_experiment(study(data=described, tasks={"sex": {"weight": 3.0}})).data
    assert [(task.name, task.weight) for task in data.tasks] == [("age", 1.0), ("sex", 3.0)]


@pytest.mark.parametrize(
    ("changes", "key", "remedy"),
    [
        ({"tasks": {"age": {"type": "regresion"}}}, "data: tasks.age.type", "'regression'"),
        ({"tasks": {"age": "regression"}}, "data.tasks.age", "object"),
        ({"layout": "HW"}, "data.layout", "'NHWC'"),
        ({"shares": [0.5, 0.5]}, "data.shares", "required"),
    ],
)
def test_study_files_with_bad_descriptions_are_refused(write, study, changes, key, remedy):
    described = {"name": "npz", "pairs_per_digit": None, "path": str(write()), "tasks": TASKS, **changes}
    with pytest.raises(ConfigError) as error:
        build_experiment(study(data=described))
    assert key in str(error.value)
    assert remedy in str(error.value)


def test_masks_need_no_consecutive_numbers(write):
    """The distinct numbers of a mask are its classes, in ascending order, such as 0 and 255."""
    mask = np.where(np.random.default_rng(0).random((NUMBER, 6, 4)) < 0.4, 255, 0).astype(np.uint8)
    data = npz(0, path=write(mask=mask), tasks={"mask": {"type": "segmentation", "classes": ["outside", "inside"]}})
    assert data.tasks[0].num_classes == 2
    rows = (data.train.images[:, 0, 0, 0].float()).long()
    np.testing.assert_array_equal(data.train.targets["mask"], mask[rows] // 255)
    far = npz(0, path=write(mask=mask.astype(np.int64) * 10**6), tasks={"mask": {"type": "segmentation"}})
    np.testing.assert_array_equal(far.train.targets["mask"], mask[rows] // 255)
    with pytest.raises(DataError, match=r"40 bad rows: row 0 \(class not in 0 to 2\).*num_classes"):
        npz(0, path=write(mask=mask), tasks={"mask": {"type": "segmentation", "num_classes": 3}})
