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
    images[:, 0, 0] = np.arange(NUMBER)
    data = npz(0, path=write(images=images), tasks=TASKS, image_scale=4096)
    assert data.train.images[..., 1].unique().tolist() == [0.5]
    assert data.notes == ()


def test_bytes_of_zero_and_one_are_scaled_as_asked(write):
    images = np.random.default_rng(0).integers(0, 2, (NUMBER, 6, 4), dtype=np.uint8)
    path = write(images=images)
    for scale, white in ((None, 1 / 255), (1, 1.0), (1.0, 1.0), (2, 0.5)):
        data = npz(0, path=path, tasks=TASKS, image_scale=scale)
        batch, _ = data.train.__getitems__(list(range(len(data.train))))
        assert batch.unique().tolist() == pytest.approx([0, white])
        assert [note for note in data.notes if "image_scale = 1" in note] == [
            "the images 'images' are bytes up to 1 and are divided by 255: set image_scale = 1 if 1 is white"
        ] * (scale is None)


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
    assert data.train.targets["organs"].dtype == torch.int16
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
        ({"age": np.where(ROWS % 9 == 5, np.inf, 1.0)}, {}, r"4 bad rows: row 5 \(age is inf, no finite number\); row"),
        ({"age": np.where(ROWS == 7, 1e300, 1.0)}, {}, r"1 bad row: row 7 \(age is 1e\+300, more than float32 holds"),
        ({"images": np.where(ROWS == 3, 1e39, 0.5)[:, None, None] * np.ones((NUMBER, 2, 2))}, {},
         r"1 bad row: row 3 \(a pixel is 1e\+39, more than float32 holds"),
        ({"images": np.where(ROWS == 3, np.nan, 0.5)[:, None, None] * np.ones((NUMBER, 2, 2))}, {},
         r"1 bad row: row 3 \(a pixel holds no finite number"),
        ({"age": np.full(NUMBER, np.nan)}, {}, "holds no number at all, only missing ones; leave it out"),
        ({"gender": np.full(NUMBER, np.nan)}, {}, "holds no class at all, only missing ones; leave it out"),
        ({"age": np.array(["old"] * NUMBER)}, {}, "a regression needs numbers"),
        ({"gender": ROWS * 0.5}, {}, r"20 bad rows: row 1 \(no whole number\).*needs whole numbers or text"),
        ({"gender": ROWS * 0}, {}, "holds a single class"),
        ({"gender": np.array([None] * NUMBER)}, {}, "cannot read 'gender'.*save it as numbers or text"),
        ({"gender": ROWS % 3 - 1}, {"tasks": {"gender": {"type": "classification", "num_classes": 2}}},
         r"14 bad rows: row 0 \(-1 is no class\).*set tasks.gender.missing = \[-1\] if nothing is known there"),
        ({"gender": ROWS % 3 - 1}, {}, r"14 bad rows: row 0 \(-1 is no class\).*set tasks.sex.missing = \[-1\] if"),
        ({}, {"tasks": {"gender": {"type": "classification", "num_classes": 1}}}, "at least 2 classes are needed"),
        ({"gender": (ROWS == 39) * 1, "p": np.array(["train"] * 30 + ["validation"] * 5 + ["test"] * 5)},
         {"split": "p"}, r"classes '1' are in the test split but not in the training split"),
        ({"images": np.zeros((NUMBER, 2, 3, 4, 5))}, {}, "set layout"),
        ({}, {"layout": "NCHW"}, "layout 'NCHW' has 4 axes"),
        ({"images": np.full((NUMBER, 2, 2), np.inf)}, {}, "40 bad rows: row 0.*and 20 more"),
        ({}, {"image_scale": 0.0}, "image_scale must be above 0"),
        ({"images": np.full((NUMBER, 2, 2), "a")}, {}, "numbers are wanted"),
        ({}, {"tasks": {}}, "describe at least one"),
        ({}, {"tasks": {"age": {}}}, r"tasks\.age\.type: must be one of 'classification', 'regression'.*got None"),
        ({}, {"tasks": {"age": {"type": "regression", "unti": "years"}}}, "no key 'unti'; allowed: .*unit"),
        ({"age": np.zeros(NUMBER, "i4,f8")}, {"missing": (-1,)}, "a regression needs numbers"),
        ({"age": np.zeros(NUMBER, "M8[s]")}, {"missing": (-1,)}, "a regression needs numbers"),
        ({}, {"tasks": {"sex": {**TASKS["sex"], "class_weights": 2}}}, r"tasks\.sex: .*class_weights"),
        ({}, {"tasks": {"sex": {**TASKS["sex"], "classes": 2}}}, r"tasks\.sex: .*classes"),
        ({}, {"tasks": {"age": {"type": "regression", "scale": 0}}}, r"tasks\.age\.scale: must be a number from 1e-12"),
        ({}, {"tasks": {"age": {"type": "regression", "unit": 3}}}, r"tasks\.age: .*unit: .*string"),
        ({}, {"tasks": {"age": {"type": "regression", "key": 3}}}, r"tasks\.age\.key: must be the name"),
        ({"patient": np.zeros((NUMBER, 2))}, {"groups": "patient"}, "one value per image is wanted"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_remedy(write, arrays, options, reason):
    with pytest.raises(DataError, match=reason):
        npz(0, path=write(**arrays), **{"tasks": TASKS, **options})


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((3, 32, 32), "NCHW"), ((1, 6, 4), "NCHW"), ((6, 4, 2), "NHWC"), ((5, 6, 4), "NDHW"), ((3, 6, 3), "NHWC")],
)
def test_a_layout_that_can_be_read_in_two_ways_is_asked_about(write, shape, layout):
    path = write(images=np.random.default_rng(0).random((NUMBER, *shape)))
    if shape != (5, 6, 4):
        with pytest.raises(DataError, match="can be read in more than one way; set layout to 'NCHW', 'NHWC' or 'NDHW'"):
            npz(0, path=path, tasks=TASKS)
    sides = dict(zip(layout[1:], shape, strict=True))
    expected = (sides.get("C", 1), *(sides[axis] for axis in "DHW" if axis in sides))
    assert npz(0, path=path, tasks=TASKS, layout=layout).image_shape == expected


