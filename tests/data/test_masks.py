"""Targets for every pixel with holes: ignored classes, invalid quantities, whole masks that are missing, resizing."""

import re
import tracemalloc

import numpy as np
import pytest
import torch
from pictured_tables import SPLITS, by_row, write_folder
from PIL import Image

from sfgsearch.data import batches, folder, npz
from sfgsearch.data._pictures import read_maps
from sfgsearch.data._targets import encode
from sfgsearch.data._task_tables import read_task_tables
from sfgsearch.errors import DataError

NUMBER, SPACE = 20, (6, 8)


def draw(values):
    return np.random.default_rng(0).choice(np.array(values), (NUMBER, *SPACE))


@pytest.fixture(params=["folder", "npz"])
def load(request, tmp_path):
    """Load masks of one task ``mask`` from a folder or an npz file."""

    def load(masks, **task):
        tasks = {"mask": {"type": "segmentation", **task}}
        if request.param == "npz":
            images = np.random.default_rng(1).integers(0, 255, masks.shape, dtype=np.uint8)
            images[:, 0, 0] = np.arange(NUMBER)
            np.savez(tmp_path / "masks.npz", images=images, mask=masks)
            return npz(0, path=tmp_path / "masks.npz", tasks=tasks)
        write_folder(tmp_path, "file,mask", [f"{{}},m{i}.tiff" for i in range(NUMBER)], masks.shape[1:])
        for index, mask in enumerate(masks):
            Image.fromarray(mask).save(tmp_path / f"m{index}.tiff")
        return folder(0, path=tmp_path, tasks=tasks)

    return load


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_number_that_leaves_a_gap_is_asked_about(load, dtype):
    masks = draw([0, 1, 2, 255]).astype(dtype)
    reason = r"'mask' holds the numbers 0, 1, 2, 255, which leave.*set ignore = \[255\].*num_classes = 256.*classes"
    with pytest.raises(DataError, match=reason):
        load(masks)
    data = load(masks, ignore=[255])
    assert data.tasks[0].classes == ("0", "1", "2")
    np.testing.assert_array_equal(by_row(data, "mask"), np.where(masks == 255, -1, masks.astype(int)))
    assert sum(counts["mask"].missing for counts in data.labels.values()) == (masks == 255).sum()


@pytest.mark.parametrize("options", [{"num_classes": 3}, {"classes": ["road", "sky", "tree"]}])
def test_ignored_numbers_are_no_classes_that_are_counted(load, options):
    masks = draw([0, 1, 2, 255]).astype(np.uint8)
    with pytest.raises(DataError, match=r"20 bad rows: .*\(255 is no class\).*set tasks\.mask\.ignore to what"):
        load(masks, **options)
    assert load(masks, ignore=[255], **options).tasks[0].num_classes == 3


def test_numbers_with_gaps_are_classes_where_they_are_named(load):
    masks = draw([0, 41, 255]).astype(np.uint8)
    data = load(masks, classes={"255": "void", "0": "nothing", "41": "lung"})
    assert data.tasks[0].classes == ("nothing", "lung", "void"), "the lowest number is the background"
    np.testing.assert_array_equal(by_row(data, "mask"), np.select([masks == 41, masks == 255], [1, 2]))
    assert load(masks, num_classes=256).tasks[0].num_classes == 256


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (1, 2)])
def test_two_numbers_are_background_and_foreground(load, low, high):
    masks = draw([low, high]).astype(np.uint8)
    for options in ({}, {"num_classes": 2} if low == 0 else {}):
        np.testing.assert_array_equal(by_row(load(masks, **options), "mask"), masks == high)


