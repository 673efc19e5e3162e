"""MRI, CT and organs from real NIfTI files, some of them broken."""

import functools
import gzip
import shutil
import sys
import warnings

import nibabel
import numpy as np
import pytest
import torch

from sfgsearch.allocation import Allocation
from sfgsearch.backbones import vgg_small
from sfgsearch.config import build_experiment
from sfgsearch.data import mr_ct
from sfgsearch.data._volumes import read_subjects
from sfgsearch.errors import DataError
from sfgsearch.methods import FixedAllocation, SFGSettings, StochasticFilterGroups
from sfgsearch.nn import Backbone, NetworkSpec
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
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "short":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-200]))
    elif kind == "garbage":
        path.write_bytes(b"no volume at all")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        changes = {
            "shape": ("ct", volumes["ct"][1:]),
            "nan": ("ct", np.where(volumes["labels"] == 1, np.nan, volumes["ct"])),
            "flat": ("mr", np.zeros_like(volumes["mr"])),
            "soft": ("labels", volumes["labels"] + np.float32(0.5)),
            "series": ("mr", np.stack([volumes["mr"]] * 2, axis=-1)),
            "elsewhere": ("ct", volumes["ct"]),
        }
        name, volume = changes[kind]
        affine = AFFINE + np.eye(4)[:, [3, 3, 3, 0]].T * 50 if kind == "elsewhere" else AFFINE
        shutil.rmtree(place)
        write(place, volumes)
        nibabel.save(nibabel.Nifti1Image(volume, affine), place / f"{name}.nii.gz")


BROKEN = {
    "missing": r"s1: no ct\.nii\.gz",
    "truncated": r"s1: ct\.nii\.gz cannot be read",
    "short": r"s1: ct\.nii\.gz cannot be read",
    "garbage": r"s1: ct\.nii\.gz cannot be read",
    "empty": r"s1: ct\.nii\.gz cannot be read",
    "shape": r"s1: shapes differ: mr \(14, 12, 8\), ct \(13, 12, 8\)",
    "nan": r"s1: ct\.nii\.gz has values that are not finite",
    "flat": "s1: mr has the same value everywhere",
    "soft": "s1: labels are not whole numbers",
    "series": r"s1: mr\.nii\.gz has shape \(14, 12, 8, 2\), not three dimensions",
    "elsewhere": "s1: ct and mr lie at different places",
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


def test_damaged_headers_never_end_a_run(tmp_path):
    """Whatever a header's bytes say, the subject is read or skipped."""
    write(tmp_path / "s0", draw_subject(0), suffix=".nii")
    damaged = tmp_path / "s0" / "mr.nii"
    whole, outcomes = damaged.read_bytes(), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nibabel, about the damage
        for start in range(40, 348, 2):
            for two in (b"\xff\xff", b"\0\0"):
                damaged.write_bytes(whole[:start] + two + whole[start + 2 :])
                outcomes.add(len(read_subjects(tmp_path)[0]))
    assert outcomes == {0, 1}


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


def test_slices_are_normalised_clipped_and_aligned(folder):
    data = mr_ct(0, path=folder, patch=(6, 5), classes=("background", "gland", "bone"))
    ct, organs = data.tasks
    assert (ct.scale, ct.unit, ct.span) == (1000.0, "HU", 3000.0)
    assert organs.num_classes == 3
    assert organs.classes == ("background", "gland", "bone")
    assert data.image_shape == (1, 6, 5)
    assert data.window.size == (6, 5)
    images, targets = data.train.__getitems__(list(range(len(data.train))))
    assert targets["organs"].dtype == torch.int64
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
        write(tmp_path / f"s{index}", {"mr": ramp, "ct": ramp, "labels": (x > 3).astype(np.uint8)})
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


class Plain(Backbone):
    """Two convolutions that keep space."""

    def __init__(self, layers, image_shape):
        super().__init__()
        self.first, layout = layers.conv("conv1", layers.image(image_shape[0]), 8, 3)
        self.second, self.layout = layers.conv("conv2", layout, 8, 3)

    def forward(self, streams):
        return self.second(self.first(streams))


@pytest.mark.parametrize(
    ("backbone", "least_dice"), [(Plain, 0.6), (functools.partial(vgg_small, plan=(8, "pool", 8)), 0.4)]
)
@pytest.mark.parametrize(("mode", "patch"), [("slices", 8), ("patches", (8, 8, 6))])
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
    spec = NetworkSpec(Plain, data.tasks, data.image_shape)
    experiment = Experiment(data, spec, TrainingSettings(epochs=2, batch_size=4, device="cpu"))
    one, same, other = (experiment.train(StochasticFilterGroups(), seed) for seed in (0, 0, 1))
    assert one.history == same.history
    assert one.metrics == same.metrics
    assert one.history != other.history


def test_learned_groups_train_on_patches_too(folder):
    data = mr_ct(1, path=folder, mode="slices", patch=8)
    spec = NetworkSpec(Plain, data.tasks, data.image_shape)
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