@pytest.mark.parametrize(
    ("low", "high", "dtype", "noted"),
    [(0, 1, float, False), (0, 255, np.uint8, False), (0, 2048, np.uint16, True), (-1, 1, np.float32, True)],
)
def test_the_range_of_images_is_noted(write, low, high, dtype, noted):
    images = np.linspace(low, high, NUMBER * 12).reshape(NUMBER, 3, 4).astype(dtype)
    data = npz(0, path=write(images=images), tasks=TASKS)
    expected = f"the images 'images' range from {low} to {high}; networks expect about 0 to 1: set image_scale"
    assert data.notes == ((expected,) if noted else ())
    assert npz(0, path=write(images=images), tasks=TASKS, image_scale=1.0).notes == ()


def test_missing_targets(write):
    """NaN, texts that stand for nothing, values that are listed, and arrays that say what is missing."""
    ages = np.where(ROWS % 4 == 1, np.nan, ROWS * 2.0)
    sexes = np.where(ROWS % 5 == 2, "nan", np.array(["m", "f"])[ROWS % 2])
    data = npz(0, path=write(age=ages, gender=sexes), tasks=TASKS)
    assert data.tasks[1].classes == ("f", "m")
    assert int(everything(data, "age").isnan().sum()) == 10
    assert int((everything(data, "sex") == -1).sum()) == 8
    codes = {"age": {**TASKS["age"], "missing": [-1, 999]}, "sex": {**TASKS["sex"], "missing": [9.0]}}
    ages, sexes = np.where(ROWS % 2, ROWS, np.array([-1, 999])[ROWS // 2 % 2]), np.where(ROWS % 5 == 2, 9, ROWS % 2)
    data = npz(0, path=write(age=ages, gender=sexes), tasks=codes)
    assert data.tasks[1].classes == ("0", "1")
    assert int(everything(data, "age").isnan().sum()) == 20
    assert int((everything(data, "sex") == -1).sum()) == 8


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_masks_of_masked_arrays(write, dtype):
    ages = np.ma.masked_where(ROWS % 4 == 1, ROWS * 2.0)
    unknown = np.arange(NUMBER * 24).reshape(NUMBER, 6, 4) % 7 == 0
    organs = np.random.default_rng(0).integers(3, size=(NUMBER, 6, 4))
    path = write(age=ages.data, age_mask=ages.mask.astype(dtype), organs=organs, unknown=unknown.astype(dtype))
    tasks = {
        "age": {**TASKS["age"], "missing": "age_mask"},
        "organs": {"type": "segmentation", "ignore": "unknown"},
        "whole": {"type": "segmentation", "key": "organs", "missing": "age_mask"},
    }
    data = npz(0, path=path, tasks=tasks)
    rows = data.train.images[:, 0, 0, 0].long()
    torch.testing.assert_close(
        data.train.targets["age"], torch.where(rows % 4 == 1, torch.nan, rows * 2 / 100), equal_nan=True
    )
    np.testing.assert_array_equal(data.train.targets["organs"], np.where(unknown, -1, organs)[rows])
    masked = (ROWS % 4 == 1)[:, None, None]
    np.testing.assert_array_equal(data.train.targets["whole"], np.where(masked, -1, organs)[rows])


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (None, "has no array 'age_mask'"),
        (np.zeros((NUMBER, 2), bool), r"tasks\.age\.missing: the array 'age_mask' has the shape \(40, 2\)"),
        (ROWS, "must be true where a target is missing and else false"),
        (ROWS * 1.0, "must be true where a target is missing and else false"),
    ],
)
def test_masks_that_are_none_are_refused(write, mask, reason):
    with pytest.raises(DataError, match=reason):
        npz(0, path=write(age_mask=mask), tasks={"age": {**TASKS["age"], "missing": "age_mask"}})


