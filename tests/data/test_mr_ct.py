"""MRI, CT and organs from real NIfTI files, some of them broken."""

import collections
import functools
import gzip
import itertools
import os
import random
import re
import shutil
import sys
import tracemalloc

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import vgg_small
from sfgsearch.config import build_experiment
from sfgsearch.data import batches, mr_ct
from sfgsearch.data._volumes import Reading, read_subjects
from sfgsearch.errors import ConfigError, DataError
from sfgsearch.methods import FixedAllocation, SFGSettings, StochasticFilterGroups
from sfgsearch.nn import NetworkSpec
from sfgsearch.tasks import MISSING, is_present
from sfgsearch.training import Experiment, TrainingSettings

SHAPE = (14, 12, 8)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def draw_subject(seed, shape=SHAPE):
    """A bright body with two organs; the CT follows the MRI."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij"))
    labels = np.zeros(shape, dtype=np.uint8)
    for label in (1, 2):
        centre = random.uniform(-0.4, 0.4, 3)[:, None, None, None] * [[[[1]]]]
        labels[((grid - centre) ** 2).sum(0) < 0.5] = label
    mr = np.array([100.0, 300.0, 500.0])[labels] + random.normal(0, 5, shape)
    ct = np.array([-1500.0, 40.0, 700.0])[labels] + random.normal(0, 5, shape)
    return {"mr": mr.astype(np.float32), "ct": ct.astype(np.float32), "labels": labels}


def write(folder, volumes, affine=AFFINE, suffix=".nii.gz"):
    folder.mkdir(parents=True)
    for name, volume in volumes.items():
        nibabel.save(nibabel.Nifti1Image(volume, affine), folder / f"{name}{suffix}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five subjects of different sizes."""
    root = tmp_path_factory.mktemp("subjects")
    for index in range(5):
        shape = (SHAPE[0] + index % 2, SHAPE[1], SHAPE[2])
        write(root / f"s{index}", draw_subject(index, shape), suffix=".nii" if index == 3 else ".nii.gz")
    return root


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def flip(volumes):
    """The same subject stored right to left and top to bottom first, as another scanner would."""
    affine = AFFINE @ np.array([[-1.0, 0, 0, SHAPE[0] - 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return {name: volume[::-1].transpose(0, 2, 1).copy() for name, volume in volumes.items()}, affine


def test_volumes_come_as_they_were_written(folder):
    subjects, notes = read_subjects(folder)
    assert notes == ()
    assert [subject.name for subject in subjects] == ["s0", "s1", "s2", "s3", "s4"]
    written = draw_subject(3, (15, 12, 8))
    np.testing.assert_array_equal(subjects[3].mr, written["mr"])
    np.testing.assert_array_equal(subjects[3].ct, written["ct"])
    np.testing.assert_array_equal(subjects[3].labels, written["labels"])


def test_volumes_are_turned_to_one_orientation(tmp_path):
    write(tmp_path / "plain", draw_subject(0))
    write(tmp_path / "turned", *flip(draw_subject(0)))
    (plain, turned), _ = read_subjects(tmp_path)
    np.testing.assert_array_equal(plain.mr, turned.mr)
    np.testing.assert_array_equal(plain.labels, turned.labels)


def break_by(kind, place):
    volumes = draw_subject(9)
    path = place / "ct.nii.gz"
    if kind == "no mr":
        (place / "mr.nii.gz").unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "only mr":
        path.unlink()
        (place / "labels.nii.gz").unlink()
    elif kind == "both":
        shutil.copy(path, place / "ct.nii")
    elif kind == "fifo":
        path.unlink()
        os.mkfifo(path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "link":
        path.rename(place.parents[1] / "ct.nii.gz")
        path.symlink_to(place.parents[1] / "ct.nii.gz")
    elif kind == "dangling":
        path.unlink()
        path.symlink_to("nothing.nii.gz")
    elif kind == "longer":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(7)))
    elif kind == "short":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-200]))
    elif kind == "garbage":
        path.write_bytes(b"no volume at all")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        changes = {
            "shape": ("ct", volumes["ct"][1:]),
            "nan": ("mr", np.where(volumes["labels"] == 1, np.nan, volumes["mr"])),
            "infinite": ("ct", np.where(volumes["labels"] == 1, np.inf, volumes["ct"])),
            "flat": ("mr", np.zeros_like(volumes["mr"])),
            "flat ct": ("ct", np.full_like(volumes["ct"], 40)),
            "soft": ("labels", volumes["labels"] + np.float32(0.5)),
            "huge": ("labels", volumes["labels"] * 2.0**31),
            "series": ("mr", np.stack([volumes["mr"]] * 2, axis=-1)),
            "complex": ("ct", volumes["ct"] + 1j * volumes["mr"]),
            "colours": ("labels", np.zeros(SHAPE, dtype=[(name, np.uint8) for name in "RGB"])),
            "elsewhere": ("ct", volumes["ct"]),
            "shifted": ("labels", volumes["labels"]),
            "turned": ("ct", volumes["ct"]),
        }
        affines = {
            "elsewhere": AFFINE + np.eye(4)[:, [3, 3, 3, 0]].T * 50,
            "shifted": AFFINE + np.outer([0, 0.22, 0, 0], [0, 0, 0, 1]),  # a voxel is 2 mm there
            "turned": AFFINE * [[1.01], [1], [1], [1]],  # off at the far side
        }
        name, volume = changes[kind]
        affine = affines.get(kind, AFFINE)
        shutil.rmtree(place)
        write(place, volumes)
        nibabel.save(nibabel.Nifti1Image(volume, affine), place / f"{name}.nii.gz")