@pytest.mark.parametrize(
    ("values", "ignore"), [([0, 1, 128, 255], None), ([0, 128, 255], None), ([0, 1, 254, 255], [254, 255])]
)
def test_what_an_error_says_to_ignore_leaves_no_gap(load, values, ignore):
    masks = draw(values).astype(np.uint8)
    with pytest.raises(DataError, match=r"which leave.*num_classes = 256.*classes = ") as caught:
        load(masks)
    if ignore is None:
        assert "ignore = [" not in str(caught.value)
        assert "in ignore" in str(caught.value)
        return
    assert f"set ignore = {ignore}" in str(caught.value)
    assert load(masks, ignore=ignore).tasks[0].classes == tuple(map(str, values[: -len(ignore)]))


@pytest.mark.parametrize(("low", "high"), [(1, 255), (0, 2), (0, 128), (0, 254)])
def test_two_numbers_with_a_gap_are_asked_about(load, low, high):
    masks = draw([low, high]).astype(np.uint8)
    with pytest.raises(DataError, match=f"'mask' holds the numbers {low}, {high}, which leave a gap; .*classes = "):
        load(masks)
    if high > 2 or low:
        with pytest.raises(DataError, match=rf"20 bad rows: .*\({high} is no class\)"):
            load(masks, num_classes=2)
    names = {str(high): "inside", str(low): "outside"}
    data = load(masks, classes=names)
    assert data.tasks[0].classes == ("outside", "inside")
    np.testing.assert_array_equal(by_row(data, "mask"), masks == high)


@pytest.mark.parametrize("classes", [["1", "2", "3"], ["0.0", "1", "3"], ["0", "one", "two"]])
def test_names_that_are_other_numbers_are_refused(load, classes):
    with pytest.raises(DataError, match=r"(\d is no class\).*classes \(now |one.* is no whole number)"):
        load(draw([0, 1, 2]).astype(np.uint8), classes=classes)


def test_listed_numbers_are_classes_in_ascending_order(load):
    masks = draw([0, 41]).astype(np.uint8)
    data = load(masks, classes=["41", "0"])
    assert data.tasks[0].classes == ("0", "41")
    np.testing.assert_array_equal(by_row(data, "mask"), masks == 41)


def test_dense_classes_are_named_by_whole_numbers(load):
    with pytest.raises(DataError, match=r"tasks\.mask\.classes: .*whole numbers.*'sky'"):
        load(draw([0, 1]).astype(np.uint8), classes={"0": "road", "sky": "sky"})


def test_numbers_below_zero_are_asked_about(load):
    masks = draw([-1, 0, 1]).astype(np.int32)
    with pytest.raises(DataError, match=r"20 bad rows: .*\(-1 is no class\).*set tasks\.mask\.ignore = \[-1\] if"):
        load(masks)
    np.testing.assert_array_equal(by_row(load(masks, ignore=[-1]), "mask"), masks)


def test_more_numbers_than_masks_have_classes_are_asked_about(load):
    """A photograph instead of a mask, or numbers of instances."""
    masks = np.arange(NUMBER * 48).reshape(NUMBER, *SPACE) % 100
    with pytest.raises(DataError, match="'mask' holds 100 numbers, more than most masks have classes; set num_classes"):
        load(masks.astype(np.uint8))
    assert load(masks.astype(np.uint8), num_classes=100).tasks[0].num_classes == 100


def test_quantities_are_no_classes(load):
    masks = np.arange(NUMBER * 48, dtype=np.int32).reshape(NUMBER, *SPACE) ** 2
    with pytest.raises(DataError, match="which leave a gap"):
        load(masks)
    masks = np.arange(NUMBER * 48 * 4, dtype=np.int32).reshape(NUMBER, 12, 16)
    with pytest.raises(DataError, match=r"holds more than 1024 different numbers; masks hold few.*'dense_regression'"):
        load(masks)