@pytest.mark.parametrize("kind", ["U", "S"])
def test_text_that_is_a_number_is_ordered_as_one(write, kind):
    data = npz(0, path=write(gender=(ROWS % 12).astype(kind)), tasks=TASKS)
    assert data.tasks[1].classes == tuple(map(str, range(12)))


def test_float_classes_with_holes(write):
    data = npz(0, path=write(gender=np.where(ROWS % 4 == 0, np.nan, ROWS % 3)), tasks=TASKS)
    assert data.tasks[1].classes == ("0", "1", "2")
    assert int((everything(data, "sex") == -1).sum()) == 10


@pytest.mark.parametrize("dtype", [">f8", ">u2", np.float16, np.longdouble])
def test_numbers_of_any_kind_are_read(write, dtype):
    images = np.random.default_rng(0).integers(0, 2, (NUMBER, 6, 4)).astype(dtype)
    images[:, 0] = np.array(list(np.ndindex((2,) * 4 + (3,))))[:NUMBER, :4]
    data = npz(0, path=write(images=np.asfortranarray(images), age=(ROWS * 2).astype(dtype)), tasks=TASKS)
    assert sorted((everything(data, "age") * 50).round().int().tolist()) == ROWS.tolist()
    assert data.train.images.unique().tolist() == [0.0, 1.0]


def test_equal_images_stay_in_one_split_and_are_counted(write):
    images = np.broadcast_to((ROWS % 30)[:, None, None].astype(np.uint8), (NUMBER, 6, 4))
    for seed in range(4):
        data = npz(seed, path=write(images=images), tasks=TASKS)
        found = [set(getattr(data, split).images[:, 0, 0, 0].tolist()) for split in SPLITS]
        assert sum(map(len, found)) == len(set.union(*found)) == 30
        assert data.notes == (
            "10 of 40 images are copies of others, byte for byte, such as row 0 and row 30; each stays in the split of "
            "the other",
        )


def test_groups_may_be_text_that_is_stored_as_bytes(write):
    wards = np.char.encode(np.char.add(np.char.add("Übung ", (ROWS // 4).astype(str)), np.where(ROWS % 2, " ", "")))
    data = npz(0, path=write(ward=wards), tasks=TASKS, groups="ward")
    found = [set((getattr(data, split).images[:, 0, 0, 0] // 4).tolist()) for split in SPLITS]
    assert sum(map(len, found)) == len(set.union(*found)) == 10


def test_groups_need_a_name_in_every_row(write):
    for ward in (np.where(ROWS == 5, np.nan, ROWS // 4), np.where(ROWS == 5, b"", (ROWS // 4).astype("S"))):
        with pytest.raises(DataError, match=r"1 bad row: row 5 \(nothing in 'ward'\)"):
            npz(0, path=write(ward=ward), tasks=TASKS, groups="ward")


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
    """Those of 0 and 255 are plain, and others may be named."""
    mask = np.where(np.random.default_rng(0).random((NUMBER, 6, 4)) < 0.4, 255, 0).astype(np.uint8)
    data = npz(0, path=write(mask=mask), tasks={"mask": {"type": "segmentation", "classes": ["outside", "inside"]}})
    assert data.tasks[0].num_classes == 2
    rows = (data.train.images[:, 0, 0, 0].float()).long()
    np.testing.assert_array_equal(data.train.targets["mask"], mask[rows] // 255)
    assert data.tasks[0].classes == ("outside", "inside")
    named = {"mask": {"type": "segmentation", "classes": {"0": "outside", "255000000": "inside"}}}
    far = npz(0, path=write(mask=mask.astype(np.int64) * 10**6), tasks=named)
    np.testing.assert_array_equal(far.train.targets["mask"], mask[rows] // 255)
    with pytest.raises(DataError, match=r"40 bad rows: row 0 \(255 is no class\).*num_classes"):
        npz(0, path=write(mask=mask), tasks={"mask": {"type": "segmentation", "num_classes": 3}})