BROKEN = {
    "no mr": r"s1: no mr\.nii\.gz",
    "only mr": r"s1: no ct\.nii\.gz and no labels\.nii\.gz",
    "both": r"s1: both ct\.nii\.gz and ct\.nii; remove one",
    "fifo": r"s1: ct\.nii\.gz is no regular file",
    "folder": r"s1: ct\.nii\.gz is no regular file",
    "dangling": r"s1: ct\.nii\.gz cannot be read \(No such file",
    "link": r"s1: ct\.nii\.gz lies outside the folder",
    "truncated": r"s1: ct\.nii\.gz cannot be read",
    "short": r"s1: ct\.nii\.gz is cut off: it has fewer than the [\d,]+ bytes that its header speaks of",
    "longer": r"s1: ct\.nii\.gz has more than the [\d,]+ bytes that its header speaks of",
    "garbage": r"s1: ct\.nii\.gz cannot be read",
    "empty": r"s1: ct\.nii\.gz cannot be read",
    "shape": r"s1: shapes differ: mr \(14, 12, 8\), ct \(13, 12, 8\)",
    "nan": r"s1: mr\.nii\.gz has values that are not finite",
    "infinite": "s1: ct has values that are infinite",
    "flat": "s1: mr has the same value everywhere",
    "flat ct": "s1: ct has the same value everywhere",
    "soft": "s1: labels are not whole numbers",
    "huge": "s1: labels are not whole numbers from 0 to 2147483647",
    "series": r"s1: mr\.nii\.gz has shape \(14, 12, 8, 2\), not three dimensions",
    "complex": r"s1: ct\.nii\.gz has complex values; save their magnitude",
    "colours": r"s1: labels\.nii\.gz has other values than one number for each voxel",
    "elsewhere": "s1: ct and mr lie at different places in space, up to 39.1 voxels apart",
    "shifted": "s1: labels and mr lie at different places in space, up to 0.11 voxels apart",
    "turned": "s1: ct and mr lie at different places in space, up to 0.13 voxels apart",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_subjects_are_skipped_counted_and_listed(copy, kind):
    break_by(kind, copy / "s1")
    subjects, (note,) = read_subjects(copy)
    assert [subject.name for subject in subjects] == ["s0", "s2", "s3", "s4"]
    assert note.startswith("skipped 1 of 5 subjects")
    with pytest.raises(AssertionError, match=BROKEN[kind]):
        raise AssertionError(note)
    assert mr_ct(0, path=copy, patch=8).notes == (note,)


def test_grids_within_a_tenth_of_a_voxel_are_one(copy):
    image = nibabel.load(copy / "s1" / "ct.nii.gz")
    moved = AFFINE + np.outer([0, 0, 0.28, 0], [0, 0, 0, 1])  # of 3 mm
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), moved), copy / "s1" / "ct.nii.gz")
    assert read_subjects(copy)[1] == ()


@pytest.mark.parametrize("name", ["\udcff", "two\nlines", "\x1b[2J"])
def test_names_of_subjects_fit_on_one_line(copy, name):
    (copy / "s1").rename(copy / name)
    (copy / name / "mr.nii.gz").write_bytes(b"")
    (note,) = read_subjects(copy)[1]
    assert note.isprintable()
    note.encode()


def test_links_within_the_folder_are_followed(copy):
    (copy / "s1" / "ct.nii.gz").rename(copy / "scan.nii.gz")
    (copy / "s1" / "ct.nii.gz").symlink_to(copy / "scan.nii.gz")
    (copy.parent / "link").symlink_to(copy)
    assert read_subjects(copy.parent / "link")[1] == ()
    (copy.parent / "s7").mkdir()
    shutil.move(copy / "s1", copy.parent / "s7" / "s1")
    (copy / "s1").symlink_to(copy.parent / "s7" / "s1")
    assert "s1: mr.nii.gz lies outside the folder" in read_subjects(copy)[1][0]


FIELDS = {
    "dim": [(0, 1, 2, 4, 7, 8, -1), (-1, 0, 1, 13, 15, 32767, -32768)],
    "datatype": (-1, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 1792, 2048, 2304),
    "bitpix": (-1, 0, 8, 16, 64, 32767),
    "pixdim": (0.0, -1.0, 1e-30, 1e30, np.nan, np.inf),
    "vox_offset": (0.0, 1.0, 348.0, 353.5, 1e9, 3e38, -352.0, np.nan, np.inf),
    "scl_slope": (0.0, 1e-30, 1e30, 3e38, -1.0, np.nan, np.inf),
    "scl_inter": (1e30, -3e38, np.nan, np.inf),
    "qform_code": (0, 1, -1, 32767),
    "sform_code": (0, 1, -1, 32767),
    "srow_x": (0.0, 1e30, np.nan, np.inf),
    "quatern_b": (2.0, np.nan, np.inf),
    "sizeof_hdr": (0, 348, 540, 1543569408, -1),
    "magic": (b"ni1", b"n+2", b"xxx", b""),
}