def test_masks_of_floating_point_numbers(tmp_path):
    masks = draw([0.0, 1.0, np.nan])
    images = np.random.default_rng(1).integers(0, 255, masks.shape, dtype=np.uint8)
    images[:, 0, 0] = np.arange(NUMBER)
    np.savez(tmp_path / "masks.npz", images=images, mask=masks, half=masks / 2, endless=np.where(masks == 1, np.inf, 0))
    data = npz(0, path=tmp_path / "masks.npz", tasks={"mask": {"type": "segmentation"}})
    np.testing.assert_array_equal(by_row(data, "mask"), np.nan_to_num(masks, nan=-1))
    for key in ("half", "endless"):
        with pytest.raises(
            DataError, match=r"20 bad rows: row 0 \(no whole number\).*a segmentation needs whole numbers"
        ):
            npz(0, path=tmp_path / "masks.npz", tasks={key: {"type": "segmentation"}})


@pytest.mark.parametrize("invalid", [[0], [0.0], ["0"]])
def test_invalid_quantities_are_missing(load, invalid):
    depth = draw([0, 80, 120]).astype(np.float32)
    depth[3, 0, :2] = np.nan
    data = load(depth, type="dense_regression", invalid=invalid, scale=40.0)
    expected = np.where((depth == 0) | np.isnan(depth), np.nan, depth / 40)
    np.testing.assert_array_equal(by_row(data, "mask"), expected)
    plain = load(depth, type="dense_regression")
    assert np.isnan(by_row(plain, "mask")).sum() == 2
    with pytest.raises(DataError, match="no key 'ignore'; allowed: type, key, missing, invalid"):
        load(depth, type="dense_regression", ignore=[0])


def test_masks_take_two_bytes_a_pixel_and_batches_are_int64(load):
    data = load(draw([0, 1, 2]).astype(np.uint8))
    assert data.train.targets["mask"].dtype == torch.int16
    _, targets = next(batches(data.train, 2, torch.device("cpu")))
    assert targets["mask"].dtype == torch.int64