def mutate(whole, chance):
    """Return a file with fields of its header set to values that lie, bytes set at random, or its end cut off."""
    header = np.frombuffer(whole[:348], dtype=nibabel.Nifti1Header.template_dtype).copy()
    for name in chance.sample(sorted(FIELDS), chance.randrange(1, 3)):
        field = header[name]
        if name == "dim":
            first, others = FIELDS[name]
            index = chance.randrange(8)
            field[0, index] = chance.choice(others if index else first)
        elif field.ndim > 1:
            field[0, chance.randrange(field.shape[1])] = chance.choice(FIELDS[name])
        else:
            field[0] = chance.choice(FIELDS[name])
    changed = bytearray(header.tobytes() + whole[348:])
    for _ in range(chance.choice((0, 0, 1, 20))):
        changed[chance.randrange(352)] = chance.randrange(256)
    return bytes(changed[: chance.choice((len(changed),) * 4 + (chance.randrange(400), len(changed) - 1))])


def test_no_header_ends_a_run_or_takes_more_than_the_file_holds(tmp_path, capfd):
    """Whatever the bytes say, the subject is read or skipped with a reason, at once and without a remark elsewhere."""
    volumes = {name: np.asarray(volume, dtype=np.int16) for name, volume in draw_subject(0).items()}
    write(tmp_path / "s0", volumes, suffix=".nii")
    (subject,), _ = read_subjects(tmp_path)
    whole = {file: (tmp_path / "s0" / f"{file}.nii").read_bytes() for file in volumes}
    chance, outcomes = random.Random(12), collections.Counter()
    largest = 16 * subject.mr.nbytes
    tracemalloc.start()
    for index in range(300):
        file, packed = chance.choice(sorted(whole)), index % 2
        for other, content in whole.items():
            (tmp_path / "s0" / f"{other}.nii").write_bytes(content)
        content = mutate(whole[file], chance)
        if packed:
            (tmp_path / "s0" / f"{file}.nii").unlink()
            (tmp_path / "s0" / f"{file}.nii.gz").write_bytes(gzip.compress(content, 1))
        else:
            (tmp_path / "s0" / f"{file}.nii").write_bytes(content)
        tracemalloc.reset_peak()
        try:
            subjects, notes = read_subjects(tmp_path)
        except DataError as error:  # such as by a slope of -1
            subjects, notes = [], re.findall(r"'s0' has the label -\d+, below 0; set ignore", str(error))
        assert tracemalloc.get_traced_memory()[1] < largest + 10_000_000
        outcomes[len(subjects)] += 1
        assert len(subjects) + len(notes) == 1
        if subjects and subjects[0].mr.shape == SHAPE:
            assert np.isfinite(subjects[0].mr).all()
        (tmp_path / "s0" / f"{file}.nii.gz").unlink(missing_ok=True)
    tracemalloc.stop()
    assert min(outcomes[0], outcomes[1]) > 20
    assert capfd.readouterr() == ("", "")