@pytest.mark.parametrize("mark", ["", "NA", "none.png"])
def test_a_mask_that_is_not_there_is_missing_as_a_whole(tmp_path, mark):
    rows = [f"{{}},{f'm{i}.png' if i % 4 else mark},{f'd{i}.tiff' if i % 5 else mark}" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,mask,depth", rows, SPACE)
    masks = draw([0, 1]).astype(np.uint8)
    for index, mask in enumerate(masks):
        Image.fromarray(mask).save(path / f"m{index}.png")
        Image.fromarray(mask.astype(np.float32) + 1).save(path / f"d{index}.tiff")
    tasks = {
        "mask": {"type": "segmentation", "missing": ["none.png"]},
        "depth": {"type": "dense_regression", "missing": ["none.png"]},
    }
    data = folder(0, path=path, tasks=tasks)
    rows = np.arange(NUMBER)[:, None, None]
    np.testing.assert_array_equal(by_row(data, "mask"), np.where(rows % 4, masks.astype(int), -1))
    np.testing.assert_array_equal(by_row(data, "depth"), np.where(rows % 5, masks + 1.0, np.nan))
    assert all(labels["mask"].present and labels["depth"].present for labels in data.labels.values())


@pytest.mark.parametrize("of_all", [False, True])
def test_missing_cells_say_nothing_of_pixels(tmp_path, of_all):
    """A cell "0" means that there is no mask, while pixels of 0 are the background."""
    rows = [f"{{}},{f'm{i}.png' if i % 4 else 0},d{i}.png" for i in range(NUMBER)]
    path = write_folder(tmp_path, "file,mask,depth", rows, SPACE)
    masks = draw([0, 1, 2]).astype(np.uint8)
    for index, mask in enumerate(masks):
        Image.fromarray(mask).save(path / f"m{index}.png")
        Image.fromarray(mask).save(path / f"d{index}.png")
    own = {} if of_all else {"missing": ["0"]}
    tasks = {"mask": {"type": "segmentation", "ignore": [2], **own}, "depth": {"type": "dense_regression", **own}}
    data = folder(0, path=path, tasks=tasks, missing=("0",) if of_all else ())
    gone = (np.arange(NUMBER)[:, None, None] % 4 == 0) | (masks == 2)
    np.testing.assert_array_equal(by_row(data, "mask"), np.where(gone, -1, masks.astype(int)))
    np.testing.assert_array_equal(by_row(data, "depth"), masks)


@pytest.mark.parametrize("kind", ["segmentation", "dense_regression"])
def test_maps_of_another_size_than_their_pictures_are_listed(tmp_path, kind):
    path = write_folder(tmp_path, "file,mask", [f"{{}},m{i}.png" for i in range(NUMBER)], SPACE)
    for index in range(NUMBER):
        shape = (3, 4) if index in (2, 5) else SPACE
        Image.fromarray(np.random.default_rng(index).integers(0, 2, shape, dtype=np.uint8)).save(path / f"m{index}.png")
    reason = r"2 bad rows: line 4 \(p2\.png\) \(m2\.png: has 4x3 pixels, its picture 8x6\); line 7 \(p5\.png\)"
    for size in (None, 4):
        with pytest.raises(DataError, match=reason):
            folder(0, path=path, tasks={"mask": {"type": kind}}, size=size)


def write_pairs(path, masks, depths):
    """Write pictures with a mask and a depth each, all of the size of the masks."""
    write_folder(path, "file,mask,depth", [f"{{}},m{i}.png,d{i}.tiff" for i in range(len(masks))], masks.shape[1:])
    for index, (mask, depth) in enumerate(zip(masks, depths, strict=True)):
        Image.fromarray(mask).save(path / f"m{index}.png")
        Image.fromarray(depth).save(path / f"d{index}.tiff")
    return path


@pytest.mark.parametrize("kind", ["segmentation", "dense_regression"])
def test_memory_is_checked_for_what_maps_take(tmp_path, kind):
    """The memory that an error claims for maps beyond memory is about what maps take as they are read."""
    (table,) = read_task_tables({"mask": {"type": kind}}, (), arrays=False)
    side, millions = 100, 10**6
    with pytest.raises(DataError, match=r"task 'mask' of all .* TB of memory.*set size to less") as caught:
        read_maps(table, {}, {}, millions, (millions // side, millions // side))
    claimed = float(re.search(r"takes ([0-9.]+) TB", str(caught.value))[1]) / 100
    files = {index: tmp_path / f"{index}.png" for index in range(100)}
    for file in files.values():
        Image.fromarray((np.arange(side**2) % 3).astype(np.uint8).reshape(side, side)).save(file)
    tracemalloc.start()
    try:
        values, _ = read_maps(table, files, dict.fromkeys(files, (side, side)), len(files), (side, side))
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    target, _ = encode(table, values, [file.name for file in files.values()])
    taken = max(highest, values.array.nbytes + values.missing.nbytes + target.nbytes) / target.numel()
    assert taken == pytest.approx(claimed, rel=0.1)


@pytest.mark.parametrize("size", [5, 9, 16, 40])
def test_resizing_never_mixes_valid_with_invalid(tmp_path, size):
    """Where all valid depths are 100, every valid depth is 100 after resizing, whatever invalid pixels hold."""
    random = np.random.default_rng(0)
    invalid = random.random((NUMBER, 16, 16)) < 0.4
    masks = np.where(invalid, 255, random.integers(0, 2, invalid.shape)).astype(np.uint8)
    depths = np.where(invalid, 0, 100).astype(np.float32)
    path = write_pairs(tmp_path, masks, depths)
    tasks = {
        "mask": {"type": "segmentation", "ignore": [255]},
        "depth": {"type": "dense_regression", "invalid": [0]},
    }
    data = folder(0, path=path, tasks=tasks, size=size)
    for split in SPLITS:
        targets = getattr(data, split).targets
        assert set(targets["mask"].unique().tolist()) == {-1, 0, 1}
        valid = targets["depth"][~targets["depth"].isnan()]
        torch.testing.assert_close(valid, torch.full_like(valid, 100.0))
        assert len(valid) > 0.3 * targets["depth"].numel()


def test_resizing_is_that_of_pictures(tmp_path):
    """Quantities are interpolated as pictures are, and classes taken from the nearest pixel as Pillow does."""
    random = np.random.default_rng(0)
    masks = random.integers(0, 3, (NUMBER, 12, 17), dtype=np.uint8)
    depths = random.random(masks.shape).astype(np.float32)
    path = write_pairs(tmp_path, masks, depths)
    tasks = {"mask": {"type": "segmentation"}, "depth": {"type": "dense_regression"}}
    for size in (5, 12, 40):
        data = folder(0, path=path, tasks=tasks, size=size)
        nearest = [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.NEAREST)) for one in masks]
        smooth = [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR)) for one in depths]
        images = torch.cat([getattr(data, split).images for split in SPLITS])
        pictures = [np.asarray(Image.open(path / f"p{i}.png").resize((size, size), Image.Resampling.BILINEAR))
                    for i in range(NUMBER)]  # fmt: skip
        order = [next(i for i, one in enumerate(pictures) if np.array_equal(one, image.permute(1, 2, 0)))
                 for image in images]  # fmt: skip
        found = torch.cat([getattr(data, split).targets["mask"] for split in SPLITS])
        np.testing.assert_array_equal(found, np.stack(nearest)[order])
        found = torch.cat([getattr(data, split).targets["depth"] for split in SPLITS])
        np.testing.assert_array_equal(found, np.stack(smooth)[order])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(SPACE, 0.5, np.float32), "holds no whole numbers"),
        (np.zeros((*SPACE, 3), np.uint8), "has 3 channels instead of one"),
    ],
)
def test_pictures_that_are_no_masks_are_listed(tmp_path, values, reason):
    path = write_folder(tmp_path, "file,mask", [f"{{}},m{i}.tiff" for i in range(NUMBER)], SPACE)
    for index in range(NUMBER):
        Image.fromarray(values).save(path / f"m{index}.tiff")
    with pytest.raises(DataError, match=rf"20 bad rows: line 2 \(p0\.png\) \(m0\.tiff: {reason}\).*leave the cells"):
        folder(0, path=path, tasks={"mask": {"type": "segmentation"}})


def test_places_in_a_palette_are_classes_but_no_quantities(tmp_path):
    masks = draw([0, 1, 2, 3]).astype(np.uint8)
    path = write_folder(tmp_path, "file,mask", [f"{{}},m{i}.png" for i in range(NUMBER)], SPACE)
    for index, mask in enumerate(masks):
        picture = Image.fromarray(mask)
        picture.putpalette([10, 10, 10, 90, 90, 90, 160, 160, 160, 200, 200, 200])
        picture.save(path / f"m{index}.png")
    data = folder(0, path=path, tasks={"mask": {"type": "segmentation"}})
    np.testing.assert_array_equal(by_row(data, "mask"), masks)
    reason = r"20 bad rows: line 2 \(p0\.png\) \(m0\.png: .*palette; save it as greyscale\)"
    with pytest.raises(DataError, match=reason):
        folder(0, path=path, tasks={"mask": {"type": "dense_regression"}})


def test_classes_of_masks_are_in_training_and_divided(tmp_path):
    """A class that only three masks have is in every split."""
    for seed in range(4):
        masks = np.zeros((NUMBER, *SPACE), np.uint8)
        masks[:, 0] = 1
        masks[np.random.default_rng(seed).permutation(NUMBER)[:3], 1] = 2
        path = write_pairs(tmp_path / str(seed), masks, masks.astype(np.float32))
        data = folder(seed, path=path, tasks={"mask": {"type": "segmentation"}})
        assert [int((getattr(data, split).targets["mask"] == 2).any(2).any(1).sum()) for split in SPLITS] == [1, 1, 1]