LIES = {
    "more than the file": ({"dim": [3, 14, 12, 9, 1, 1, 1, 1]}, "is cut off"),
    "more than any file": (
        {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
        "of memory, but|is cut off",
    ),
    "a negative side": ({"dim": [3, 14, -12, 8, 1, 1, 1, 1]}, r"has shape \(14, -12, 8\), with a side below 1"),
    "fewer than the file": ({"dim": [3, 14, 12, 7, 1, 1, 1, 1]}, "has more than"),
    "data in the header": ({"vox_offset": 0}, "puts the data at byte 0, within itself"),
    "data beyond the end": ({"vox_offset": 1e9}, "is cut off"),
    "data nowhere": ({"vox_offset": np.inf}, "cannot be read"),
    "another type": ({"datatype": 4}, "speaks of int16 and of 32 bits a voxel"),
    "no type": ({"datatype": 77}, "cannot be read"),
    "a huge slope": ({"scl_slope": 3e38}, "infinite"),
    "no place": ({"srow_x": [0, 0, 0, 0]}, "its affine has no inverse"),
    "no finite place": ({"srow_x": [np.nan, 0, 0, 0]}, "its affine has no inverse"),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_skips_its_subject_and_says_why(copy, lie, suffix):
    fields, reason = LIES[lie]
    content = bytearray(gzip.decompress((copy / "s0" / "ct.nii.gz").read_bytes()))
    header = np.frombuffer(content, dtype=nibabel.Nifti1Header.template_dtype, count=1)
    for name, value in fields.items():
        header[name][0] = value
    (copy / "s0" / "ct.nii.gz").unlink()
    (copy / "s0" / f"ct{suffix}").write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    subjects, (note,) = read_subjects(copy)
    assert [subject.name for subject in subjects] == ["s1", "s2", "s3", "s4"]
    assert re.search(rf"s0: ct\{suffix} .*({reason})|s0: ct .*{reason}", note), note


def test_other_byte_orders_and_nifti_2_are_read(folder, copy):
    image = nibabel.load(folder / "s0" / "mr.nii.gz")
    other = nibabel.Nifti1Header(endianness=">" if sys.byteorder == "little" else "<")
    for kind, header in ((nibabel.Nifti1Image, other), (nibabel.Nifti2Image, None)):
        saved = kind(image.get_fdata(dtype=np.float32), image.affine, header)
        saved.set_data_dtype(np.float32)
        nibabel.save(saved, copy / "s0" / "mr.nii.gz")
        subjects, notes = read_subjects(copy)
        assert notes == ()
        np.testing.assert_array_equal(subjects[0].mr, image.get_fdata())


def test_a_time_axis_of_one_moment_is_dropped(folder, copy):
    for file in ("mr", "ct", "labels"):
        image = nibabel.load(copy / "s0" / f"{file}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(image.get_fdata()[..., None], image.affine), copy / "s0" / f"{file}.nii.gz")
    subjects, notes = read_subjects(copy)
    assert notes == ()
    np.testing.assert_array_equal(subjects[0].ct, read_subjects(folder)[0][0].ct)


def test_wrong_folders_are_refused(tmp_path, copy):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        mr_ct(0, path=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no folders in it; it needs one per subject, with mr\.nii\.gz, ct"):
        mr_ct(0, path=tmp_path / "empty")
    for name in ("s0", "s2", "s4"):
        (copy / name / "mr.nii.gz").unlink()
    with pytest.raises(DataError, match=r"2 usable subjects.*skipped 3 of 5 subjects \(s0: no mr\.nii\.gz; s2"):
        mr_ct(0, path=copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": (8, 8, 8)}, "one or 2 numbers"),
        ({"patch": (8, 8), "mode": "patches"}, "one or 3 numbers"),
        ({"patch": 0}, "at least 1"),
        ({"patches_per_volume": 0}, "patches_per_volume"),
        ({"ct_range": (0.0, 0.0)}, "ct_range"),
        ({"overlap": 1.0}, "overlap"),
        ({"classes": ("background", "one")}, "names 2 labels from 0 on, but subject 's0' has the label 2"),
    ],
)
def test_options_out_of_range_are_refused(folder, options, message):
    with pytest.raises(DataError, match=message):
        mr_ct(0, path=folder, **options)


def relabel(folder, values, dtype=np.int16):
    """Give the labels of every subject of a copy other numbers."""
    for path in folder.glob("*/labels.nii*"):
        image = nibabel.load(path)
        labels = np.array(values)[np.asarray(image.dataobj, dtype=np.uint8)].astype(dtype)
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)


def every_target(data, task):
    return torch.cat([split.target(task) for split in (data.train, data.validation, data.test)])


def test_a_table_names_labels_with_gaps(folder, copy):
    relabel(copy, [0, 41, 300])
    table = {"300": "bone", "0": "background", "41": "gland", "7": "spleen"}
    data, plain = mr_ct(0, path=copy, patch=8, classes=table), mr_ct(0, path=folder, patch=8)
    assert data.tasks[1].classes == ("background", "spleen", "gland", "bone")
    assert data.notes == ("no training subject has the label of 'spleen'",)
    expected = torch.tensor([0, 2, 3])[every_target(plain, "organs").long()]
    assert torch.equal(every_target(data, "organs").long(), expected)


def test_labels_of_0_and_255_are_background_and_foreground(folder, copy):
    relabel(copy, [0, 255, 255], np.uint8)
    data, plain = mr_ct(0, path=copy, patch=8), mr_ct(0, path=folder, patch=8)
    assert data.tasks[1].num_classes == 2
    assert torch.equal(every_target(data, "organs").long(), every_target(plain, "organs").clamp(max=1).long())


def test_study_files_can_have_such_a_table(study, copy):
    relabel(copy, [0, 41, 255])
    data = {"name": "mr_ct", "pairs_per_digit": None, "path": str(copy), "patch": [8, 6]}
    table = {"classes": {"0": "background", "41": "prostate"}, "ignore": [255], "invalid": [-2000, 0.5]}
    task = build_experiment(study(data=data | table)).data.tasks[1]
    assert (task.num_classes, task.classes) == (2, ("background", "prostate"))
    for options, message in (
        ({"classes": {"0": 1}}, "toml: data.classes: .*string, got"),
        ({"ignore": "255"}, "toml: data.ignore: "),
    ):
        with pytest.raises(ConfigError, match=message):
            build_experiment(study(data=data | options))


UNCLEAR = [
    ([0, 1, 3], {}, r"labels are 0, 1, 3, and there is no 2; name those .* classes = .* set ignore = \[3\]"),
    ([0, 2, 2], {}, "labels are 0, 2, and there is no 1; name"),
    ([0, 41, 255], {}, 'there is no 1; .* classes = { 0 = "background", 41 = "prostate" }, and set ignore'),
    ([5, 5, 5], {}, "labels are 5, and there is no 1; name"),
    ([0, 1, 2_000_000_000], {}, "there is no 2; name"),
    ([0, 1, 2], {"classes": ("1", "2", "3")}, "names of the labels from 0 on, and '1' is that of 0; .* in a table"),
    ([0, 1, 255], {"classes": ("background", "gland", "bone")}, "names 3 labels from 0 on, but .*'s0' .*255; name it"),
    ([0, 41, 255], {"classes": {"0": "a", "41": "b"}}, r"names the labels 0, 41, but .* 255; .* set ignore = \[255\]"),
    ([0, -1, 1], {}, r"subject 's0' has the label -1, below 0; set ignore = \[-1\]"),
    ([0, 1, 2], {"classes": {"0": "a", "1": "b", "-1": "c"}}, "whole numbers from 0, got '-1'"),
    ([0, 1, 2], {"classes": {"0": "a", "1": "b", "two": "c"}}, "whole numbers from 0, got 'two'"),
    ([0, 1, 2], {"classes": {"0": "a", "1": "b", "01": "c"}}, "names a label twice"),
    ([0, 1, 2], {"classes": {"0": "a", "1": "b"}, "ignore": (1, 2)}, "1 is in classes and in ignore"),
    ([0, 1, 2], {"classes": {"0": "a", "1": "b", "2": "b"}}, "all distinct"),
    ([0, 1, 2], {"ignore": (1, 2)}, "all labels are 0, the background"),
]


@pytest.mark.parametrize(("values", "options", "message"), UNCLEAR)
def test_labels_that_can_be_read_in_two_ways_are_refused(copy, values, options, message):
    relabel(copy, values, np.int32)
    with pytest.raises(DataError, match=message) as caught:
        mr_ct(0, path=copy, patch=8, **options)
    assert "\n" not in str(caught.value)


def test_more_than_64_classes_need_names(tmp_path):
    for index in range(3):
        volumes = draw_subject(index)
        volumes["labels"] = np.arange(volumes["mr"].size, dtype=np.uint8).reshape(SHAPE) % (65 if index else 5)
        write(tmp_path / f"s{index}", volumes)
    with pytest.raises(DataError, match=r"labels are 0, 1, .*, 64, and that makes more than 64 classes; name those"):
        mr_ct(0, path=tmp_path, patch=8)
    assert mr_ct(0, path=tmp_path, patch=8, ignore=(64,)).tasks[1].num_classes == 64
    names = {str(label): f"organ {label}" for label in range(65)}
    assert mr_ct(0, path=tmp_path, patch=8, classes=names).tasks[1].num_classes == 65


@pytest.mark.parametrize("mode", ["slices", "patches"])
def test_ignored_labels_and_invalid_values_are_missing(folder, copy, mode):
    relabel(copy, [0, 1, 255], np.uint8)
    for path in copy.glob("*/ct.nii*"):
        image = nibabel.load(path, mmap=False)
        values = image.get_fdata(dtype=np.float32)
        values[:3], values[3], values[4] = -3024, np.nan, 0
        nibabel.save(nibabel.Nifti1Image(values, image.affine), path)
    plain = mr_ct(0, path=folder, patch=8, mode=mode)
    data = mr_ct(0, path=copy, patch=8, mode=mode, ignore=(255,), invalid=(-3024, 0.0))
    organs, expected = every_target(data, "organs"), every_target(plain, "organs")
    assert torch.equal(organs.long(), expected.long().masked_fill(expected == 2, MISSING))
    for split in (data.train, data.validation, data.test):
        for patches, targets in batches(split, 1, torch.device("cpu")):
            assert patches.isfinite().all()
            assert targets["organs"].dtype == torch.int64
            assert mode == "slices" or targets["ct"].isnan().any() or patches.shape[-1] == 8
    unreadable = every_target(data, "ct").isnan().double().mean()
    assert unreadable == pytest.approx(5 / 14.4, abs=0.01)
    assert not every_target(plain, "ct").isnan().any()
    assert every_target(data, "ct").nan_to_num(0).min() == -1, "what is missing is not clipped"


def test_values_that_no_scanner_measured_are_noted(copy):
    for name, value in (("s0", -3024), ("s3", -2000)):
        (path,) = (copy / name).glob("ct.nii*")
        image = nibabel.load(path, mmap=False)
        values = image.get_fdata(dtype=np.float32)
        values[:2] = value
        nibabel.save(nibabel.Nifti1Image(values, image.affine), path)
    (note,) = mr_ct(0, path=copy, patch=8).notes
    assert note.startswith("the CT of 2 subjects has many voxels of -3024, -2000 HU, less than air; set invalid = [-30")
    assert mr_ct(0, path=copy, patch=8, invalid=(-3024.0, -2000.0)).notes == ()


@pytest.mark.parametrize("mode", ["slices", "patches"])
def test_subjects_may_lack_one_of_both(copy, mode):
    lacking = {"ct": ("s0", "s1"), "labels": ("s3",)}
    for file, names in lacking.items():
        for name in names:
            next((copy / name).glob(f"{file}.nii*")).unlink()
    subjects, notes = read_subjects(copy)
    assert notes == ("of 5 subjects 2 without ct and 1 without labels, which that task leaves out",)
    data = mr_ct(0, path=copy, patch=8, mode=mode)
    assert notes[0] in data.notes
    for task, file in (("ct", "ct"), ("organs", "labels")):
        assert [subject.name for subject in subjects if getattr(subject, file) is None] == [*lacking[file]]
        hidden = sum(subject.mr.size for subject in subjects if subject.name in lacking[file])
        assert int((~is_present(every_target(data, task))).sum()) == hidden
        assert sum(labels[task].missing for labels in data.labels.values()) == hidden


def test_what_is_missing_everywhere_is_lacking(copy):
    image = nibabel.load(copy / "s0" / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.full(image.shape, np.nan), image.affine), copy / "s0" / "ct.nii.gz")
    assert read_subjects(copy)[0][0].ct is None
    (copy / "s0" / "labels.nii.gz").unlink()
    subjects, notes = read_subjects(copy)
    assert len(subjects) == 4
    assert notes == ("skipped 1 of 5 subjects (s0: all of ct and labels is missing)",)


def test_every_split_gets_some_of_both_or_none_does(copy):
    for name in ("s0", "s1"):
        (copy / name / "ct.nii.gz").unlink()
    for seed in range(8):
        data = mr_ct(seed, path=copy, patch=8)
        assert all(data.labels[split]["ct"].present for split in data.labels)
    (copy / "s2" / "ct.nii.gz").unlink()
    with pytest.raises(DataError, match="of 5 subjects 2 have ct and 5 have labels; training, validation and test"):
        mr_ct(0, path=copy, patch=8)


def test_other_voxel_sizes_are_refused_or_resampled(folder, copy):
    coarse = np.diag([4.0, 4.0, 3.0, 1.0])
    shutil.rmtree(copy / "s2")
    volumes = draw_subject(2)
    write(copy / "s2", {name: volume[::2, ::2] for name, volume in volumes.items()}, coarse)
    message = r"'s2' has voxels of 4 x 4 x 3 mm, 's0' of 2 x 2 x 3 mm; resample .*, or set spacing = \[2, 2, 3\]"
    with pytest.raises(DataError, match=message):
        mr_ct(0, path=copy, patch=8)
    subjects, _ = read_subjects(copy, Reading(spacing=(2.0, 2.0, 3.0)))
    assert subjects[2].mr.shape == (13, 11, 8)
    assert (subjects[2].mr.dtype, subjects[2].labels.dtype) == (np.float32, np.int32)
    np.testing.assert_allclose(subjects[2].mr[::2, ::2], volumes["mr"][::2, ::2], rtol=1e-5)
    np.testing.assert_allclose(subjects[2].ct[1:-1:2], (subjects[2].ct[:-2:2] + subjects[2].ct[2::2]) / 2, atol=1e-2)
    np.testing.assert_array_equal(subjects[2].labels[::2, ::2], volumes["labels"][::2, ::2])
    assert set(np.unique(subjects[2].labels)) == {0, 1, 2}, "no label lies between others"
    np.testing.assert_array_equal(subjects[0].mr, read_subjects(folder)[0][0].mr)
    assert len(mr_ct(0, path=copy, patch=8, spacing=(2.0, 2.0, 3.0)).train) == 24
    for spacing in ((2.0, 2.0, 0.0), (2.0, -1.0, 1.0)):
        with pytest.raises(DataError, match="spacing must be three numbers of millimetres above 0"):
            mr_ct(0, path=copy, patch=8, spacing=spacing)
    with pytest.raises(DataError, match=r"of memory, but .* are available; raise spacing"):
        mr_ct(0, path=copy, patch=8, spacing=(1e-6, 1e-6, 1e-6))


def test_the_identity_knows_what_was_made_of_the_files(copy):
    """What is ignored, invalid, resampled or a class; not what an option leaves as it is."""
    relabel(copy, [0, 1, 3])
    table = {"0": "background", "1": "gland", "3": "bone"}
    voxels = (2.0, 2.0, 3.0)
    plain = mr_ct(0, path=copy, patch=8, classes=table).identity
    same = mr_ct(0, path=copy, patch=8, classes=table, ignore=(9,), invalid=(-9000.0,), spacing=voxels).identity
    assert same == plain
    changes = {
        "ignore": {"classes": {"0": "background", "1": "gland"}, "ignore": (3,)},
        "classes": {"classes": {"0": "background", "1": "gland", "2": "spleen", "3": "bone"}},
        "spacing": {"classes": table, "spacing": (2.0, 2.0, 1.5)},
        "ct_range": {"classes": table, "ct_range": (-1000.0, 500.0)},
    }
    others = {name: mr_ct(0, path=copy, patch=8, **options).identity for name, options in changes.items()}
    for path in copy.glob("*/ct.nii*"):
        image = nibabel.load(path, mmap=False)
        values = image.get_fdata(dtype=np.float32)
        values[0, 0, 0] = -3024
        nibabel.save(nibabel.Nifti1Image(values, image.affine), path)
    others["pixels"] = mr_ct(0, path=copy, patch=8, classes=table).identity
    others["invalid"] = mr_ct(0, path=copy, patch=8, classes=table, invalid=(-3024.0,)).identity
    (copy / "s4" / "ct.nii.gz").unlink()
    others["lacking"] = mr_ct(0, path=copy, patch=8, classes=table).identity
    found = [plain, *others.values()]
    assert all(one != other for index, one in enumerate(found) for other in found[:index])


def test_resampling_mixes_nothing_with_what_is_missing(tmp_path):
    volumes = draw_subject(0)
    hidden = np.random.default_rng(1).random(SHAPE) < 0.1
    volumes["ct"] = np.where(hidden, np.nan, np.where(volumes["labels"] == 1, 501.0, 500.0)).astype(np.float32)
    volumes["labels"] = np.where(hidden, 255, 3 + (volumes["labels"] == 1)).astype(np.uint8)
    turn = np.array([[0, -1.0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    write(tmp_path / "s0", volumes, turn @ AFFINE)
    reading = Reading(ignore=(255,), spacing=(1.0, 1.0, 1.0))
    (subject,), _ = read_subjects(tmp_path, reading)
    assert subject.ct.shape == subject.labels.shape == subject.mr.shape == (23, 27, 22)
    present = subject.ct[~np.isnan(subject.ct)]
    assert 500 - 1e-3 < present.min() <= present.max() < 501 + 1e-3
    assert set(np.unique(subject.labels)) == {MISSING, 3, 4}
    before = volumes["ct"][:, ::-1].transpose(1, 0, 2)[::-1]
    np.testing.assert_array_equal(np.isnan(subject.ct[::2, ::2, ::3][::-1]), np.isnan(before)[:, :, :8][:12])
    touched = np.isnan(subject.ct[1:-1:2, ::2, ::3])
    np.testing.assert_array_equal(touched, np.isnan(subject.ct[:-2:2, ::2, ::3]) | np.isnan(subject.ct[2::2, ::2, ::3]))


def test_a_ct_outside_of_its_range_is_refused(folder):
    with pytest.raises(DataError, match=r"'s0' has a CT from -15\d\d.* to 7\d\d.* HU, all outside of ct_range"):
        mr_ct(0, path=folder, patch=8, ct_range=(2000.0, 3000.0))


def test_labels_without_any_organ_are_refused(tmp_path):
    for index in range(3):
        volumes = draw_subject(index)
        write(tmp_path / f"s{index}", {**volumes, "labels": np.zeros_like(volumes["labels"])})
    with pytest.raises(DataError, match="nothing to segment"):
        mr_ct(0, path=tmp_path)


def test_organs_that_are_not_in_training_are_noted(folder):
    names = ("background", "gland", "bone", "spleen")
    assert mr_ct(0, path=folder, patch=8, classes=names).notes == ("no training subject has the label of 'spleen'",)
    assert mr_ct(0, path=folder, patch=8, classes=names[:3]).notes == ()


def test_subjects_are_shared_out_by_the_seed(folder):
    """Every slice of a subject is in one split; widths tell the subjects of 14 and 15 voxels apart."""
    data = mr_ct(0, path=folder, patch=8)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [24, 8, 8]
    values = [set(split.target("ct").tolist()) for split in (data.train, data.validation, data.test)]
    clipped = {-1.0}
    assert not (values[0] & values[1]) - clipped
    assert not (values[0] & values[2]) - clipped
    assert torch.equal(mr_ct(0, path=folder, patch=8).test.target("ct"), data.test.target("ct"))
    others = [mr_ct(seed, path=folder, patch=8).test.target("ct") for seed in range(1, 5)]
    assert any(not torch.equal(other, data.test.target("ct")) for other in others)


@pytest.mark.parametrize("seed", range(5))
def test_a_subject_that_is_there_twice_is_in_one_split(tmp_path, seed):
    for index in range(8):
        write(tmp_path / f"s{index}", draw_subject(index % 4))
    data = mr_ct(seed, path=tmp_path, patch=4, mode="patches")
    splits = [{image.numpy().tobytes() for image in getattr(data, split).stored_images()} for split in data.labels]
    assert [len(images) for images in splits] == [2, 1, 1]
    assert len(set.union(*splits)) == 4
    assert data.notes == (
        "4 of 8 images are copies of others, byte for byte, such as s0 and s4; each stays in the split of the other",
    )


def test_subjects_that_are_all_the_same_are_no_three_splits(tmp_path):
    for index in range(4):
        write(tmp_path / f"s{index}", draw_subject(index % 2))
    with pytest.raises(DataError, match="subjects with the same mr stay together"):
        mr_ct(0, path=tmp_path, patch=4)


def test_slices_are_normalised_clipped_and_aligned(folder):
    data = mr_ct(0, path=folder, patch=(6, 5), classes=("background", "gland", "bone"))
    ct, organs = data.tasks
    assert (ct.scale, ct.unit, ct.span) == (1000.0, "HU", 3000.0)
    assert organs.num_classes == 3
    assert organs.classes == ("background", "gland", "bone")
    assert data.image_shape == (1, 6, 5)
    assert data.window.size == (6, 5)
    images, targets = data.train.__getitems__(list(range(len(data.train))))
    assert targets["organs"].dtype == torch.int16
    assert targets["ct"].min() == -1, "air at -1,500 HU is clipped"
    bone, gland = targets["organs"] == 2, targets["organs"] == 1
    assert targets["ct"][bone].mean() == pytest.approx(0.7, abs=0.01)
    assert targets["ct"][gland].mean() == pytest.approx(0.04, abs=0.01)
    assert images[:, 0][bone].mean() > images[:, 0][gland].mean()
    volumes = mr_ct(0, path=folder, mode="patches", patch=8)
    whole = volumes.validation.__getitems__([0])[0]
    foreground = whole[whole > whole.mean()]
    assert foreground.mean() == pytest.approx(0, abs=1e-3)
    assert foreground.std(correction=0) == pytest.approx(1, abs=1e-3)


def test_slices_stand_as_people_look_at_them(tmp_path):
    """Height goes from front to back, width from left to right, depth from bottom to top."""
    x, y, z = np.indices(SHAPE)
    ramp = (100.0 * x + 10 * y + z).astype(np.float32)
    for index in range(3):
        write(tmp_path / f"s{index}", {"mr": ramp + np.float32(index), "ct": ramp, "labels": (x > 3).astype(np.uint8)})
    volume = mr_ct(0, path=tmp_path, mode="patches", patch=8).test.__getitems__([0])[1]["ct"][0] * 1000
    assert volume.shape == (8, 12, 14)
    steps = [volume.diff(dim=axis).unique() for axis in range(3)]
    assert [step.round().unique().tolist() for step in steps] == [[1], [-10], [100]]
    slices = mr_ct(0, path=tmp_path, patch=8).test
    torch.testing.assert_close(slices.__getitems__([5])[1]["ct"][0] * 1000, volume[5])


def test_patches_of_volumes(folder):
    data = mr_ct(0, path=folder, mode="patches", patch=(6, 5, 4), patches_per_volume=7)
    assert data.image_shape == (1, 6, 5, 4)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [21, 1, 1]
    assert data.validation.image_shape[1:3] == (8, 12)
    assert data.tasks[1].num_classes == 3


def plain(image_shape):
    """Two convolutions that keep space."""
    convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if len(image_shape) == 3 else (nn.Conv3d, nn.BatchNorm3d)
    widths = (image_shape[0], 8, 8)
    blocks = (
        nn.Sequential(convolution(inputs, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU())
        for inputs, outputs in itertools.pairwise(widths)
    )
    return nn.Sequential(*blocks)


@pytest.mark.parametrize(
    ("mode", "patch", "backbone", "least_dice"),
    [("slices", 8, plain, 0.6), ("patches", (8, 8, 6), functools.partial(vgg_small, plan=(8, "pool", 8)), 0.4)],
)
def test_a_network_learns_from_patches_and_is_measured_on_what_is_whole(folder, mode, patch, backbone, least_dice):
    data = mr_ct(1, path=folder, mode=mode, patch=patch)
    spec = NetworkSpec(backbone, data.tasks, data.image_shape)
    experiment = Experiment(
        data, spec, TrainingSettings(epochs=16, batch_size=4, lr=0.02, length_scale=0.1, device="cpu")
    )
    sharing = FixedAllocation(Allocation.hard_sharing(spec.filters, spec.task_names))
    trained = experiment.train(sharing, seed=0, splits=("train", "validation", "test"))
    assert trained.scores["test"] < 0.9
    assert trained.metrics["test"]["organs/dice"] > least_dice
    assert trained.metrics["test"].keys() == {
        "ct/mae",
        "ct/psnr",
        "organs/dice",
        "organs/dice_1",
        "organs/dice_2",
        "organs/accuracy",
    }


def test_the_seed_fixes_patches_too(folder):
    data = mr_ct(1, path=folder, mode="patches", patch=6)
    spec = NetworkSpec(plain, data.tasks, data.image_shape)
    experiment = Experiment(data, spec, TrainingSettings(epochs=2, batch_size=4, device="cpu"))
    one, same, other = (experiment.train(StochasticFilterGroups(), seed) for seed in (0, 0, 1))
    assert one.history == same.history
    assert one.metrics == same.metrics
    assert one.history != other.history


def test_learned_groups_train_on_patches_too(folder):
    data = mr_ct(1, path=folder, mode="slices", patch=8)
    spec = NetworkSpec(plain, data.tasks, data.image_shape)
    experiment = Experiment(
        data, spec, TrainingSettings(epochs=12, batch_size=4, lr=0.02, length_scale=0.1, device="cpu")
    )
    first, *_, last = experiment.train(StochasticFilterGroups(SFGSettings(kl_weight=0.01)), seed=0).history
    assert last.score < 0.75 * first.score


def test_study_files_can_name_the_folder(study, folder):
    config = study(data={"name": "mr_ct", "pairs_per_digit": None, "path": str(folder), "patch": [8, 6]})
    experiment = build_experiment(config)
    assert experiment.data.image_shape == (1, 8, 6)
    assert len(experiment.data.train) == 24


def test_without_nibabel_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r"pip install 'sfgsearch\[volumes\]'"):
        mr_ct(0, path=folder)
